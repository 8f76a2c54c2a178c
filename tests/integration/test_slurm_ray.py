"""One allocation of SLURM that boots Ray and runs the plan inside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster
from slurm_kit import Toy
from waiting import LIMIT_S, wait_until

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("nodes", [1, 2])
def test_the_plan_runs_on_ray_inside_one_allocation(tmp_path: Path, slurm: SlurmCluster, nodes: int) -> None:
    toy = Toy(tmp_path / "a röot")
    # The two nodes are one machine: what each has of its own is below /tmp/ray.
    own = ("--site-set", "env.RAY_TMPDIR=/tmp/ray")
    site = (*own, "--site-set", "stages.ray.memory_gb=5", "--site-set", "stages.ray.cpus=2")
    done = toy.run("--with-ray", "--nodes", str(nodes), *site)
    assert "21.0" in done.stdout
    jobs = {str(toy.record(t)["job"]) for t in ("left", "right", "total", "report")}
    assert jobs == {toy.events("jobs_submitted")[0]["jobs"]["ray"]}  # type: ignore[index]
    told = "".join(p.read_text() for p in (toy.folder / "slurm").glob("*"))
    assert "RAY_AUTH_TOKEN=$(" in told
    assert json.loads(toy.run("--with-ray", "--json").stdout)["outcome"] == "cached"
    # The tasks are done before Ray has shut down; its other nodes miss their head after some seconds.
    accounts = ("sacct", "-n", "-P", "-X", "-j", jobs.pop(), "-o", "State,NNodes")
    wait_until(lambda: "RUNNING" not in slurm.call(*accounts), "the end of the allocation")
    assert slurm.call(*accounts).split() == [f"COMPLETED|{nodes}"]
    assert not list((toy.folder / "slurm").glob("*.pid"))
    (said,) = (p.read_text() for p in (toy.folder / "slurm").glob("*.out"))
    assert "ray, job" in said  # The epilog of the whole allocation.


def test_near_its_time_limit_an_allocation_queues_a_successor_and_who_waits_follows_it(
    tmp_path: Path, slurm: SlurmCluster
) -> None:
    toy = Toy(tmp_path / "a röot")
    site = ("--with-ray", "--site-set", "requeue=false", "--site-set", "env.RAY_TMPDIR=/tmp/ray")
    site = (*site, "--site-set", "stages.ray.memory_gb=5", "--site-set", "stages.ray.cpus=2")
    toy.run(*site, "--no-wait", "--set", "left.steps=8", TOY_HOLD="4")
    toy.wait_for_step(4)
    with slurm.hurry(), toy.started(*site, "--set", "left.steps=8") as waiting:
        assert waiting.stderr is not None
        assert any(line.startswith("Joined job") for line in waiting.stderr)
        slurm.call("scancel", "--batch", "--signal=USR1", str(toy.record("left")["job"]))
        said, told = waiting.communicate(timeout=LIMIT_S)
    assert waiting.returncode == 0, told
    assert "21.0" in said
    first, second = toy.record("left"), toy.record("left", 2)
    assert (first["outcome"], second["outcome"]) == ("interrupted", "succeeded")
    jobs = [e["jobs"]["ray"] for e in toy.events("jobs_submitted")]
    assert [first["job"], second["job"]] == jobs
    wait_until(lambda: not slurm.call("squeue", "--noheader").strip(), "the end of the allocation")
