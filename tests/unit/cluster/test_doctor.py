"""Each check of the doctor, on a machine where it should pass and on broken ones where it must not."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sshd import Sshd

import candor
from candor.cluster import doctor, doctor_jobs
from candor.cluster.doctor import Chart, Check, Expected, Finding, Patient, examine
from candor.cluster.probes.environment import code_digest
from candor.cluster.shell import LocalShell, Ran, ssh_shell

EXPECTED = Expected(
    ".".join(platform.python_version_tuple()[:2]),
    candor.__version__,
    code_digest(str(Path(candor.__file__).parent)),
)


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    roots = {n: str(tmp_path / "röots" / n) for n in ("data_root", "cache_root", "run_root")}
    return Patient(
        shell=LocalShell(),
        expected=EXPECTED,
        job=lambda roots, body: f"#!/bin/bash\n{body}",
        python=sys.executable,
        roots=roots,
        min_free_gb=0.001,
        job_timeout_s=4,
        poll_s=0.1,
    )


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """``fake("sinfo", "echo hello")`` puts a command in front of the real one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def make(name: str, script: str) -> None:
        path = folder / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return make


def chart(patient: Patient) -> Chart:
    return Chart(roots=patient.roots or {})


# ---- ssh


def over_ssh(patient: Patient, server: Sshd, key: str = "user", **changes: str) -> Patient:
    command = server.command(key)
    for old, new in changes.items():
        command = command.replace(str(getattr(server, old)), new)
    return dataclasses.replace(patient, shell=ssh_shell(server.host, command), host=server.host)


def test_a_host_that_lets_in_is_reached(patient: Patient, ssh: Sshd) -> None:
    there = over_ssh(patient, ssh)
    assert doctor.check_ssh(there, chart(there)).state == "ok"


def test_a_wrong_key_fails_and_says_what_to_do(patient: Patient, ssh: Sshd) -> None:
    found = doctor.check_ssh(over_ssh(patient, ssh, "stranger"), Chart())
    assert found.state == "failed"
    assert "ssh-copy-id" in found.todo


def test_a_port_where_nothing_listens_fails(patient: Patient, ssh: Sshd) -> None:
    found = doctor.check_ssh(over_ssh(patient, ssh, port="1"), Chart())
    assert (found.state, "Nothing listens" in found.todo) == ("failed", True)


def test_a_host_whose_identity_changed_fails(patient: Patient, ssh: Sshd, tmp_path: Path) -> None:
    command = ssh.command().replace(str(ssh.folder / "known_hosts"), str(tmp_path / "nothing"))
    found = doctor.check_ssh(
        dataclasses.replace(patient, shell=ssh_shell(ssh.host, command), host=ssh.host), Chart()
    )
    assert (found.state, "fingerprint" in found.todo) == ("failed", True)


def test_an_ssh_that_ends_well_without_running_anything_fails(patient: Patient) -> None:
    there = dataclasses.replace(patient, shell=LocalShell(("true",)), host="somewhere")
    assert doctor.check_ssh(there, Chart()).state == "failed"


def test_a_shell_that_hangs_fails_in_time(patient: Patient) -> None:
    assert LocalShell()("sleep 60 & wait", timeout_s=0.3).code == 124


# ---- modules

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
    assert doctor.check_modules(there, Chart()).state == state


def test_modules_without_the_command_fail(patient: Patient) -> None:
    there = dataclasses.replace(patient, modules=("python/3.12",))
    found = doctor.check_modules(there, Chart())
    assert "no command 'module'" in found.told


# ---- environment


def test_this_environment_is_the_one_expected(patient: Patient) -> None:
    told = Chart()
    assert doctor.check_environment(patient, told).state == "ok"
    assert told.roots == patient.roots


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"python": "3.4"}, "instead of 3.4"), ({"candor": "9"}, "other code"), ({"code": "0"}, "other code")],
)
def test_another_python_or_other_code_fails(patient: Patient, changes: dict[str, str], word: str) -> None:
    there = dataclasses.replace(patient, expected=dataclasses.replace(EXPECTED, **changes))
    found = doctor.check_environment(there, Chart())
    assert (found.state, word in found.told) == ("failed", True)


