"""Processes that are killed, or that want the same thing at the same time."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_pipeline import SCRIPT
from waiting import LIMIT_S, wait_while

from candor.flow.artifact import ArtifactStore

ARGS = [sys.executable, str(SCRIPT), "run", "toy", "--dataset", "small", "--set", "left.steps=12"]


def environment(root: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "CANDOR_ROOT": str(root), **more}


def published(root: Path) -> list[tuple[str, str]]:
    return [(p.parent.parent.name, p.parent.name) for p in (root / "cache/artifacts").glob("*/*/record.json")]


def check_whole(root: Path) -> None:
    """Every folder among the artifacts is whole, down to the digests."""
    store = ArtifactStore(root / "cache")
    for folder in (root / "cache/artifacts").glob("*/*"):
        assert store.inspect(folder.parent.name, folder.name, verify=True) == ("published", "")


def finish(root: Path) -> str:
    done = subprocess.run(
        ARGS, env=environment(root), capture_output=True, text=True, check=False, timeout=LIMIT_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_resumes_and_no_artifact_is_half_there(tmp_path: Path) -> None:
    rng = random.Random(0)
    root = tmp_path / "rööt x"
    for _ in range(10):
        with subprocess.Popen(
            ARGS,
            env=environment(root, TOY_WAIT_S="0.03"),
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        ) as process:
            time.sleep(rng.uniform(0.15, 0.75))
            process.send_signal(signal.SIGKILL)
        check_whole(root)
    assert "21.0" in finish(root)
    check_whole(root)
    assert len(published(root)) == 4
    assert not any((root / "cache/staging").iterdir())


def test_what_a_killed_run_published_is_not_made_again(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*ARGS, "--set", "right.steps=50"],
        env=environment(tmp_path, TOY_HOLD="20"),  # Where only the second number comes.
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "right ..." in line:
                break
        process.send_signal(signal.SIGKILL)
    before = published(tmp_path)
    assert len(before) == 1
    stamp = (tmp_path / "cache/artifacts" / before[0][0] / before[0][1] / "record.json").stat().st_mtime_ns
    finish(tmp_path)
    assert (
        tmp_path / "cache/artifacts" / before[0][0] / before[0][1] / "record.json"
    ).stat().st_mtime_ns == stamp


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_says_how_to_go_on_and_resumes(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        ARGS, env=environment(tmp_path, TOY_HOLD="2"), stderr=subprocess.PIPE, text=True
    ) as process:
        steps = tmp_path / "cache/scratch"
        wait_while(process, lambda: any(p.read_text() == "2" for p in steps.rglob("step")), "the second step")
        process.send_signal(number)
        _, told = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert "Run the same command to resume." in told
    record = json.loads(next((tmp_path / "runs").glob("*/tasks/left/attempt-1/record.json")).read_text())
    assert record["outcome"] == "interrupted"
    finish(tmp_path)
    second = json.loads(next((tmp_path / "runs").glob("*/tasks/left/attempt-2/record.json")).read_text())
    assert second["summary"]["resumed_from"] >= 1


def test_two_processes_that_want_the_same_share_the_work(tmp_path: Path) -> None:
    slow = environment(tmp_path, TOY_WAIT_S="0.05")
    both = [
        subprocess.Popen(ARGS, env=slow, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        out, err = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, err
        assert "21.0" in out
    outcomes = [
        json.loads(p.read_text())["outcome"]
        for p in (tmp_path / "runs").glob("*/tasks/*/attempt-*/record.json")
    ]
    assert outcomes.count("succeeded") == 4
    assert set(outcomes) <= {"succeeded", "cached"}
    check_whole(tmp_path)
