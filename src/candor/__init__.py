"""Candor: raw bus captures to distilled, honestly evaluated intrusion detectors."""

from importlib.metadata import version

__version__ = version("candor")
