"""The plan of an experiment of which windows are explained."""

from __future__ import annotations

from candor.errors import ConfigError
from candor.flow.plan import TaskSpec
from candor.ids.config import ExperimentConfig, ExplainTask
from candor.ids.pipeline.data import FRAME_DETECTORS
from candor.ids.pipeline.experiment import plan
from candor.ids.pipeline.tasks import make_task

#: Detectors whose decisions ``explain`` can explain.
EXPLAINED = ("fusion", "gat", "vgae", "temporal", *FRAME_DETECTORS)
#: What stands for the variant of the detectors of frames, which are of none and have no seed (ids.payload.VARIANT).
LABEL_FREE = "label_free"


def with_explanation(config: ExperimentConfig, explain: ExplainTask) -> list[TaskSpec]:
    """The experiment's tasks, and one that explains windows of a variant and seed of it.

    Raises ConfigError if the experiment has no such variant or seed, or the detector cannot be explained.
    """
    _refuse_unexplained(config, explain)
    judged = {name: name for name in ("evaluate", "ingest", "build_test")}
    if explain.detector in FRAME_DETECTORS:
        scored = f"score_{explain.detector}"
        task = explain.model_copy(update={"variant": LABEL_FREE, "seed": 0})
        return [
            *plan(config),
            make_task("explain", "explain", task, {**judged, scored: scored}),
        ]
    if explain.variant not in config.variants or explain.seed not in config.seeds:
        raise ConfigError(
            f"no variant '{explain.variant}' with seed {explain.seed}",
            place=config.experiment,
            hint=f"Variants: {', '.join(config.variants)}; seeds: {', '.join(map(str, config.seeds))}.",
        )
    lane = f"{explain.variant}.s{explain.seed}"
    inputs = {
        **judged,
        "vgae": f"autoencoder.{lane}",
        "gat": f"curriculum.{lane}",
        "fusion": f"fusion.{lane}",
    }
    if explain.detector == "temporal":
        inputs["temporal"] = f"temporal.{lane}"
    return [*plan(config), make_task("explain", "explain", explain, inputs)]


def _refuse_unexplained(config: ExperimentConfig, explain: ExplainTask) -> None:
    if explain.detector not in EXPLAINED:
        hint = f"Explained: {', '.join(EXPLAINED)}."
        union = next((u for u in config.evaluation.unions if u.name == explain.detector), None)
        if union is not None:
            own = [m for m in union.members if m in EXPLAINED]
            told = f" Of its members explained: {', '.join(own)}." if own else ""
            hint = f"It is the OR of {', '.join(union.members)}.{told}"
        raise ConfigError(
            f"'{explain.detector}' is none of the detectors that can be explained",
            place="--detector",
            hint=hint,
        )
    if explain.detector in FRAME_DETECTORS and getattr(config, explain.detector) is None:
        raise ConfigError(
            f"the run has no {explain.detector} detector",
            place="--detector",
            hint=f"Run it with --set {explain.detector}.calibration_s=10.",
        )
    variant = config.variants.get(explain.variant)
    if explain.detector == "temporal" and variant is not None and variant.temporal is None:
        raise ConfigError(
            f"variant '{explain.variant}' has no temporal detector",
            place="--detector",
            hint=f"Run it with --set variants.{explain.variant}.temporal.windows=8.",
        )
