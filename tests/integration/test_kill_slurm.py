"""Whatever part of a SLURM run is killed, and whenever: the same command completes the plan, with the same artifacts."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from kill_kit import artifacts, has_begun, start
from slurm_cluster import SlurmCluster
from slurm_kit import FAST, PASS_ENV
from waiting import LIMIT_S, wait_while

pytestmark = pytest.mark.slow

#: CANDOR_KILL_ROUNDS=20 is the long version.
ROUNDS = int(os.environ.get("CANDOR_KILL_ROUNDS", "3"))
#: ``node``: everything on it dies, and SLURM is told. ``silence``: nobody tells it; it has to miss the node.
#: ``slurmd``: the daemon alone dies, and comes back some seconds later.
#: The first three are what no other test kills.
KINDS = ("silence", "slurmd", "launcher", "node", "task")
STEP_S = "0.3"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    root = tmp_path_factory.mktemp("undisturbed")
    with start(root) as process:
        out, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, out
    return artifacts(root)


def strike(kind: str, launcher: int, slurm: SlurmCluster, rng: random.Random) -> None:
    number = rng.choice([1, 2])
    if kind == "launcher":
        os.kill(launcher, signal.SIGKILL)
    elif kind == "task":
        victims = slurm.processes("task run")
        with suppress(ProcessLookupError):  # It has just ended.
            os.kill(rng.choice(victims), signal.SIGKILL) if victims else None
    elif kind == "slurmd":
        slurm.kill_slurmd(number)
    else:
        try:
            if kind == "silence":
                slurm.silence_node(number)
            else:
                slurm.kill_node(number)
                time.sleep(5)
        finally:
            slurm.start_node(number)


@pytest.mark.alone_on_slurm
@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_run_with_a_killed_part_completes_on_the_next_try(
    tmp_path: Path, slurm: SlurmCluster, undisturbed: dict[str, object], number: int
) -> None:
    rng = random.Random(number)
    kind = KINDS[number % len(KINDS)]
    with slurm.hurry():
        with start(tmp_path, *FAST, *PASS_ENV, TOY_WAIT_S=STEP_S) as process:
            wait_while(process, lambda: has_begun(tmp_path), "the first task")
            time.sleep(rng.uniform(0, 6))
            strike(kind, process.pid, slurm, rng)
            first, _ = process.communicate(timeout=LIMIT_S)
        artifacts(tmp_path)
        with start(tmp_path, *FAST, *PASS_ENV) as again:
            second, _ = again.communicate(timeout=LIMIT_S)
    assert again.returncode == 0, f"{first}\n--- killed the {kind} ---\n{second}"
    assert artifacts(tmp_path) == undisturbed
    records = [json.loads(p.read_text()) for p in tmp_path.glob("runs/*/tasks/*/attempt-*/record.json")]
    # A node can die between a task's publishing and its word of it: the next attempt finds the artifact there.
    ended = {r["task"] for r in records if r["outcome"] in ("succeeded", "cached")}
    assert len(ended) == 12
    assert not any(r["outcome"] == "running" for r in records)
