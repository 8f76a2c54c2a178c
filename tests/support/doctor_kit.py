"""What tests of the doctor share."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import candor
from candor.cluster.doctor.patient import Chart, Expected, Patient
from candor.cluster.probes.environment import code_digest

#: Puts a command in front of the real one.
Fake = Callable[[str, str], None]

EXPECTED = Expected(
    ".".join(platform.python_version_tuple()[:2]),
    candor.__version__,
    code_digest(str(Path(candor.__file__).parent)),
)

SINFO = "echo 'debug|up|{state}|node1'"


def chart(patient: Patient) -> Chart:
    """Nothing found yet."""
    return Chart(roots=patient.roots or {})
