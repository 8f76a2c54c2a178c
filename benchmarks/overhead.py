"""What Candor adds to a task that does nothing: inline, on Ray beyond Ray's own, and to a plan of ten thousand tasks."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.timing import Measurement, save
from candor.config.base import Config
from candor.executors.base import Executor, execute
from candor.executors.inline import InlineExecutor
from candor.flow.artifact import ArtifactStore
from candor.flow.drift import explain
from candor.flow.plan import Plan, TaskSpec, render
from candor.flow.process import code_version
from candor.flow.run import open_run
from candor.flow.stage import Inputs, Output, Result, Stage
from candor.flow.survey import survey
from candor.tracking.recorder import JsonlRecorder

TASKS, REPEATS, LARGE = 50, 3, 10_000


class Nothing(Config):
    number: int = 0


def nothing(config: Nothing, inputs: Inputs, out: Output) -> Result:
    """A stage that does nothing."""
    return Result()


def stages() -> dict[str, Stage]:
    return {"nothing": nothing}


def chain(length: int, first: int = 0) -> Plan:
    """Tasks one after the other, so that none hides behind another."""
    return render(
        "nothing",
        [
            TaskSpec(f"t{i}", "nothing", 1, Nothing(number=first + i), {"before": f"t{i - 1}"} if i else {})
            for i in range(length)
        ],
    )


def per_task(make: Callable[[ArtifactStore], Executor], first: int) -> float:
    """Seconds per task of a chain."""
    plan = chain(TASKS, first)
    with tempfile.TemporaryDirectory() as folder:
        run = open_run(Path(folder), plan, config={}, origins={}, command="")
        executor = make(ArtifactStore(Path(folder) / "cache"))
        begin = time.perf_counter()
        report = execute(executor, plan, run, [t.id for t in plan.tasks])
        took = time.perf_counter() - begin
    assert report.ok
    return took / TASKS


def repeated(make: Callable[[ArtifactStore], Executor]) -> float:
    """Median of several chains, after one to warm up."""
    return median([per_task(make, repeat) for repeat in range(REPEATS + 1)][1:])


def inline() -> Measurement:
    code_version()  # Asked once per process.
    took = repeated(lambda store: InlineExecutor(store, stages, JsonlRecorder))
    figures = {"ms per task": round(took * 1e3, 2), "ms per fsync": round(fsync_s() * 1e3, 2)}
    return Measurement("overhead_inline", 0.020 / took, 1, "of 20 ms per task", "fsync of artifacts", figures)


def fsync_s() -> float:
    """Seconds of one forced write to the disk that the tasks wrote to."""
    with tempfile.TemporaryFile() as f:
        begin = time.perf_counter()
        for _ in range(50):
            f.write(b"x")
            f.flush()
            os.fsync(f.fileno())
        return (time.perf_counter() - begin) / 50


def on_ray() -> Measurement:
    # Ray's workers import this module by its name.
    os.environ["PYTHONPATH"] = os.pathsep.join(p or os.getcwd() for p in sys.path)
    from candor.executors.ray_cluster import connected

    with connected():
        import ray

        from candor.executors.ray import RayExecutor

        def plain(before: object) -> None:
            return None

        def own() -> float:
            remote = ray.remote(plain).options(num_cpus=1)
            ref = None
            begin = time.perf_counter()
            for _ in range(TASKS):
                ref = remote.remote(ref)
            ray.get(ref)
            return (time.perf_counter() - begin) / TASKS

        theirs = median([own() for _ in range(REPEATS + 1)][1:])
        from benchmarks import overhead  # Not __main__: the stages must have a name on the other side.

        took = repeated(lambda store: RayExecutor(store, overhead.stages, JsonlRecorder))
    beyond = took - theirs
    figures = {"ms per task": round(took * 1e3, 2), "ms per task, Ray alone": round(theirs * 1e3, 2)}
    return Measurement(
        "overhead_ray", 0.100 / beyond, 1, "of 100 ms per task beyond Ray", "fsync of artifacts", figures
    )


def large_plan() -> Measurement:
    def ids(changed: int) -> list[TaskSpec]:
        # Five sources that a thousand chains of ten read: wide and deep, and one changed source changes a fifth.
        sources = [
            TaskSpec(f"s{i}", "nothing", 1, Nothing(number=-i - (changed if i == 4 else 0)))
            for i in range(1, 6)
        ]
        rest = [
            TaskSpec(
                f"t{i}",
                "nothing",
                1,
                Nothing(number=i),
                {"before": f"t{i - 1}" if i % 10 else f"s{1 + i // 10 % 5}"},
            )
            for i in range(LARGE - len(sources))
        ]
        return sources + rest

    # Processor time: all of it is one thread's work, whatever else the machine is doing.
    begin = time.process_time()
    old, new = render("large", ids(0)), render("large", ids(100))
    rendered = (time.process_time() - begin) / 2
    begin = time.process_time()
    changed = sum(d.status == "changed" for d in explain(old, new))
    with tempfile.TemporaryDirectory() as folder:
        states = survey(new, ArtifactStore(Path(folder)), earlier=[old])
    compared = time.process_time() - begin
    assert changed == sum(s.state == "stale" for s in states) > LARGE / 6
    figures = {
        "tasks": LARGE,
        "render s": round(rendered, 2),
        "diff and survey s": round(compared, 2),
        "changed": changed,
    }
    return Measurement("overhead_plan", 5 / (rendered + compared), 1, "of 5 s", "hashing, one core", figures)


if __name__ == "__main__":
    save([inline(), on_ray(), large_plan()])
