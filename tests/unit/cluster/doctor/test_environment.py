"""The same environment there as here, or none."""

from __future__ import annotations

import dataclasses
import sys

import pytest
from doctor_kit import EXPECTED

from candor.cluster.doctor.environment import check_environment
from candor.cluster.doctor.patient import Chart, Patient


def test_this_environment_is_the_one_expected(patient: Patient) -> None:
    told = Chart()
    assert check_environment(patient, told).state == "ok"
    assert told.roots == patient.roots


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"python": "3.4"}, "instead of 3.4"), ({"candor": "9"}, "other code"), ({"code": "0"}, "other code")],
)
def test_another_python_or_other_code_fails(patient: Patient, changes: dict[str, str], word: str) -> None:
    there = dataclasses.replace(patient, expected=dataclasses.replace(EXPECTED, **changes))
    found = check_environment(there, Chart())
    assert (found.state, word in found.told) == ("failed", True)


def test_a_python_without_candor_fails(patient: Patient) -> None:
    there = dataclasses.replace(patient, python=f"{sys.executable} -I -S")
    found = check_environment(there, Chart())
    assert (found.state, "cannot be imported" in found.told) == ("failed", True)


def test_no_python_at_all_fails(patient: Patient) -> None:
    there = dataclasses.replace(patient, python="/nowhere/python")
    assert check_environment(there, Chart()).state == "failed"


def test_an_environment_that_does_not_activate_fails(patient: Patient) -> None:
    there = dataclasses.replace(patient, activation=("exit 78",))
    assert check_environment(there, Chart()).state == "failed"
