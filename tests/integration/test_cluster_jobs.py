"""What jobs of a real SLURM read, and what they leave when they are gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster
from slurm_kit import Toy
from waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def toy(tmp_path: Path, slurm: SlurmCluster) -> Toy:
    return Toy(tmp_path / "a röot")


def test_a_job_that_is_gone_is_an_orphan_and_one_that_runs_is_none(toy: Toy, slurm: SlurmCluster) -> None:
    """The processes of a job on another node are killed at once, so that nothing can note its end."""

    def orphans() -> list[str]:
        rows = json.loads(toy("clean", "--orphans", "--dry-run", "--json").stdout)
        return [r["why"] for r in rows if r["kind"] == "attempt"]

    toy.run("--no-wait", "--set", "right.steps=1", TOY_HOLD="2")
    toy.wait_for_step(2)
    assert orphans() == []
    record = toy.record("left")
    assert record["outcome"] == "running"
    slurm.kill(f"task run {toy.folder}/plan.json left")
    wait_until(orphans, "the orphan")
    (why,) = orphans()
    assert why == f"its job on {record['process']['host']} is over"
    toy("clean", "--orphans")
    assert toy.record("left")["outcome"] == "killed"
    assert orphans() == []
    toy("cancel", toy.folder.name)


def test_a_site_that_stages_lets_tasks_read_copies_on_their_node(toy: Toy) -> None:
    assert "21.0" in toy.run("--site-set", "stage_in=tmpdir").stdout
    log = (toy.folder / "tasks/total/attempt-1/log.txt").read_text()
    copies = [
        line.rpartition(" to ")[2] for line in log.splitlines() if " of number to /tmp/candor-staged-" in line
    ]
    assert len(copies) == 2, log
    # This task's own: others of this machine may stage at the same time, or were killed once.
    assert not any(Path(*Path(copy).parts[:3]).exists() for copy in copies)
