"""Roots that take what candor does, and disks that do not."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from doctor_kit import Fake, chart

from candor.cluster.doctor import patient as patients
from candor.cluster.doctor.patient import Patient
from candor.cluster.doctor.roots import check_roots, check_space


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("needs to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_good_roots_pass_and_nothing_stays_in_them(patient: Patient) -> None:
    found = [f(patient, chart(patient)) for f in (check_roots, check_space)]
    assert [f.state for f in found] == ["ok", "ok"]
    roots = dict(patient.roots or {})
    assert [p for root in roots.values() for p in Path(root).iterdir()] == []


def test_a_root_that_is_read_only_fails(patient: Patient, tmp_path: Path) -> None:
    with mounted(tmp_path / "ro", "ro") as folder:
        there = dataclasses.replace(patient, roots={**(patient.roots or {}), "cache_root": str(folder)})
        found = check_roots(there, chart(there))
        assert check_space(there, chart(there)).state == "failed"
    assert (found.state, "Read-only" in found.told, "CACHE_ROOT" in found.todo) == ("failed", True, True)


def test_a_disk_that_is_full_fails(patient: Patient, tmp_path: Path) -> None:
    with mounted(tmp_path / "full", "size=64k") as folder:
        there = dataclasses.replace(patient, roots={"run_root": str(folder)})
        found = check_roots(there, chart(there))
        space = check_space(there, chart(there))
    assert (found.state, "No space left" in found.told) == ("failed", True)
    assert (space.state, "cannot be taken" in space.told) == ("failed", True)


def test_a_limit_on_file_sizes_is_found_though_the_disk_is_free(patient: Patient) -> None:
    there = dataclasses.replace(patient, activation=("ulimit -f 2048",))  # 2 MiB: writing works.
    assert check_roots(there, chart(there)).state == "ok"
    found = check_space(there, chart(there))
    assert (found.state, "64 MB cannot be taken" in found.told) == ("failed", True)


def test_too_little_free_space_fails(patient: Patient) -> None:
    there = dataclasses.replace(patient, min_free_gb=1e9)
    assert "are wanted" in check_space(there, chart(there)).told


def test_a_quota_that_is_used_up_fails(patient: Patient, fake: Fake) -> None:
    fake("quota", "echo '  Filesystem  space  quota'; echo '/dev/sda1  500G* 500G  510G 1 0 0'")
    assert "over quota" in check_space(patient, chart(patient)).told
    fake("quota", "echo '  Filesystem  space  quota'; echo '/dev/sda1  400G 500G  510G 1 0 0'")
    assert check_space(patient, chart(patient)).state == "ok"


@pytest.mark.parametrize("step", ["lock", "link"])
def test_a_root_without_locks_or_links_fails(
    patient: Patient, step: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """File systems that lie: the probe's own text with a system call that does nothing."""
    lies = {"lock": "fcntl.flock = lambda *a: None", "link": "os.symlink = lambda *a: None"}
    text = (patients._PROBES / "root.py").read_text()
    (tmp_path / "root.py").write_text(text.replace('if __name__ == "__main__":', lies[step] + "\nif True:"))
    monkeypatch.setattr(patients, "_PROBES", tmp_path)
    found = check_roots(patient, chart(patient))
    assert (found.state, f"cannot {step}" in found.told) == ("failed", True), found