def test_a_python_without_candor_fails(patient: Patient) -> None:
    there = dataclasses.replace(patient, python=f"{sys.executable} -I -S")
    found = doctor.check_environment(there, Chart())
    assert (found.state, "cannot be imported" in found.told) == ("failed", True)


def test_no_python_at_all_fails(patient: Patient) -> None:
    there = dataclasses.replace(patient, python="/nowhere/python")
    assert doctor.check_environment(there, Chart()).state == "failed"


def test_an_environment_that_does_not_activate_fails(patient: Patient) -> None:
    there = dataclasses.replace(patient, activation=("exit 78",))
    assert doctor.check_environment(there, Chart()).state == "failed"


# ---- GPUs

_FINE = {
    "gpus": ["NVIDIA A100"],
    "driver_cuda": "12.4",
    "torch": "2.13",
    "torch_cuda": "12.1",
    "torch_gpus": 1,
}
_SILENT = Ran(1, "", "killed")


@pytest.mark.parametrize(
    ("changes", "wanted", "state", "word"),
    [
        ({}, 1, "ok", "A100"),
        ({}, 2, "failed", "2 GPUs were asked for"),
        ({"torch_cuda": None, "torch_gpus": 0}, 1, "failed", "has no CUDA"),
        ({"torch_cuda": "13.0", "torch_gpus": 0}, 1, "failed", "the driver knows 12.4"),
        ({"torch_gpus": 0}, 1, "failed", "torch sees 0 of 1"),
        ({"compute_error": "no kernel image"}, 1, "failed", "no kernel image"),
        ({"gpus": [], "torch_gpus": 0}, 1, "failed", "nvidia-smi shows none"),
        ({"gpus": [], "torch_gpus": 0, "smi_error": "no devices"}, 0, "failed", "no devices"),
        ({"gpus": [], "torch_gpus": 0}, 0, "skipped", "no GPU"),
        ({"torch_error": "ImportError: x"}, 0, "failed", "cannot be imported"),
    ],
)
def test_gpus_are_those_of_the_driver_and_compute(
    changes: dict[str, object], wanted: int, state: str, word: str
) -> None:
    found = doctor.judge_gpus({**_FINE, **changes}, _SILENT, wanted=wanted)
    assert (found.state, word in found.told) == (state, True), found


def test_a_gpu_probe_that_dies_fails() -> None:
    assert doctor.judge_gpus({}, _SILENT, wanted=0).state == "failed"


def test_a_driver_that_shows_a_gpu_torch_cannot_use_fails(
    patient: Patient, fake: Callable[[str, str], None]
) -> None:
    import torch

    if torch.version.cuda:
        pytest.skip("this torch has CUDA")
    fake("nvidia-smi", "case $1 in --query*) echo 'NVIDIA H200';; *) echo 'CUDA Version: 12.8';; esac")
    found = doctor.check_gpus(patient, Chart())
    assert (found.state, found.told.endswith("has no CUDA, and there is NVIDIA H200")) == ("failed", True)


# ---- roots and space


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
    found = [f(patient, chart(patient)) for f in (doctor.check_roots, doctor.check_space)]
    assert [f.state for f in found] == ["ok", "ok"]
    roots = dict(patient.roots or {})
    assert [p for root in roots.values() for p in Path(root).iterdir()] == []


def test_a_root_that_is_read_only_fails(patient: Patient, tmp_path: Path) -> None:
    with mounted(tmp_path / "ro", "ro") as folder:
        there = dataclasses.replace(patient, roots={**(patient.roots or {}), "cache_root": str(folder)})
        found = doctor.check_roots(there, chart(there))
        assert doctor.check_space(there, chart(there)).state == "failed"
    assert (found.state, "Read-only" in found.told, "CACHE_ROOT" in found.todo) == ("failed", True, True)


def test_a_disk_that_is_full_fails(patient: Patient, tmp_path: Path) -> None:
    with mounted(tmp_path / "full", "size=64k") as folder:
        there = dataclasses.replace(patient, roots={"run_root": str(folder)})
        found = doctor.check_roots(there, chart(there))
        space = doctor.check_space(there, chart(there))
    assert (found.state, "No space left" in found.told) == ("failed", True)
    assert (space.state, "cannot be taken" in space.told) == ("failed", True)


