"""The command line with a PBS behind it, a fake one that runs the scripts: see ``support/pbs/fake_pbs.py``."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pbs_cluster import fake_pbs
from slurm_kit import PASS_ENV, Toy
from toy_pipeline import let_go
from waiting import wait_until

from candor.executors.pbs_commands import Pbs
from candor.executors.scripts import ScriptContext
from candor.executors.site import Request, SiteConfig
from candor.executors.worker_array import WorkerArray

pytestmark = pytest.mark.slow
ON = ("--on", "pbs", "--site-set", "poll_s=0.3")
#: The shortest limit there is; the script's own clock warns after some seconds of it.
SOON = ("--site-set", "defaults.time_limit_min=1", "--site-set", "warning_s=48")


class PbsToy(Toy):
    """``candor`` over the toy pipeline, on PBS."""

    def run(self, *args: str, code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        return self("run", "toy", "-d", "small", *ON, *PASS_ENV, *args, code=code, **more)


@pytest.fixture(scope="module")
def pbs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with fake_pbs(tmp_path_factory.mktemp("pbs") / "a röot") as folder:
        yield folder


@pytest.fixture
def toy(tmp_path: Path, pbs: Path) -> PbsToy:
    return PbsToy(tmp_path / "a röot")


def jobs(pbs: Path) -> dict[str, dict[str, Any]]:
    return dict(json.loads((pbs / "state.json").read_text())["jobs"])


def test_a_plan_that_is_queued_is_joined_waits_in_order_and_is_shown(toy: PbsToy, pbs: Path) -> None:
    first = toy.run("--no-wait", "--json", TOY_HOLD="1")
    toy.wait_for_both()
    told = json.loads(first.stdout)["jobs"]
    shown = {
        t["task"]: (t["state"], t["reason"])
        for t in json.loads(toy("status", toy.folder.name, "--json").stdout)["tasks"]
    }
    assert shown["left"] == ("running", f"job {told['left']}")
    assert shown["report"] == ("queued", f"job {told['report']}, waits: Dependency")
    assert jobs(pbs)[told["total"]]["depend"] == f"afterok:{told['left']}:{told['right']}"
    assert json.loads(toy.run("--no-wait", "--json").stdout)["jobs"].items() <= told.items()
    let_go(toy.root)
    assert "21.0" in toy.run().stdout
    assert sorted(told.values()) == sorted(str(toy.record(t)["job"]) for t in told)
    assert "starting at step 0" in toy("logs", "left").stdout


def test_cancel_takes_the_jobs_off_the_queue_and_the_run_resumes_from_its_checkpoint(
    toy: PbsToy, pbs: Path
) -> None:
    toy.run("--no-wait", "--set", "left.steps=8", TOY_HOLD="4")
    toy.wait_for_step(4)  # The other task has three.
    toy("cancel", toy.folder.name)
    mine = {job for event in toy.events("jobs_submitted") for job in event["jobs"].values()}
    wait_until(lambda: all(jobs(pbs)[job]["job_state"] == "F" for job in mine), "an empty queue")
    assert toy.record("left")["outcome"] == "interrupted"
    assert "21.0" in toy.run("--set", "left.steps=8").stdout
    assert toy.record("left", 2)["summary"]["resumed_from"] == 4


def test_near_its_time_limit_a_job_submits_its_successor_and_the_others_wait_for_that(
    toy: PbsToy, pbs: Path
) -> None:
    done = toy.run("--set", "left.steps=8", *SOON, TOY_HOLD="4")
    assert "21.0" in done.stdout
    attempts = sorted((toy.folder / "tasks/left").glob("attempt-*"))
    records = [toy.record("left", n + 1) for n in range(len(attempts))]
    assert len(records) >= 2
    assert [r["outcome"] for r in records] == ["interrupted"] * (len(records) - 1) + ["succeeded"]
    assert records[-1]["summary"]["resumed_from"] == 4
    assert len({r["job"] for r in records}) == len(records)
    # What handed over ended well, or all that waits for it would have been deleted.
    assert [jobs(pbs)[r["job"]]["Exit_status"] for r in records] == [0] * len(records)
    assert not (toy.folder / "tasks/report/attempt-2").exists()
    epilog = toy("cluster", "epilog", str(toy.folder / "plan.json"), "left").stdout
    assert "of 60 s asked for" in epilog, epilog


def test_an_element_of_an_array_goes_on_as_a_job_of_its_own(toy: PbsToy, pbs: Path) -> None:
    toy.run("--until", "number", "--set", "left.steps=8", *SOON, TOY_HOLD="4")
    first, second = toy.record("left"), toy.record("left", 2)
    assert (first["outcome"], "_" in first["job"], "_" in second["job"]) == ("interrupted", True, False)
    assert toy.record("right")["job"].partition("_")[0] == first["job"].partition("_")[0]


def test_what_depends_on_a_failure_leaves_the_queue_and_is_told_as_skipped(toy: PbsToy, pbs: Path) -> None:
    toy.run("--no-wait", TOY_FAIL="total")
    mine = {job for event in toy.events("jobs_submitted") for job in event["jobs"].values()}
    wait_until(lambda: all(jobs(pbs)[job]["job_state"] == "F" for job in mine), "an empty queue")
    shown = {t["task"]: t for t in json.loads(toy("status", toy.folder.name, "--json").stdout)["tasks"]}
    assert shown["total"]["state"] == "failed"
    assert shown["report"]["state"] == "skipped"


def test_a_plan_of_more_jobs_than_the_site_allows_is_refused_before_the_first(toy: PbsToy, pbs: Path) -> None:
    before = len(jobs(pbs))
    done = toy.run("--site-set", "max_jobs=3", code=2)
    assert "--with-ray" in done.stderr
    assert len(jobs(pbs)) == before


def test_a_dry_run_prints_every_script(toy: PbsToy, pbs: Path) -> None:
    site = ("--site", "imperial_cx3", "--site-set", "stages.number.gpus=1")
    said = toy.run("--dry-run", *site).stdout
    assert said.count("#PBS -N candor.") == 4
    assert said.count("#PBS -l select=1:ncpus=8:mem=32768mb:ngpus=1\n") == 2
    assert "module load tools/prod" in said
    assert (
        "--on pbs --site imperial_cx3"
        in toy("run", "toy", "-d", "small", "--on", "slurm", "--site", "imperial_cx3", code=2).stderr
    )


def test_workers_of_a_study_go_to_the_queue_again_near_their_limit(tmp_path: Path, pbs: Path) -> None:
    """The array of ``candor tune``, with a stub in place of the worker: warned at its first start, done at its second.

    The second stays until it may go, so that there is an array to be joined however late the warning finds who joins it.
    """
    stub, go = tmp_path / "worker.sh", tmp_path / "go"
    stub.write_text(
        'trap "exit 130" TERM\n'
        f'if [ -e "$0.$4" ]; then trap "" TERM; while [ ! -e "{go}" ]; do sleep 0.1; done; echo done >>"$0.$4"; exit 0; fi\n'
        'touch "$0.$4"\nwhile :; do sleep 0.2; done\n'
    )
    study = tmp_path / "a röot" / "gat"
    context = ScriptContext(study, study / "study.json", study / "pbs", {}, ("bash", str(stub)))
    site = SiteConfig(warning_s=57)
    array = WorkerArray(context, site, Request(time_limit_min=1), Pbs())
    job, fresh = array.submit(2)
    assert (job.isdigit(), fresh) == (True, True)
    assert not array.submit(2)[1]
    go.touch()
    wait_until(
        lambda: all(
            (tmp_path / f"worker.sh.{n}").exists() and (tmp_path / f"worker.sh.{n}").read_text()
            for n in (0, 1)
        ),
        "both workers' second start",
    )
    wait_until(lambda: not array.live(), "an empty queue")
    mine = [key for key, j in jobs(pbs).items() if j["Job_Name"].startswith("candor.gat.tune")]
    assert sorted(key for key in mine if "[" in key) == [f"{job}[0]", f"{job}[1]"]
    # A successor each; another one for a stub that was warned before it could listen.
    assert len(mine) >= 4
    for n in (0, 1):
        (tmp_path / f"worker.sh.{n}").unlink()
    array = dataclasses.replace(array, site=SiteConfig(warning_s=5))
    array.submit(2)
    array.cancel()
    wait_until(lambda: not array.live(), "an empty queue")
    assert len(array.cancelled()) == 1


# ---- the doctor

QUICK = (*ON[2:], "--min-free-gb", "0.1", *PASS_ENV, "--site-set", "scheduler=pbs")


def examined(toy: Toy, *more: str, code: int = 0, **env: str) -> dict[str, Any]:
    done = toy(
        "cluster", "doctor", "--json", "--skip", "ray", "--skip", "gpus", *QUICK, *more, code=code, **env
    )
    return {c["name"]: c for c in json.loads(done.stdout)["checks"]}


def test_the_doctor_runs_a_job_through_pbs_and_clears_up(toy: PbsToy) -> None:
    found = examined(toy)
    assert {n: found[n]["state"] for n in ("scheduler", "job")} == {"scheduler": "ok", "job": "ok"}, found
    assert not list(toy.root.rglob("*doctor*"))


def test_a_pbs_whose_nodes_are_down_or_that_takes_no_such_job_fails(toy: PbsToy) -> None:
    found = examined(toy, code=1, FAKE_PBS_NODE="state-unknown,down")
    assert "no node is up" in found["scheduler"]["told"]
    found = examined(toy, "--site-set", "defaults.partition=nowhere", code=1)
    assert (found["scheduler"]["state"], found["job"]["state"]) == ("failed", "skipped")
    assert "Unknown queue" in found["scheduler"]["told"]


def test_a_pbs_that_takes_jobs_and_never_starts_them_fails(toy: PbsToy, pbs: Path, tmp_path: Path) -> None:
    """Every job is queued on hold."""
    slow = tmp_path / "bin"
    slow.mkdir()
    (slow / "qsub").write_text(f'#!/bin/bash\nexec "{pbs}/bin/qsub" -h "$@"\n')
    (slow / "qsub").chmod(0o755)
    path = f"{slow}:{os.environ['PATH']}"
    found = examined(toy, "--job-timeout-s", "5", code=1, PATH=path)
    assert "did not start within 5 s (pending" in found["job"]["told"], found["job"]


# ---- Ray


def test_the_plan_runs_on_ray_inside_one_allocation(tmp_path: Path) -> None:
    """In a process namespace of its own: symmetric-run ends every Ray that it sees."""
    pytest.importorskip("ray")
    with fake_pbs(tmp_path / "pbs", apart=True):
        toy = PbsToy(tmp_path / "root")
        assert "21.0" in toy.run("--with-ray", "--site-set", "stages.ray.cpus=2").stdout
        jobs_of = {str(toy.record(t)["job"]) for t in ("left", "right", "total", "report")}
        assert jobs_of == {toy.events("jobs_submitted")[0]["jobs"]["ray"]}
