"""A study whose workers are an array of a real SLURM."""

from __future__ import annotations

import json
import subprocess

import pytest
from kd_run import TINY, Candor
from slurm_cluster import SlurmCluster
from slurm_kit import wait_until
from waiting import LIMIT_S
from wandb_server import served_to_client

pytest.importorskip("optuna")
pytestmark = pytest.mark.slow
SETS = [part for value in TINY if "teacher" not in value for part in ("--set", value)]
PASSED = json.dumps(["HOME", "USER", "PATH", "LANG", "PYTHONPATH"])
SITE = (
    "--site-set",
    "poll_s=0.5",
    "--site-set",
    f"pass_env={PASSED}",
    "--site-set",
    "defaults.memory_gb=1.8",
)


@pytest.fixture(scope="module")
def candor(tmp_path_factory: pytest.TempPathFactory) -> Candor:
    """What is generated and built for the first study serves the second, where one process runs both tests."""
    return Candor(tmp_path_factory.mktemp("tune"))


@pytest.mark.alone_on_slurm
def test_a_study_runs_as_an_array_is_joined_shown_at_wandb_and_survives_a_worker(
    candor: Candor, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    command = ["tune", "gat", "-d", "synthetic", *SETS, "--prune", "none", "--trials", "4", "--json",
               "--on", "slurm", "--max-concurrent", "2", *SITE]  # fmt: skip
    study = candor.root / "studies/gat-kd-synthetic"

    def submitted() -> list[str]:
        listed = slurm.call("squeue", "-h", "-r", "-o", "%i|%j").splitlines()
        return sorted(line.split("|")[0] for line in listed if "|candor.gat-kd-synthetic.tune." in line)

    first = candor(*command, "--no-wait")
    assert json.loads(first.stdout)["outcome"] == "queued"
    jobs = submitted()
    assert [job.partition("_")[2] for job in jobs] == ["0", "1"]
    again = candor(*command, "--no-wait")
    assert "Joined job" in again.stderr
    assert submitted() == jobs

    # A worker dies within its trial, without a word, and its successor is on another node: it sees no process of the
    # dead one, and no accounts, which the nodes of this cluster cannot reach.
    wait_until(lambda: len(list(study.glob("trials/*.json"))) >= 2, "two trials under way")
    worker = "tune-worker gat-kd-synthetic --worker 0"
    wait_until(lambda: slurm.processes(worker), "the first worker")
    node = slurm.call("squeue", "-h", "-r", f"--jobs={jobs[0]}", "-o", "%N").strip()
    slurm.kill(worker)

    with slurm.drained(node), served_to_client(monkeypatch) as server:
        # Who waits sends; nodes know neither the service nor the key.
        told = json.loads(candor(*command, "--track", "online").stdout)
        shown = server.runs
        wait_until(lambda: sum(r.exit_code == 0 for r in shown.values()) >= 4, "four trials at W&B")
    assert {r.summary.get("value") for r in shown.values()} >= {t["value"] for t in told["all"]}
    assert [t["state"] for t in told["all"]] == ["complete"] * 4
    assert told["best"]["value"] == min(t["value"] for t in told["all"])
    assert len({t["run"] for t in told["all"]}) == 4
    hosts = {
        json.loads(p.read_text())["process"]["host"]
        for p in candor.root.glob("runs/*/tasks/curriculum.student.s1/attempt-*/record.json")
    }
    assert hosts <= {"node1", "node2"}
    wait_until(lambda: submitted() == [], "the last worker to leave the queue")
    assert (study / "best.yaml").is_file()


def test_a_worker_goes_on_after_its_time_limit_and_a_study_can_be_cancelled(
    candor: Candor, slurm: SlurmCluster
) -> None:
    command = ["tune", "gat", "-d", "synthetic", *SETS, "--set", "training.max_epochs=60",
               "--set", "training.patience=0", "--prune", "none", "--trials", "8", "--json",
               "--name", "limited", "--on", "slurm", *SITE]  # fmt: skip
    study = candor.root / "studies/limited"  # Epochs enough for whoever warns the worker to come late.
    candor(*command, "--no-wait")
    job = slurm.call("squeue", "-h", "-r", "-o", "%i|%j").partition("|candor.limited.tune.")[0]
    job = job.splitlines()[-1]

    def epochs() -> int:
        rows = candor.root.glob("cache/scratch/curriculum/*/metrics.jsonl")
        return max((p.read_text().count('"epoch"') for p in rows), default=0)

    wait_until(lambda: epochs() >= 2, "two epochs of the first trial")
    (first,) = study.glob("trials/*.json")
    values = json.loads(first.read_text())["values"]
    with slurm.hurry():
        # What SLURM sends --signal=B:USR1@S before the limit.
        slurm.call("scancel", "--batch", "--signal=USR1", job)

        def again() -> bool:
            shown = slurm.call("scontrol", "show", "job", job)
            return "Restarts=1" in shown and "JobState=RUNNING" in shown

        wait_until(again, "the second start")

    def trials() -> list[dict[str, object]]:
        found = [json.loads(p.read_text() or "{}") for p in study.glob("trials/*.json")]
        return sorted(found, key=lambda t: int(t.get("number", -1)))

    wait_until(lambda: any(t.get("state") == "complete" for t in trials()), "the first trial")
    done = next(t for t in trials() if t["state"] == "complete")
    assert done["values"] == values
    assert len(done["curve"]) == 60  # type: ignore[arg-type]
    attempts = sorted(
        candor.root.glob(f"runs/{done['run']}/tasks/curriculum.student.s1/attempt-*/record.json")
    )
    assert [json.loads(p.read_text())["outcome"] for p in attempts] == ["interrupted", "succeeded"]

    # More trials than a slow machine gets through before it has started who waits and who cancels.
    with subprocess.Popen(
        candor.argv(*command), env=candor.env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stderr is not None
        while "Joined job" not in waiting.stderr.readline():
            assert waiting.poll() is None
        told = json.loads(candor("cancel", "limited", "--json").stdout)
        assert told == {"study": "limited", "cancelled": [job]}
        _, said = waiting.communicate(timeout=LIMIT_S)
    assert waiting.returncode == 130, said
    assert "were cancelled" in said
    states = [t["state"] for t in trials()]
    assert set(states[:-1]) == {"complete"}
    assert states.count("complete") < 8
    assert "No worker of limited" in candor("cancel", "limited").stdout