def test_a_limit_on_file_sizes_is_found_though_the_disk_is_free(patient: Patient) -> None:
    there = dataclasses.replace(patient, activation=("ulimit -f 2048",))  # 2 MiB: writing works.
    assert doctor.check_roots(there, chart(there)).state == "ok"
    found = doctor.check_space(there, chart(there))
    assert (found.state, "64 MB cannot be taken" in found.told) == ("failed", True)


def test_too_little_free_space_fails(patient: Patient) -> None:
    there = dataclasses.replace(patient, min_free_gb=1e9)
    assert "are wanted" in doctor.check_space(there, chart(there)).told


def test_a_quota_that_is_used_up_fails(patient: Patient, fake: Callable[[str, str], None]) -> None:
    fake("quota", "echo '  Filesystem  space  quota'; echo '/dev/sda1  500G* 500G  510G 1 0 0'")
    assert "over quota" in doctor.check_space(patient, chart(patient)).told
    fake("quota", "echo '  Filesystem  space  quota'; echo '/dev/sda1  400G 500G  510G 1 0 0'")
    assert doctor.check_space(patient, chart(patient)).state == "ok"


@pytest.mark.parametrize("step", ["lock", "link"])
def test_a_root_without_locks_or_links_fails(
    patient: Patient, step: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """File systems that lie: the probe's own text with a system call that does nothing."""
    lies = {"lock": "fcntl.flock = lambda *a: None", "link": "os.symlink = lambda *a: None"}
    text = (doctor.PROBES / "root.py").read_text()
    (tmp_path / "root.py").write_text(text.replace('if __name__ == "__main__":', lies[step] + "\nif True:"))
    monkeypatch.setattr(doctor, "PROBES", tmp_path)
    found = doctor.check_roots(patient, chart(patient))
    assert (found.state, f"cannot {step}" in found.told) == ("failed", True), found


# ---- the scheduler and its jobs

_SINFO = "echo 'debug|up|{state}|node1'"


@pytest.fixture
def slurm_says(fake: Callable[[str, str], None]) -> Callable[[str, str], None]:
    """A SLURM that is well, until a command is replaced."""
    fake("sinfo", _SINFO.format(state="idle"))
    fake("squeue", "")
    fake("scancel", "")
    fake("sacct", "echo 'COMPLETED|0:0|node1'")
    fake("sbatch", '[ "$1" = --test-only ] && exit 0; echo 7')
    return fake


def test_a_scheduler_that_would_take_a_job_passes(patient: Patient, slurm_says: Callable[[str, str], None]):
    assert doctor.check_scheduler(patient, chart(patient)).state == "ok"


def test_no_scheduler_fails(patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "few").mkdir()
    for name in ("bash", "id"):
        (tmp_path / "few" / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path / "few"))
    assert "no command 'sinfo'" in doctor.check_scheduler(patient, chart(patient)).told


@pytest.mark.parametrize(
    ("command", "script", "word"),
    [
        ("sinfo", "echo 'Unable to contact slurm controller' >&2; exit 1", "does not answer"),
        ("squeue", "echo 'Zero Bytes' >&2; exit 1", "does not answer"),
        ("sinfo", _SINFO.format(state="down*"), "no node is up"),
        ("sinfo", _SINFO.format(state="idle*"), "no node is up"),
        ("sinfo", "echo 'debug|inact|idle|node1'", "no node is up"),
        ("sinfo", "true", "no partition"),
        ("sbatch", "echo 'Invalid account' >&2; exit 1", "Invalid account"),
    ],
)
def test_a_scheduler_in_trouble_fails(
    patient: Patient, slurm_says: Callable[[str, str], None], command: str, script: str, word: str
) -> None:
    slurm_says(command, script)
    found = doctor.check_scheduler(patient, chart(patient))
    assert (found.state, word in found.told) == ("failed", True), found


def test_a_partition_that_is_not_there_fails(patient: Patient, slurm_says: Callable[[str, str], None]):
    found = doctor.check_scheduler(dataclasses.replace(patient, partition="gpu"), chart(patient))
    assert (found.told, found.todo) == ("no partition called 'gpu'", "Partitions: debug.")


