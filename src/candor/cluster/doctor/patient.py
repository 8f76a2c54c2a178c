"""The machine that is examined, and what checks found on it so far.

A check runs scripts through the patient's shell, here or over ssh, so that all of them can be tried against a broken machine.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from candor.cluster import probes
from candor.cluster.doctor.findings import Finding
from candor.cluster.doctor.queues import QUEUES, Queue
from candor.cluster.shell import Ran, Shell

_PROBES = Path(probes.__file__).parent


@dataclass(frozen=True)
class Expected:
    """What this environment is, and the other must be. ``code``: see probes/environment.py."""

    python: str
    candor: str
    code: str


@dataclass(frozen=True)
class Patient:
    """What is examined.

    Attributes:
        shell: of the machine that submits.
        host: its name for ssh; empty for this machine.
        python: word that calls Python once the environment is active.
        activation: lines of shell that load modules and activate the environment, as jobs do.
        roots: the three roots; None to ask candor there.
        refusal: why candor does not submit to this site; empty if it does.
        queue: what its scheduler is asked with.
        job: (roots, body) → script of a job that runs ``body`` in the environment.
        gpus: how many the jobs ask for.
        ray_probe: source of a Python script that multiplies its two arguments on Ray.
    """

    shell: Shell
    expected: Expected
    job: Callable[[Mapping[str, str], str], str]
    host: str = ""
    python: str = "python3"
    modules: tuple[str, ...] = ()
    activation: tuple[str, ...] = ()
    roots: Mapping[str, str] | None = None
    refusal: str = ""
    queue: Queue = QUEUES["slurm"]
    gpus: int = 0
    partition: str = ""
    min_free_gb: float = 10.0
    job_timeout_s: float = 600.0
    poll_s: float = 3.0
    ray_probe: str = ""

    def in_environment(self, script: str, *, timeout_s: float = 300.0) -> Ran:
        """Run ``script`` as a job would see it."""
        return self.shell("\n".join([*self.activation, script, ""]), timeout_s=timeout_s)

    def probe(self, name: str, *arguments: str, timeout_s: float = 300.0) -> tuple[dict[str, Any], Ran]:
        """What the probe told; empty if it said nothing that can be read."""
        ran = self.in_environment(python_of(self.python, probe_text(name), *arguments), timeout_s=timeout_s)
        return last_json(ran.out), ran


def probe_text(name: str) -> str:
    """Source of a probe, a Python script that prints what it sees as one JSON object."""
    return (_PROBES / f"{name}.py").read_text(encoding="utf-8")


def python_of(python: str, text: str, *arguments: str) -> str:
    """Shell that runs a Python script given as text."""
    words = " ".join(shlex.quote(a) for a in arguments)
    return f"{python} - {words} <<'CANDOR_PROBE'\n{text}\nCANDOR_PROBE"


def last_json(text: str) -> dict[str, Any]:
    """The last line that is a JSON object: login shells greet, and libraries warn."""
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                return found
    return {}


@dataclass
class Chart:
    """What checks told so far: findings by name, and the roots."""

    roots: Mapping[str, str] = field(default_factory=dict)
    findings: dict[str, Finding] = field(default_factory=dict)

    def is_ok(self, name: str) -> bool:
        """Whether that check went well."""
        found = self.findings.get(name)
        return found is not None and found.state == "ok"
