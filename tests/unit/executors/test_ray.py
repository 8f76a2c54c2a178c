"""What the Ray executor does beyond the conformance suite."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flow_kit import Kit
from kd_run import TINY
from kill_kit import letting_go
from platforms import Platform
from platforms import ray as ray_platform
from toy_pipeline import SCRIPT, NumberConfig, SumConfig, ToyWorkload
from waiting import LIMIT_S, wait_while

from candor.errors import ConfigError, RayUnavailable
from candor.executors.base import JobResult, execute
from candor.flow.plan import Plan, PlannedTask, Resources, TaskSpec, render
from candor.tracking.recorder import JsonlRecorder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with ray_platform() as opened:
        yield opened


class Heard:
    """A display that remembers what it was told."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.notes: list[tuple[str, str]] = []
        self.ended: list[JobResult] = []

    def started(self, task: PlannedTask) -> None:
        self.begun.append(task.id)

    def progress(self, task_id: str, done: float, total: float, note: str = "") -> None:
        self.notes.append((task_id, note))

    def finished(self, result: JobResult) -> None:
        self.ended.append(result)


def everything(plan: Plan) -> list[str]:
    return [t.id for t in plan.tasks]


@pytest.mark.parametrize("slow", [False, True])
def test_the_person_who_waits_sees_every_running_task_progress(
    kit: Kit, platform: Platform, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    import ray
    from ray_parts import SlowBoard

    from candor.executors.ray import RayExecutor

    monkeypatch.setenv("TOY_HOLD", "2")
    plan = render("x", [TaskSpec(f"n{i}", "number", 1, NumberConfig(value=i)) for i in range(2)])
    heard = Heard()
    executor = RayExecutor(kit.store, ToyWorkload().stages, JsonlRecorder, heard)
    if slow:
        executor.__dict__["_board"] = ray.remote(SlowBoard).options(num_cpus=0).remote()

    def both() -> bool:
        # Which step is no matter: words that follow each other closely are dropped.
        return {name for name, _ in heard.notes} == {"n0", "n1"}

    with letting_go(kit.root, both, "a word of both tasks"):
        assert execute(executor, plan, kit.open(plan), everything(plan)).ok
    assert sorted(heard.begun) == ["n0", "n1"]
    assert {name for name, _ in heard.notes} == {"n0", "n1"}
    assert len(heard.ended) == 2


def test_tasks_that_do_not_need_each_other_run_at_once(
    kit: Kit, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_HOLD", "1")
    plan = render("x", [TaskSpec(f"n{i}", "number", 1, NumberConfig(value=i)) for i in range(4)])
    begun = kit.root / "cache/scratch/number"
    with letting_go(kit.root, lambda: len(list(begun.glob("*/step"))) >= 2, "two tasks at work"):
        assert execute(platform.make(kit.store), plan, kit.open(plan), everything(plan)).ok
    events = [e["event"] for e in kit.open(plan).journal.read()]
    assert events[1:3] == ["task_started"] * 2  # More of the four slots where workers start quickly enough.


def test_reservations_are_those_of_the_task_as_far_as_the_cluster_has_them(
    kit: Kit, platform: Platform
) -> None:
    from candor.executors.ray import RayExecutor

    executor = RayExecutor(kit.store, ToyWorkload().stages, JsonlRecorder)
    executor.__dict__["_largest"] = {"CPU": 4.0, "GPU": 2.0, "memory": 8e9}

    def reserved(**wanted: float) -> dict[str, object]:
        spec = TaskSpec("t", "number", 1, NumberConfig(), resources=Resources.model_validate(wanted))
        return executor._reservation(render("x", [spec]).task("t"))

    assert reserved(cpus=2, gpus=0.25, memory_gb=1.5) == {
        "num_cpus": 2,
        "num_gpus": 0.25,
        "memory": 1_500_000_000,
    }
    assert reserved(cpus=64, memory_gb=500) == {"num_cpus": 4, "num_gpus": 0, "memory": 8_000_000_000}
    with pytest.raises(ConfigError, match="asks for 4 GPU, and no node of this Ray has more than 2"):
        reserved(gpus=4)


def test_a_task_without_its_gpus_stops_the_run_before_it_begins(kit: Kit, platform: Platform) -> None:
    plan = render(
        "x",
        [
            TaskSpec("n", "number", 1, NumberConfig()),
            TaskSpec("t", "total", 1, SumConfig(), {"number.a": "n"}, Resources(gpus=64)),
        ],
    )
    with pytest.raises(ConfigError, match="t asks for 64 GPU"):
        execute(platform.make(kit.store), plan, kit.open(plan), everything(plan))


def test_a_task_that_kills_every_worker_is_a_result_with_its_reason(
    kit: Kit, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    from candor.executors.ray import RayExecutor

    monkeypatch.setenv("TOY_DIE", "always")
    plan = render(
        "x",
        [
            TaskSpec("n", "number", 1, NumberConfig()),
            TaskSpec("t", "total", 1, SumConfig(), {"number.a": "n"}),
        ],
    )
    executor = RayExecutor(kit.store, ToyWorkload().stages, JsonlRecorder, max_retries=1)
    report = execute(executor, plan, kit.open(plan), everything(plan))
    (lost,) = report.failed
    assert (lost.record.task, lost.record.outcome, lost.record.exit_code) == ("n", "killed", 6)
    assert "its worker was lost 2 times" in (lost.record.reason or "")
    assert lost.record.metrics == "metrics.jsonl"
    assert [s.task_id for s in report.skipped] == ["t"]
    assert [a.record.outcome for a in kit.open(plan).attempts("n")] == ["killed", "killed"]


def test_secrets_do_not_travel(kit: Kit, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    from candor.executors.ray import RayExecutor

    monkeypatch.setenv("WANDB_API_KEY", "hidden")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("UNRELATED", "1")
    travels = RayExecutor(kit.store, ToyWorkload().stages, JsonlRecorder)._environment
    assert travels["WANDB_MODE"] == "offline"
    assert "CANDOR_CODE_VERSION" in travels
    assert not {"WANDB_API_KEY", "UNRELATED"} & set(travels)


def test_a_stage_that_workers_cannot_import_is_told_as_such(kit: Kit, platform: Platform) -> None:
    import types

    from candor.executors.ray import RayExecutor

    module = types.ModuleType("only_here")
    exec("def stages():\n    return {}", module.__dict__)
    sys.modules["only_here"] = module
    try:
        plan = render("x", [TaskSpec("n", "number", 1, NumberConfig())])
        executor = RayExecutor(kit.store, module.stages, JsonlRecorder)
        with pytest.raises(RayUnavailable, match=r"cannot load n.*only_here"):
            execute(executor, plan, kit.open(plan), everything(plan))
    finally:
        del sys.modules["only_here"]


def candor(kit: Kit, platform: Platform, *args: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *args],
        env={**os.environ, **platform.environment, "CANDOR_ROOT": str(kit.root), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_status_and_logs_tell_of_a_run_under_way(kit: Kit, platform: Platform) -> None:
    with candor(kit, platform, "run", "toy", "-d", "small", *platform.args, TOY_HOLD="1") as run:
        begun = kit.root / "cache/scratch/number"
        wait_while(run, lambda: len(list(begun.glob("*/step"))) == 2, "two tasks at work")
        with candor(kit, platform, "status", "toy", "--json") as status:
            rows = json.loads(status.communicate(timeout=LIMIT_S)[0])["tasks"]
        with candor(kit, platform, "logs", "left") as logs:
            text, note = logs.communicate(timeout=LIMIT_S)
        with candor(kit, platform, "clean", "--orphans", "--dry-run", "--json") as clean:
            orphans = json.loads(clean.communicate(timeout=LIMIT_S)[0])
        run.terminate()
        run.communicate(timeout=LIMIT_S)
    assert {r["task"]: r["state"] for r in rows} == {
        "left": "running",
        "right": "running",
        "total": "to run",
        "report": "to run",
    }
    assert "starting at step 0" in text
    assert "running" in note
    assert [o for o in orphans if o["kind"] != "ray"] == []


def test_torch_and_stages_are_not_loaded_where_the_run_is_waited_for(tmp_path: Path) -> None:
    probe = (
        "import sys\n"
        "from candor.cli.main import main\n"
        f"sets = [part for value in {TINY!r} for part in ('--set', value)]\n"
        "try:\n    main(['run', 'kd', '--dataset', 'synthetic', *sets, '--until', 'ingest', '--on', 'ray'])\n"
        "except SystemExit as e:\n    assert not e.code, e.code\n"
        "assert 'ray' in sys.modules\n"
        "assert not {'torch', 'lightning', 'torch_geometric'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        env={**os.environ, "CANDOR_ROOT": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
