"""A search without any training: a bowl with its bottom at x = 1 and kind b."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from waiting import wait_until

from candor.learn.tuning.search import Outcome, Searcher
from candor.learn.tuning.spaces import Choice, Integer, Space, Uniform, Value
from candor.learn.tuning.study import Study, StudyInfo

SPACE = Space(
    stage="number",
    metric="loss",
    parameters={"x": Uniform(low=-4, high=4), "kind": Choice(of=("a", "b")), "n": Integer(low=1, high=9)},
)
Report = Callable[[int, float], None]


def info(trials: int = 12, **changes: object) -> StudyInfo:
    base = StudyInfo(
        study="bowl",
        model="bowl",
        space=SPACE,
        experiment="toy",
        dataset="small",
        variant="only",
        trials=trials,
    )
    return base.model_copy(update=changes)


def bowl(values: dict[str, Value], report: Report) -> Outcome:
    for epoch in range(3):
        report(epoch, (float(values["x"]) - 1) ** 2 + (values["kind"] == "a") + 1 / (epoch + 1))
    return Outcome("run")


def long_bowl(values: dict[str, Value], report: Report, epoch_s: float = 0.02) -> Outcome:
    """Ten epochs; ends as the runner of a task would end it where the search stops it."""
    try:
        for epoch in range(10):
            report(epoch, (float(values["x"]) - 1) ** 2 + 1 / (epoch + 1))
            time.sleep(epoch_s)
    except Exception as e:
        return Outcome("run", failed=True, reason=f"curriculum: {type(e).__name__}: {e}")
    return Outcome("run")


def unhurried_bowl(values: dict[str, Value], report: Report) -> Outcome:
    """Ray decides who is stopped while the trial goes on: on a busy machine it has time to, before the last epoch."""
    return long_bowl(values, report, epoch_s=0.25)


def fragile(values: dict[str, Value], report: Report) -> Outcome:
    """Does not fit in memory where kind is a."""
    if values["kind"] == "a":
        return Outcome("run", failed=True, reason="curriculum: CUDA out of memory", out_of_memory=True)
    return bowl(values, report)


def slow(values: dict[str, Value], report: Report) -> Outcome:
    time.sleep(random.random() * 0.05)
    return bowl(values, report)


def both_begun(path: Path, values: dict[str, Value], report: Report) -> Outcome:
    """Ends only beside another trial."""
    wait_until(lambda: len(Study(path).trials()) == 2, "another trial beside this one")
    return bowl(values, report)


def deadly(values: dict[str, Value], report: Report) -> Outcome:
    """Takes its process with it, once per folder ``CANDOR_DEADLY``."""
    report(0, 1.0)
    mark = Path(os.environ["CANDOR_DEADLY"]) / "died"
    if not mark.exists():
        mark.touch()
        os._exit(1)
    return bowl(values, report)


def search(path: Path, run_trial: object = bowl, worker: int = 0) -> None:
    Searcher(Study(path), run_trial, worker=worker).run()  # type: ignore[arg-type]


def search_after_all_died(path: Path) -> None:
    Searcher(Study(path), slow, orphan_s=0).run()