@pytest.mark.parametrize(
    ("sbatch", "squeue", "word"),
    [
        ("echo 'refused' >&2; exit 1", "", "sbatch: refused"),
        ("echo 7", "echo 'queue|PENDING|Resources'", "did not start"),  # Accepted, and never run.
        ("echo 7", "", "left the queue without a result (COMPLETED"),  # Accounts lie; results do not.
        ("echo 7", "echo 'queue|RUNNING|None'", "without a result"),
        (
            "cd $2; for a; do case $a in --chdir=*) echo made-up >${a#*=}/result;; esac; done; echo 7",
            "",
            "left",
        ),
    ],
)
def test_a_queue_that_runs_nothing_fails(
    patient: Patient, slurm_says: Callable[[str, str], None], sbatch: str, squeue: str, word: str
) -> None:
    slurm_says("sbatch", sbatch)
    slurm_says("squeue", squeue)
    found = doctor_jobs.check_job(patient, chart(patient))
    assert (found.state, word in found.told) == ("failed", True), found


#: Runs the script at once, as a node would.
_NODE = 'for a; do case $a in --chdir=*) cd "${a#*=}";; esac; done; echo 7; bash job.sh >job.out 2>&1'


def test_a_job_that_runs_passes_and_its_folder_goes(
    patient: Patient, slurm_says: Callable[[str, str], None]
) -> None:
    slurm_says("sbatch", _NODE)
    assert doctor_jobs.check_job(patient, chart(patient)).state == "ok"
    root = Path(dict(patient.roots or {})["run_root"])
    assert list(root.iterdir()) == []


def test_a_node_with_another_environment_fails(
    patient: Patient, slurm_says: Callable[[str, str], None]
) -> None:
    bare = f"sed -i 's|{sys.executable} -|{sys.executable} -I -S -|' job.sh; bash job.sh"
    slurm_says("sbatch", _NODE.replace("bash job.sh", bare))
    found = doctor_jobs.check_job(patient, chart(patient))
    assert found.told.startswith("on the node: candor cannot be imported"), found
    assert found.state == "failed"


def test_a_node_that_does_not_share_a_root_fails(
    patient: Patient, slurm_says: Callable[[str, str], None], tmp_path: Path
) -> None:
    cache = dict(patient.roots or {})["cache_root"]
    elsewhere = tmp_path / "disk of the node"
    elsewhere.mkdir()
    slurm_says("sbatch", _NODE.replace("bash job.sh", f"sed -i 's|{cache}|{elsewhere}|' job.sh; bash job.sh"))
    found = doctor_jobs.check_job(patient, chart(patient))
    assert (found.state, found.told.startswith("cache_root: what")) == ("failed", True), found


def test_a_job_that_gets_no_gpu_fails(patient: Patient, slurm_says: Callable[[str, str], None]) -> None:
    slurm_says("sbatch", _NODE)
    slurm_says("nvidia-smi", "exit 9")
    patient = dataclasses.replace(patient, gpus=1, job_timeout_s=60)
    found = doctor_jobs.check_job(patient, chart(patient))
    assert (found.state, "1 GPUs were asked for" in found.told) == ("failed", True), found


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ({"product": 42, "elsewhere": True, "ray": "2"}, "ok"),
        ({"product": 41, "elsewhere": True, "ray": "2"}, "failed"),
        ({"product": 42, "elsewhere": False, "ray": "2"}, "failed"),
        ({"error": "RayUnavailable: no"}, "failed"),
        ({}, "failed"),
    ],
)
def test_ray_counts_only_if_another_process_came_to_the_product(told: dict[str, object], state: str) -> None:
    assert doctor_jobs.judge_ray(told, "", 42).state == state


# ---- all of them


def test_a_check_that_raises_has_failed_and_what_needs_it_is_skipped(patient: Patient) -> None:
    def broken(patient: Patient, chart: Chart) -> Finding:
        raise KeyError("surprise")

    def never(patient: Patient, chart: Chart) -> Finding:
        raise AssertionError

    checks = [Check("one", broken), Check("two", never, ("one",)), Check("three", never)]
    states = {f.name: f.state for f in examine(patient, checks, skip=["three"])}
    assert states == {"one": "failed", "two": "skipped", "three": "skipped"}
