"""``candor profile-train``: where the time of a training step goes, and whether cuGraph could pay."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candor.cli import budget, options, output, single
from candor.cli.session import session

if TYPE_CHECKING:
    from candor.flow.artifact import ArtifactStore
    from candor.flow.plan import Plan

_EXPLAINED = {
    "message passing": "convolutions, forward and backward",
    "other compute": "the rest of the forward and backward pass",
    "optimizer": "clipping and the update",
    "loading": "waiting for the next batch",
    "idle": "between the parts: the trainer's own work",
}


def profile_train(
    ctx: typer.Context,
    dataset: options.Dataset,
    model: budget.Model = "",
    experiment: options.Via = "kd",
    steps: Annotated[int, typer.Option("--steps", min=1, help="Training steps to time.")] = 30,
    device: budget.Device = "auto",
    sets: options.Sets = [],  # noqa: B006 - typer copies it.
    as_json: options.AsJson = False,
) -> None:
    """Time training steps: shares of message passing, loading and idle, a Chrome trace, and the gate for cuGraph."""
    from candor.ids.config import ExperimentConfig

    where = budget.resolve_device(device)
    state = session(ctx)
    target = budget.find_target(state, experiment, dataset, sets, model)
    request = options.request(experiment, dataset, sets, "", [])
    done = single.up_to(state, request, "build_train")
    single.leave(done)
    config, _ = state.workload.resolve(request, state.settings)
    assert isinstance(config, ExperimentConfig)  # As find_target saw.

    from candor.ids.profiling import profile_model

    folder = done.run.path / "profiles" / f"{target.name}-{where}"
    profile_model(config, target, done.folder, device=where, steps=steps, folder=folder)
    content = json.loads((folder / "steps.json").read_text())
    if as_json:
        output.as_json({"dataset": dataset, "model": target.name, "folder": str(folder), **content})
        return
    show(f"{target.name} on {dataset}", content, folder)


def show_profiles(plan: Plan, store: ArtifactStore, tasks: Iterable[str]) -> None:
    """Print the profiles that these tasks of a run left."""
    for task in (plan.task(name) for name in tasks):
        folder = store.path(task.stage, task.key) / "profile"
        if (folder / "steps.json").is_file():
            show(task.id, json.loads((folder / "steps.json").read_text()), folder)


def show(name: str, content: Mapping[str, Any], folder: Path) -> None:
    """Print one profile."""
    steps, seconds = content["steps"], content["seconds"]
    heads = [
        output.Column("part"),
        output.Column("ms/step", "", "right"),
        output.Column("share", "", "right"),
    ]
    rows = [
        (part, f"{1e3 * seconds[part] / steps:.2f}", f"{content['shares'][part]:.1%}", words)
        for part, words in _EXPLAINED.items()
    ]
    sizes = f"{content['nodes'] // steps} nodes, {content['edges'] // steps} edges a step"
    title = f"A training step of {name} ({content['device']}, {output.count(steps, 'step')}, {sizes})"
    output.table([*heads, output.Column("what it is")], rows, title=title)
    if content["device_idle"] is not None:
        output.say(f"The device was idle for {content['device_idle']:.1%} of the traced steps.")
    share, gate = content["shares"]["message passing"], content["gate"]
    verdict = "met" if content["meets_gate"] else "not met"
    output.say(
        f"Message passing takes {share:.1%} of a step; the gate for cuGraph (more than {gate:.0%}) is {verdict}."
    )
    if content["device"] != "cuda":
        output.say(
            "Its kernels run on CUDA, and this was measured on the CPU: measure there before you decide."
        )
    if (folder / "trace.json.gz").is_file():
        output.say(f"Trace, for chrome://tracing or ui.perfetto.dev: {folder / 'trace.json.gz'}")
