"""Shells that answer and modules that load, and those that only seem to."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from doctor_kit import chart
from sshd import Sshd

from candor.cluster.doctor.access import check_modules, check_ssh
from candor.cluster.doctor.patient import Chart, Patient
from candor.cluster.shell import LocalShell, ssh_shell


def over_ssh(patient: Patient, server: Sshd, key: str = "user", **changes: str) -> Patient:
    command = server.command(key)
    for old, new in changes.items():
        command = command.replace(str(getattr(server, old)), new)
    return dataclasses.replace(patient, shell=ssh_shell(server.host, command), host=server.host)


def test_a_host_that_lets_in_is_reached(patient: Patient, ssh: Sshd) -> None:
    there = over_ssh(patient, ssh)
    assert check_ssh(there, chart(there)).state == "ok"


def test_a_wrong_key_fails_and_says_what_to_do(patient: Patient, ssh: Sshd) -> None:
    found = check_ssh(over_ssh(patient, ssh, "stranger"), Chart())
    assert found.state == "failed"
    assert "ssh-copy-id" in found.todo


def test_a_port_where_nothing_listens_fails(patient: Patient, ssh: Sshd) -> None:
    found = check_ssh(over_ssh(patient, ssh, port="1"), Chart())
    assert (found.state, "Nothing listens" in found.todo) == ("failed", True)


def test_a_host_whose_identity_changed_fails(patient: Patient, ssh: Sshd, tmp_path: Path) -> None:
    command = ssh.command().replace(str(ssh.folder / "known_hosts"), str(tmp_path / "nothing"))
    found = check_ssh(
        dataclasses.replace(patient, shell=ssh_shell(ssh.host, command), host=ssh.host), Chart()
    )
    assert (found.state, "fingerprint" in found.todo) == ("failed", True)


def test_an_ssh_that_ends_well_without_running_anything_fails(patient: Patient) -> None:
    there = dataclasses.replace(patient, shell=LocalShell(("true",)), host="somewhere")
    assert check_ssh(there, Chart()).state == "failed"


def test_a_shell_that_hangs_fails_in_time(patient: Patient) -> None:
    assert LocalShell()("sleep 60 & wait", timeout_s=0.3).code == 124


_MODULE = 'module() {{ [ "$1" = load ] && {action}; }}; export -f module'


@pytest.mark.parametrize(
    ("action", "state"),
    [
        ('export LOADEDMODULES="$LOADEDMODULES:$2/3.12.1"', "ok"),
        ("true", "failed"),  # As old versions do for a module that they do not have.
        ("{ echo no such module >&2; return 1; }", "failed"),
    ],
)
def test_what_counts_is_what_is_loaded(patient: Patient, action: str, state: str) -> None:
    shell = LocalShell(("bash", "-c", _MODULE.format(action=action) + "; bash -s"))
    there = dataclasses.replace(patient, shell=shell, modules=("python", "cuda"))
    assert check_modules(there, Chart()).state == state


def test_modules_without_the_command_fail(patient: Patient) -> None:
    there = dataclasses.replace(patient, modules=("python/3.12",))
    found = check_modules(there, Chart())
    assert "no command 'module'" in found.told
