"""Is the environment there the one that is here?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from candor.cluster.doctor.findings import Finding, failed, ok
from candor.cluster.doctor.patient import Chart, Expected, Patient
from candor.cluster.shell import Ran


def check_environment(patient: Patient, chart: Chart) -> Finding:
    """Python, and the very same candor."""
    told, ran = patient.probe("environment")
    finding = judge_environment(told, ran, patient.expected)
    chart.roots = patient.roots or told.get("roots") or {}
    return finding


def judge_environment(told: Mapping[str, Any], ran: Ran, expected: Expected) -> Finding:
    """Compare what a probe told with what is expected. Pure."""
    if not told:
        return failed(f"no Python answers: {ran.said}", "Name the environment in `venv` of the site preset.")
    if told["python"] != expected.python:
        return failed(
            f"Python {told['python']} instead of {expected.python} ({told['executable']})",
            "Load another module, or make the environment anew with that Python.",
        )
    if "error" in told:
        return failed(
            f"candor cannot be imported: {told['error']} ({told['executable']})",
            "Install it there: `candor cluster sync --code`, then `pip install -e .` in the environment.",
        )
    if told["candor"] != expected.candor or told["code"] != expected.code:
        return failed(
            f"candor {told['candor']} with other code than {expected.candor} here ({told['folder']})",
            "`candor cluster sync --code` brings this code there.",
        )
    return ok(f"Python {told['python']}, candor {told['candor']}, {told['executable']}")
