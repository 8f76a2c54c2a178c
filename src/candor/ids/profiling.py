"""Profiling the training steps of one model of an experiment, without training it."""

from __future__ import annotations

from pathlib import Path

from candor.ids.budget import module_of
from candor.ids.config import ExperimentConfig
from candor.ids.loaders import graph_loader
from candor.ids.samples import Samples
from candor.ids.targets import Target, budget_task
from candor.learn.fit import run_steps, watched_modules
from candor.learn.profiling import StepProfile, StepProfiler
from candor.learn.sampling import BudgetSampler


def profile_model(
    config: ExperimentConfig, target: Target, graphs: Path, *, device: str, steps: int, folder: Path
) -> StepProfile:
    """Take ``steps`` timed training steps of the model on the windows of ``graphs``, a build_train artifact.

    Weights, those of a teacher too, are untrained: the time of a step does not depend on them. Writes steps.json and
    trace.json.gz into ``folder``. Raises DataError if there is no window to train on,
    and what ``graph_loader`` raises.
    """
    task = budget_task(config, target, device)
    training = config.variants[target.variant].training.model_copy(update={"device": device})
    samples = Samples.of(task.model, graphs)
    sampler = BudgetSampler(
        samples.node_counts,
        samples.edge_counts,
        max_nodes=training.max_nodes,
        max_edges=training.max_edges,
        shuffle=True,
        seed=0,
        min_steps_per_epoch=training.min_steps_per_epoch,
    )
    loader = graph_loader(samples.store, samples.batches(sampler), training)
    profiler = StepProfiler(loader, folder, watched_modules, timed=steps)
    run_steps(module_of(task, training, graphs), loader, training, profiler)
    assert profiler.result is not None  # run_steps goes on until it is there.
    return profiler.result
