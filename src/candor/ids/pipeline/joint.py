"""The plan of one classifier over several data sets, beside the same classifier for each of them alone. Imports nothing heavy.

    A.ingest ─ ... ─ A.build_train ─ A.audit (gate) ─┬─ joint ──── A.score.joint, B.score.joint ─┬─ A.evaluate ─ A.report
    B.ingest ─ ... ─ B.build_train ─ B.audit (gate) ─┴─ A.alone ── A.score.alone, ...            ┴─ B.evaluate ─ B.report

Each data set keeps its own windows, splits, thresholds and table. An epoch shows the joint classifier every window of every
data set once, so it takes as many steps on each as the one that has only that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from candor.errors import ConfigError
from candor.flow.plan import TaskSpec
from candor.ids.config import ExperimentConfig, JointScoreTask, JointTask, ReportConfig, VariantConfig
from candor.ids.pipeline import experiment
from candor.ids.pipeline.tasks import make_task

#: Tasks of a data set's own experiment that stay: from its captures to graphs, and the gate.
_KEPT = ("generate", "ingest", "calibrate", "build_train", "build_test", "audit")
JOINT, ALONE = "joint", "alone"


def plan(configs: Mapping[str, ExperimentConfig], variant: str) -> list[TaskSpec]:
    """Tasks for resolved experiments by data set, of which the classifier ``variant`` is taken.

    Raises:
        ConfigError: fewer than two data sets, no such variant, classifiers or trainings that differ, or a batch budget
            that would have to be found.
    """
    chosen = _one_variant(configs, variant)
    names = tuple(configs)
    tasks = [task for name, config in configs.items() for task in _data(name, config)]
    seeds = next(iter(configs.values())).seeds
    for seed in seeds:
        tasks.append(_training(f"{JOINT}.s{seed}", chosen, names, seed))
        tasks += [_training(f"{name}.{ALONE}.s{seed}", chosen, (name,), seed) for name in names]
    for name, config in configs.items():
        tasks += _judged(name, config, chosen, seeds)
    return tasks


def _one_variant(configs: Mapping[str, ExperimentConfig], variant: str) -> VariantConfig:
    if len(configs) < 2:
        raise ConfigError(
            "one data set is no two domains", place="joint", hint="Name two or more, each once."
        )
    for name, config in configs.items():
        if variant not in config.variants:
            hint = f"Variants: {', '.join(config.variants)}."
            raise ConfigError(f"no variant '{variant}' on {name}", place="--variant", hint=hint)
    first, *others = (config.variants[variant] for config in configs.values())
    if any((o.gat, o.training) != (first.gat, first.training) for o in others):
        raise ConfigError(
            f"the data sets ask for different classifiers or trainings of '{variant}'",
            place="gat, training",
            hint="Set what differs with --set, which holds for all of them.",
        )
    if first.training.devices > 1:
        raise ConfigError(
            "a classifier of several data sets is trained on one device",
            place="training.devices",
            hint="Use --set training.devices=1.",
        )
    if first.training.batch_budget == "auto":
        raise ConfigError(
            "a batch budget is found for one data set, and here are several",
            place="training.batch_budget",
            hint="Use --set training.batch_budget=fixed.",
        )
    return first


def _data(name: str, config: ExperimentConfig) -> list[TaskSpec]:
    """The data set's own tasks, with its name before theirs; their keys are those of its own runs."""
    kept = [t for t in experiment.plan(config) if t.id in _KEPT]
    return [
        replace(t, id=f"{name}.{t.id}", inputs={k: f"{name}.{v}" for k, v in t.inputs.items()}) for t in kept
    ]


def _training(task_id: str, variant: VariantConfig, names: tuple[str, ...], seed: int) -> TaskSpec:
    config = JointTask(model=variant.gat, training=variant.training, domains=names, seed=seed)
    inputs = {f"{kind}.{name}": f"{name}.{kind}" for name in names for kind in ("build_train", "audit")}
    return make_task(task_id, "joint", config, inputs, cpus=2)


def _judged(
    name: str, config: ExperimentConfig, variant: VariantConfig, seeds: tuple[int, ...]
) -> list[TaskSpec]:
    """Scores of both classifiers on one data set, its table and its page."""
    graphs = {kind: f"{name}.{kind}" for kind in ("build_train", "build_test")}
    tasks, scores, history = [], {}, {}
    for seed in seeds:
        for lane, model in ((JOINT, f"{JOINT}.s{seed}"), (ALONE, f"{name}.{ALONE}.s{seed}")):
            task_id, training = f"{name}.score.{lane}.s{seed}", variant.training
            task = JointScoreTask(
                variant=lane, domain=name, seed=seed, device=training.device, threads=training.threads
            )
            tasks.append(make_task(task_id, "score_joint", task, {"joint": model, **graphs}))
            scores[f"scores.{lane}.s{seed}"] = task_id
            history[f"history.{JOINT}.{lane}.s{seed}"] = model
    evaluation = config.evaluation.model_copy(update={"compare": ((JOINT, ALONE),), "unions": ()})
    judged = {kind: f"{name}.{kind}" for kind in ("ingest", "audit")}
    inputs = {**judged, "build_train": graphs["build_train"], **scores}
    tasks.append(make_task(f"{name}.evaluate", "evaluate", evaluation, inputs))
    report = ReportConfig(title=f"one classifier for several data sets, on {name}", headline=("gat",))
    tasks.append(
        make_task(f"{name}.report", "report", report, {"evaluate": f"{name}.evaluate", **judged, **history})
    )
    return tasks
