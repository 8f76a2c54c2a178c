"""One allocation of SLURM that boots Ray and runs the plan inside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster
from slurm_kit import Toy
from waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("nodes", [1, 2])
def test_the_plan_runs_on_ray_inside_one_allocation(tmp_path: Path, slurm: SlurmCluster, nodes: int) -> None:
    toy = Toy(tmp_path / "a röot")
    site = ("--site-set", "stages.ray.memory_gb=5", "--site-set", "stages.ray.cpus=2")
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
