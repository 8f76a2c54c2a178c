"""Whatever part of a Ray run is killed, and whenever: the same command completes the plan, with the same artifacts."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from kill_kit import artifacts, has_begun, kill_part, letting_go, start
from waiting import LIMIT_S, wait_while

pytestmark = pytest.mark.slow

#: CANDOR_KILL_ROUNDS=20 is the long version.
ROUNDS = int(os.environ.get("CANDOR_KILL_ROUNDS", "4"))
KINDS = ("worker", "launcher", "raylet", "gcs_server")
#: A task takes about this long, so that a plan is at work for some seconds.
STEP_S = 0.1


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    root = tmp_path_factory.mktemp("undisturbed")
    with start(root) as process:
        out, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, out
    found = artifacts(root)
    assert len(found) == 12
    return found


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_run_with_a_killed_part_completes_on_the_next_try(
    tmp_path: Path, undisturbed: dict[str, object], number: int
) -> None:
    rng = random.Random(number)
    kind = KINDS[number % len(KINDS)]
    # Every number stays at its last step until the strike: without it, the run may be over before a slow machine gets to that.
    with start(tmp_path, "--on", "ray", TOY_WAIT_S=str(STEP_S), TOY_HOLD="3") as process:
        wait_while(process, lambda: has_begun(tmp_path), "the first task")
        time.sleep(rng.uniform(0, 1.0))
        wait_while(process, lambda: kill_part(process.pid, kind, rng), f"a {kind} to kill")
        with letting_go(tmp_path):  # Without one of its parts, it ends of its own accord.
            first, _ = process.communicate(timeout=LIMIT_S)
    artifacts(tmp_path)
    if kind == "worker":
        assert process.returncode == 0, first  # Ray put another one in its place.
    with start(tmp_path, "--on", "ray") as again, letting_go(tmp_path):
        second, _ = again.communicate(timeout=LIMIT_S)
    assert again.returncode == 0, f"{first}\n--- killed the {kind} ---\n{second}"
    assert artifacts(tmp_path) == undisturbed
    assert not list((tmp_path / "cache/staging").iterdir())
