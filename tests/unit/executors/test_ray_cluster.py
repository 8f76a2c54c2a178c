"""A Ray of our own: private, on loopback, apart from every other one."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import LIMIT_S

from candor.errors import RayUnavailable
from candor.executors import ray_cluster
from candor.executors.ray_cluster import connected
from candor.flow.process import ProcessId

#: Starts a Ray, tells about it, and starts another one inside if told to.
PROBE = """
import json, os, subprocess, sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from candor.executors.ray_cluster import connected

def answer(url, **headers):
    try:
        return urlopen(Request(url, headers=headers), timeout=300).status
    except HTTPError as e:
        return e.code

with connected(cpus=1, dashboard=len(sys.argv) > 1) as url:
    import ray
    folder = Path(os.environ["RAY_AUTH_TOKEN_PATH"]).parent
    print("TOLD " + json.dumps({
        "address": ray.get_runtime_context().gcs_address,
        "folder": str(folder),
        "modes": [folder.stat().st_mode, (folder / "token").stat().st_mode],
        "token": (folder / "token").read_text(),
        "dashboard": url and [
            answer(url + "/api/v0/nodes"),
            answer(url + "/api/v0/nodes", Authorization="Bearer " + (folder / "token").read_text()),
        ],
        "environment": dict(os.environ),
        "arguments": subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout,
        "listening": subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True).stdout.splitlines(),
        "logs": "".join(p.read_text(errors="replace") for p in folder.rglob("*.log")),
        "pids": [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()
                 and str(folder) in (p / "cmdline").read_text(errors="replace")],
    }), flush=True)
    if len(sys.argv) > 1:
        # As another user's job would start, not as a child of this one.
        env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        subprocess.run([sys.executable, "-c", sys.argv[1]], env=env, check=True)
print("AFTER " + json.dumps([folder.exists(), "RAY_AUTH_TOKEN_PATH" in os.environ]))
"""


def clean_environment(**more: str) -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | more


@pytest.fixture(scope="module")
def two() -> tuple[dict[str, object], dict[str, object], list[bool]]:
    """What two Rays told that were up at the same time, and what was left of the second one."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, PROBE],
        capture_output=True,
        text=True,
        env=clean_environment(),
        check=True,
        timeout=LIMIT_S,
    )
    lines = done.stdout.splitlines()
    first, second = (json.loads(line[5:]) for line in lines if line.startswith("TOLD "))
    return first, second, next(json.loads(line[6:]) for line in lines if line.startswith("AFTER "))


Two = tuple[dict[str, object], dict[str, object], list[bool]]


@pytest.mark.slow
def test_two_rays_on_one_machine_share_neither_folder_nor_address_nor_token(two: Two) -> None:
    first, second, _ = two
    for name in ("folder", "address", "token"):
        assert first[name] != second[name]


@pytest.mark.slow
def test_only_this_user_can_read_the_token_or_reach_the_sockets(two: Two) -> None:
    folder, token = two[0]["modes"]  # type: ignore[misc]
    assert stat.S_IMODE(folder) == 0o700
    assert stat.S_IMODE(token) == 0o600


@pytest.mark.slow
def test_the_token_is_in_no_log_no_variable_and_no_command_line(two: Two) -> None:
    told = two[0]
    assert len(str(told["token"])) == 64
    for place in ("logs", "environment", "arguments"):
        assert str(told["token"]) not in str(told[place])


@pytest.mark.slow
def test_a_dashboard_is_there_where_it_was_asked_for_and_asks_for_the_token(two: Two) -> None:
    assert two[0]["dashboard"] == [401, 200]
    assert two[1]["dashboard"] == ""


@pytest.mark.slow
def test_nothing_of_it_listens_beyond_this_machine(two: Two) -> None:
    told = two[0]
    ours = [
        line
        for line in told["listening"]  # type: ignore[attr-defined]
        if any(f"pid={pid}," in line for pid in told["pids"])  # type: ignore[attr-defined]
    ]
    assert ours
    assert all("127.0.0.1" in line.split()[3] for line in ours), ours


@pytest.mark.slow
def test_when_it_ends_it_leaves_nothing(two: Two) -> None:
    assert two[2] == [False, False]


@pytest.mark.slow
def test_a_stranger_with_another_token_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("0" * 64)
    join = """
import sys
from candor.errors import RayUnavailable
from candor.executors.ray_cluster import connected
try:
    with connected(sys.argv[1]):
        print("inside")
except RayUnavailable as e:
    print("refused:", e)
"""
    with connected(cpus=1):
        import ray

        address = ray.get_runtime_context().gcs_address
        said = {}
        for name, path in {"own": os.environ["RAY_AUTH_TOKEN_PATH"], "wrong": str(wrong)}.items():
            done = subprocess.run(
                [sys.executable, "-c", join, address],
                env=clean_environment(RAY_AUTH_TOKEN_PATH=path),
                capture_output=True,
                text=True,
                check=False,
                timeout=LIMIT_S,
            )
            said[name] = done.stdout.strip()
    assert said["own"] == "inside"
    assert said["wrong"].startswith("refused: Ray refuses the token")


def test_a_ray_client_address_is_refused_with_the_reason() -> None:
    with pytest.raises(RayUnavailable, match="Ray Client"), connected("ray://head:10001"):
        pass


def test_a_temporary_folder_whose_path_is_too_long_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 80)
    long.mkdir()
    short = Path(f"/tmp/c{os.getpid()}")
    short.mkdir()
    try:
        monkeypatch.setattr(ray_cluster, "_bases", lambda: [str(long), str(short)])
        with ray_cluster._private_folder() as folder:
            assert folder.parent == short
            assert (folder / "owner.json").exists()
        assert not list(short.iterdir())
        assert not list(long.iterdir())
        monkeypatch.setattr(ray_cluster, "_bases", lambda: [str(long)])
        with pytest.raises(RayUnavailable, match="short enough"), ray_cluster._private_folder():
            pass
    finally:
        short.rmdir()


def test_folders_of_killed_launchers_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "_bases", lambda: [str(tmp_path)])
    me = ProcessId.current()
    for name, owner in {
        "mine": me,
        "dead": me.model_copy(update={"started": "another boot"}),
        "elsewhere": me.model_copy(update={"host": "another-node"}),
    }.items():
        (tmp_path / f"candor-{name}").mkdir()
        (tmp_path / f"candor-{name}" / "owner.json").write_text(owner.model_dump_json())
    (tmp_path / "candor-unrelated").mkdir()
    assert [p.name for p in ray_cluster.abandoned_folders()] == ["candor-dead"]
