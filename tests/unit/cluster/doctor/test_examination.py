"""All checks in turn."""

from __future__ import annotations

from candor.cluster.doctor.examination import Check, examine
from candor.cluster.doctor.findings import Finding
from candor.cluster.doctor.patient import Chart, Patient


def test_a_check_that_raises_has_failed_and_what_needs_it_is_skipped(patient: Patient) -> None:
    def broken(patient: Patient, chart: Chart) -> Finding:
        raise KeyError("surprise")

    def never(patient: Patient, chart: Chart) -> Finding:
        raise AssertionError

    checks = [Check("one", broken), Check("two", never, ("one",)), Check("three", never)]
    states = {f.name: f.state for f in examine(patient, checks, skip=["three"])}
    assert states == {"one": "failed", "two": "skipped", "three": "skipped"}
