"""``candor budget``: the largest batch of a model that fits in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candor.cli import options, output, single
from candor.cli.session import Session, session

if TYPE_CHECKING:
    from candor.ids.targets import Target

Model = Annotated[
    str,
    typer.Argument(
        help="teacher.vgae (variant and model), large.gat (scale and model), teacher (the largest of its models), "
        "temporal (the largest of a kind: vgae, gat, or temporal where the experiment has one); "
        "by default the experiment's largest.",
        show_default=False,
    ),
]
#: An epoch of fewer steps is worth a word.
FEW_STEPS = 20
Device = Annotated[str, typer.Option("--device", help="cpu or cuda; auto: CUDA where there is one.")]


def budget(
    ctx: typer.Context,
    dataset: options.Dataset,
    model: Model = "",
    experiment: options.Via = "kd",
    memory_gb: Annotated[
        float | None,
        typer.Option(
            "--memory-gb",
            min=0.001,
            help="Memory a step may take; by default what is free (CPU), the device's (CUDA).",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    sets: options.Sets = [],  # noqa: B006 - typer copies it.
    as_json: options.AsJson = False,
) -> None:
    """Find the largest node and edge budget whose training steps fit in memory, by taking such steps."""
    state = session(ctx)
    more = ["training.batch_budget=auto", f"training.device={resolve_device(device)}"]
    if memory_gb is not None:
        more.append(f"training.budget.memory_gb={memory_gb}")
    target = find_target(state, experiment, dataset, [*sets, *more], model)
    request = options.request(experiment, dataset, [*sets, *more], "", [])
    done = single.up_to(state, request, f"budget.{target.name}")
    single.leave(done)
    content = done.read("budget.json")
    if as_json:
        output.as_json({"dataset": dataset, "variant": target.variant, "folder": str(done.folder), **content})
        return
    _print(target.name, dataset, content, fresh=done.report is not None)


def find_target(state: Session, experiment: str, dataset: str, sets: list[str], model: str) -> Target:
    """The model a person named, of the resolved experiment."""
    from candor.ids.config import ExperimentConfig
    from candor.ids.targets import choose

    config, _ = state.workload.resolve(options.request(experiment, dataset, sets, "", []), state.settings)
    assert isinstance(config, ExperimentConfig)  # This verb is of one workload.
    return choose(config, model)


def resolve_device(device: str) -> str:
    """``auto`` as this machine would run it. Raises ConfigError for another name, or CUDA where there is none."""
    from candor.errors import ConfigError, ExtraMissing

    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"no device '{device}'", place="--device", hint="Use auto, cpu or cuda.")
    try:
        import torch
    except ImportError as e:
        raise ExtraMissing("torch is not installed", hint="Install candor[train].") from e
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise ConfigError("there is no CUDA device here", place="--device", hint="Use --device cpu.")
    return ("cuda" if found else "cpu") if device == "auto" else device


def _print(name: str, dataset: str, content: Mapping[str, Any], *, fresh: bool) -> None:
    heads = [output.Column("nodes", "", "right"), output.Column("edges", "", "right")]
    heads += [output.Column("peak GB", "", "right"), output.Column("outcome")]
    rows = [
        (
            p["max_nodes"],
            p["max_edges"],
            f"{p['peak_bytes'] / 1e9:.2f}" if p["peak_bytes"] else " ",
            "fits" if p["fits"] else f"does not fit: {p['why']}",
        )
        for p in content["probes"]
    ]
    output.table(heads, rows, title=f"Batches of {dataset} tried with {name}")
    limit = f"{content['limit_bytes'] / 1e9:.2f} GB" if content["limit_bytes"] else "the device's memory"
    known = "" if fresh else " (found before)"
    output.say(
        f"Budget of {name} at {content['precision']} on {content['device_name']}, limit {limit}{known}: "
        f"{content['max_nodes']} nodes, {content['max_edges']} edges, "
        f"{content['safety']:.0%} of the largest that fitted; {output.count(content['steps_per_epoch'], 'step')} per epoch."
    )
    if content["whole_set_fits"]:
        output.say("All training windows fit in one batch, so memory is not what limits it.")
    if content["steps_per_epoch"] < FEW_STEPS:
        output.say("So few steps per epoch train badly: set training.min_steps_per_epoch too.")
    output.say(
        f"Use it: --set training.max_nodes={content['max_nodes']} --set training.max_edges={content['max_edges']}; "
        f"or let every model find its own: --set training.batch_budget=auto --set training.device={content['device']}."
    )
