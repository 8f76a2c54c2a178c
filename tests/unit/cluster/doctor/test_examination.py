"""All checks in turn."""

from __future__ import annotations

import dataclasses

import pytest
from doctor_kit import chart

from candor.cluster.doctor.examination import CHECKS, Check, examine
from candor.cluster.doctor.findings import Finding
from candor.cluster.doctor.patient import Chart, Patient
from candor.cluster.doctor.queues import QUEUES
from candor.cluster.shell import LocalShell


@pytest.mark.parametrize("surprise", [KeyError, IndexError, AttributeError, OSError])
def test_a_check_that_raises_has_failed_and_what_needs_it_is_skipped(
    patient: Patient, surprise: type[Exception]
) -> None:
    def broken(patient: Patient, chart: Chart) -> Finding:
        raise surprise("surprise")

    def never(patient: Patient, chart: Chart) -> Finding:
        raise AssertionError

    checks = [Check("one", broken), Check("two", never, ("one",)), Check("three", never)]
    states = {f.name: f.state for f in examine(patient, checks, skip=["three"])}
    assert states == {"one": "failed", "two": "skipped", "three": "skipped"}


@pytest.mark.parametrize("queue", QUEUES)
@pytest.mark.parametrize("shell", ["false", "true", "cat", "yes candor | head -n 3; true"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_machine_that_runs_nothing_passes_no_check_and_each_says_what_to_do(
    patient: Patient, check: Check, shell: str, queue: str
) -> None:
    """One that fails at everything, one that ends well whatever it is told, one that says it back, one that babbles."""
    host = "somewhere" if check.name == "ssh" else ""
    there = dataclasses.replace(
        patient,
        shell=LocalShell(("bash", "-c", shell)),
        host=host,
        modules=("python/3.12",),
        queue=QUEUES[queue],
        job_timeout_s=0.5,
    )
    found = check.run(there, chart(there))
    assert (found.state, bool(found.todo)) == ("failed", True), found
