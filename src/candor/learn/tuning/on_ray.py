"""Trials on a Ray cluster: Ray Tune runs them, Optuna proposes them, ASHA or the median stops the poor ones early.

Only study records survive a search: what Ray Tune keeps for itself goes to a temporary folder. A search that is taken
up again tells Optuna of every trial so far, and repeats those that were under way with the same values, which resumes
their trainings from the last checkpoint.

ASHA: Li et al. 2020 (arXiv:1810.05934).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from candor.errors import ConfigError
from candor.executors.ray_cluster import largest_node
from candor.executors.ray_environment import forwarded, travelling
from candor.flow.locks import held_if_free
from candor.learn.tuning.search import Outcome, RunTrial, finished
from candor.learn.tuning.spaces import Value
from candor.learn.tuning.study import Study, StudyInfo, TrialRecord


@dataclass(frozen=True)
class TrialResources:
    """What one trial takes; a GPU may be shared (0.25)."""

    cpus: float = 1
    gpus: float = 0


@dataclass(frozen=True)
class _Call:
    """Everything a trial needs on another machine."""

    study: Study
    run_trial: RunTrial
    environment: dict[str, str]

    def __call__(self, values: dict[str, Value]) -> None:
        from ray import tune

        os.environ.update(self.environment)
        space = self.study.info().space
        record = self.study.claim(values)
        self.study.repeated(values)
        curve: list[tuple[int, float]] = []
        started = time.monotonic()

        def report(epoch: int, value: float) -> None:
            if curve and epoch <= curve[-1][0]:
                return
            curve.append((epoch, value))
            # Kept before Ray hears of it: the trial may be stopped right there.
            self.study.note(finished(record, Outcome(""), curve, space, time.monotonic() - started))
            tune.report({space.metric: value, "epoch": epoch + 1})

        outcome = self.run_trial(values, report)
        ended = finished(record, outcome, curve, space, time.monotonic() - started)
        self.study.write(ended)
        if ended.state == "failed":
            raise RuntimeError(ended.reason)


def search_on_ray(
    study: Study,
    run_trial: RunTrial,
    *,
    at_most: int | None,
    resources: TrialResources,
    on_trial: Callable[[TrialRecord], None] = lambda record: None,
) -> None:
    """Run the study's missing trials. This process must be connected to Ray.

    Args:
        at_most: trials at a time; None: as many as the cluster has room for.
        on_trial: told of every trial at the end.

    Raises ConfigError if another process searches the study on Ray, or no node has the GPUs of a trial.
    """
    with held_if_free(study.path / "ray.lock") as alone:
        if not alone:
            raise ConfigError(
                f"another process searches study '{study.path.name}' on Ray",
                place=str(study.path),
                hint="Wait for its end, raise its --max-concurrent, or give this one a name of its own: --name.",
            )
        _search(study, run_trial, at_most, _within_reach(resources), on_trial)


def _within_reach(wanted: TrialResources) -> TrialResources:
    """What a node can give: Ray Tune would wait for ever for more. Processors are wishes, GPUs are not."""
    most = largest_node()
    if wanted.gpus > most["GPU"]:
        raise ConfigError(
            f"a trial asks for {wanted.gpus:g} GPU, and no node of this Ray has more than {most['GPU']:g}",
            place="--gpus",
            hint="Run it on a cluster that has them, or ask for fewer.",
        )
    return TrialResources(min(wanted.cpus, most["CPU"]), wanted.gpus)


def _room_for(resources: TrialResources) -> int:
    """How many trials the cluster has processors and GPUs for at a time."""
    import ray

    there = ray.cluster_resources()  # type: ignore[no-untyped-call]
    room = there.get("CPU", 1.0) / resources.cpus
    if resources.gpus:
        room = min(room, there.get("GPU", 0.0) / resources.gpus)
    return max(1, int(room))


def _search(
    study: Study,
    run_trial: RunTrial,
    at_most: int | None,
    resources: TrialResources,
    on_trial: Callable[[TrialRecord], None],
) -> None:
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Else it prints tables of its own between ours.
    from ray import tune
    from ray.tune.search import ConcurrencyLimiter

    info = study.info()
    before = study.trials()
    missing = info.trials - sum(t.state != "running" for t in before)
    if missing <= 0:
        return
    call = _Call(study, run_trial, travelling(os.environ, forwarded(os.environ)))
    lost = study.set_aside_running()
    at_once = at_most or min(_room_for(resources), missing)
    with tempfile.TemporaryDirectory(prefix="candor-tune-") as folder:
        tuner = tune.Tuner(
            tune.with_resources(call.__call__, {"CPU": resources.cpus, "GPU": resources.gpus}),
            tune_config=tune.TuneConfig(
                metric=info.space.metric,
                mode=info.space.mode,
                search_alg=ConcurrencyLimiter(_optuna_search(study, before, lost), max_concurrent=at_once),
                scheduler=_scheduler(info, before),
                num_samples=missing,
                reuse_actors=True,  # A worker takes seconds to start and to import what a trial needs.
            ),
            run_config=tune.RunConfig(
                name=info.study,
                storage_path=folder,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),  # Out of memory stays out of memory.
            ),
        )
        tuner.fit()
    known = {t.number for t in before if t.state != "running"}
    for record in study.trials():
        if record.number not in known:
            on_trial(_settled(study, record))


def _scheduler(info: StudyInfo, before: list[TrialRecord]) -> Any:
    """What stops poor trials."""
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

    if info.pruner == "asha":
        return ASHAScheduler(time_attr="epoch", grace_period=2, reduction_factor=3, max_t=10_000)
    if info.pruner == "median":
        from candor.learn.tuning.ray_median import Median

        return Median(info.space, [dict(t.curve) for t in before if t.state == "complete"])
    return FIFOScheduler()  # type: ignore[no-untyped-call]


def _settled(study: Study, record: TrialRecord) -> TrialRecord:
    """A trial that Ray ended without asking was stopped by the scheduler, or its worker died before any metric."""
    if record.state != "running":
        return record
    lost = record.value is None
    how = {"asha": "ASHA", "median": "the median rule"}.get(study.info().pruner, "Ray Tune")
    state, reason = ("failed", "its worker was lost") if lost else ("pruned", f"stopped by {how}")
    settled = record.model_copy(update={"state": state, "reason": reason})
    study.write(settled)
    return settled


def _optuna_search(study: Study, before: list[TrialRecord], lost: list[TrialRecord]) -> Any:
    from ray.tune.search.optuna import OptunaSearch

    info = study.info()
    search = OptunaSearch(
        info.space.distributions(),
        metric=info.space.metric,
        mode=info.space.mode,
        seed=info.sampler_seed + len(before),
        points_to_evaluate=[dict(t.values) for t in lost] or None,
    )
    for trial in before:
        if trial.state in ("complete", "pruned") and trial.value is not None:
            search.add_evaluated_point(dict(trial.values), trial.value)
    return search
