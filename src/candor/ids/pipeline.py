"""The pipeline of the intrusion-detection workload: which stage feeds which. Imports nothing heavy.

    generate* ─ ingest ─ calibrate ─┬─ build_train ─┬─ audit (gate) ─┬─ autoencoder ─ curriculum ─ fusion ─ score ─┐
                                    └─ build_test ──┴─ profile       └─ controls ─────────────────────────────────┴─ evaluate ─ report

    * only where the dataset is synthetic. Models of every variant and seed form their own lane. With
    ``training.batch_budget=auto`` a budget task for each model of a variant lies between build_train and its training.

A dataset of network flows goes the same way with stages of its own up to the graphs (ingest_flows, build_flows,
audit_flows, controls_flows) and without calibration; the tasks keep their names, and models do not know the difference.

What trains a model reads ``build_train`` alone; test windows first appear in ``score``.
"""

from __future__ import annotations

from candor.errors import ConfigError
from candor.flow.plan import Resources, TaskSpec
from candor.ids.captures.flows.config import FlowIngestConfig
from candor.ids.config import (
    AuditConfig,
    AutoencoderTask,
    CalibrationTask,
    CurriculumTask,
    ExperimentConfig,
    FlowAuditConfig,
    FusionTask,
    GraphConfig,
    ReportConfig,
    ScoreTask,
    VariantConfig,
    WindowConfig,
)
from candor.ids.experiment import resolve
from candor.ids.targets import KINDS, Target, budget_task

__all__ = ["VERSIONS", "plan", "resolve"]

#: Version of every stage: raise it when the same config and inputs give another artifact.
VERSIONS = {
    "generate": 1,
    "ingest": 1,
    "calibrate": 1,
    "build": 2,
    "audit": 2,
    "profile": 1,
    "controls": 1,
    "budget": 1,
    "autoencoder": 1,
    "curriculum": 1,
    "fusion": 1,
    "score": 1,
    "evaluate": 1,
    "report": 1,
    "ingest_flows": 1,
    "build_flows": 1,
    "audit_flows": 1,
    "controls_flows": 1,
}


def plan(config: ExperimentConfig) -> list[TaskSpec]:
    """Every task of a resolved experiment. Raises ConfigError if the variants' teachers form no tree."""
    tasks = _data_tasks(config)
    scores: dict[str, str] = {"scores.controls": "controls"}
    history: dict[str, str] = {}
    for name, variant in config.variants.items():
        if variant.training.batch_budget == "auto":
            tasks += _budget_tasks(name, config)
    for seed in config.seeds:
        for name in _teachers_first(config.variants):
            variant = config.variants[name]
            tasks += _model_tasks(name, variant, seed)
            lane = f"{name}.s{seed}"
            scores[f"scores.{lane}"] = f"score.{lane}"
            history |= {f"history.{s}.{lane}": f"{s}.{lane}" for s in ("autoencoder", "curriculum", "fusion")}
    tasks.append(
        _task("evaluate", "evaluate", config.evaluation, {"ingest": "ingest", "audit": "audit", **scores})
    )
    report = ReportConfig(title=f"{config.experiment} on {config.dataset}", headline=("fusion",))
    tasks.append(
        _task(
            "report",
            "report",
            report,
            {"evaluate": "evaluate", "ingest": "ingest", "audit": "audit", **history},
        )
    )
    return tasks


def _flow_tasks(config: ExperimentConfig) -> list[TaskSpec]:
    """From flows to graphs; there is no calibration."""
    train = GraphConfig(
        splits=("train", "val"),
        window=config.window,
        split=config.split,
        min_attack_frames=config.min_attack_frames,
        workers=config.build_workers,
    )
    test = train.model_copy(update={"splits": ("test",)})
    graphs = {"ingest": "ingest", "build_train": "build_train", "build_test": "build_test"}
    audit = FlowAuditConfig(allow=config.audit_allow, window=config.window, split=config.split)
    return [
        _task("ingest", "ingest_flows", config.ingest, {}),
        _task("build_train", "build_flows", train, {"ingest": "ingest"}),
        _task("build_test", "build_flows", test, {"ingest": "ingest"}),
        _task("audit", "audit_flows", audit, graphs),
        _task("controls", "controls_flows", config.controls, {**graphs, "audit": "audit"}),
    ]


def _data_tasks(config: ExperimentConfig) -> list[TaskSpec]:
    if isinstance(config.ingest, FlowIngestConfig):
        return _flow_tasks(config)
    if not isinstance(config.window, WindowConfig):
        raise ConfigError(
            "windows of seconds are for datasets of flows: audit and controls of a bus compare windows of equal length",
            place="window.window_s",
            hint="Use window.window_frames.",
        )
    tasks, raw = [], {}
    if config.synthetic is not None:
        tasks.append(_task("generate", "generate", config.synthetic, {}))
        raw = {"captures": "generate"}
    train = GraphConfig(
        splits=("train", "val"),
        window=config.window,
        split=config.split,
        min_attack_frames=config.min_attack_frames,
        profiles=config.profiles,
        workers=config.build_workers,
    )
    test = train.model_copy(update={"splits": ("test",), "profiles": config.profiles[:1]})
    frames = {"ingest": "ingest", "calibrate": "calibrate"}
    graphs = {"ingest": "ingest", "build_train": "build_train", "build_test": "build_test"}
    calibration = CalibrationTask(split=config.split, **config.calibration.model_dump())
    audit = AuditConfig(
        allow=config.audit_allow,
        window=config.window,
        split=config.split,
        elsewhere=config.elsewhere,
        **config.audit.model_dump(),
    )
    return [
        *tasks,
        _task("ingest", "ingest", config.ingest, raw),
        _task("calibrate", "calibrate", calibration, {"ingest": "ingest"}),
        _task("build_train", "build", train, frames),
        _task("build_test", "build", test, frames),
        _task("audit", "audit", audit, {**graphs, "calibrate": "calibrate"}),
        _task(
            "profile", "profile", config.profile, {"build_train": "build_train", "build_test": "build_test"}
        ),
        _task("controls", "controls", config.controls, {**graphs, "audit": "audit"}),
    ]


def _model_tasks(name: str, variant: VariantConfig, seed: int) -> list[TaskSpec]:
    lane = f"{name}.s{seed}"
    vgae, gat, fusion = f"autoencoder.{lane}", f"curriculum.{lane}", f"fusion.{lane}"
    graphs = {"build_train": "build_train", "audit": "audit"}
    learns = variant.distillation if variant.teacher else None

    def taught_by(stage: str) -> dict[str, str]:
        return {"teacher": f"{stage}.{variant.teacher}.s{seed}"} if variant.teacher else {}

    def sized_by(model: str) -> dict[str, str]:
        return {"budget": f"budget.{name}.{model}"} if variant.training.batch_budget == "auto" else {}

    training = variant.training
    return [
        _task(
            vgae,
            "autoencoder",
            AutoencoderTask(model=variant.vgae, training=training, distillation=learns, seed=seed),
            {**graphs, **taught_by("autoencoder"), **sized_by("vgae")},
            cpus=2,
        ),
        _task(
            gat,
            "curriculum",
            CurriculumTask(
                model=variant.gat,
                training=training,
                curriculum=variant.curriculum,
                distillation=learns,
                seed=seed,
            ),
            {**graphs, "vgae": vgae, **taught_by("curriculum"), **sized_by("gat")},
            cpus=2,
        ),
        _task(
            fusion,
            "fusion",
            FusionTask(model=variant.fusion, training=training, seed=seed),
            {**graphs, "vgae": vgae, "gat": gat},
        ),
        _task(
            f"score.{lane}",
            "score",
            ScoreTask(variant=name, seed=seed, device=training.device, threads=training.threads),
            {
                "build_train": "build_train",
                "build_test": "build_test",
                "vgae": vgae,
                "gat": gat,
                "fusion": fusion,
            },
            cpus=2,
        ),
    ]


def _budget_tasks(name: str, config: ExperimentConfig) -> list[TaskSpec]:
    """One for each model of a variant. Seeds share them, and so do variants of the same models."""
    device = config.variants[name].training.device
    if device == "auto":
        raise ConfigError(
            "a batch budget is found for one type of device, and none is named",
            place=f"variants.{name}.training.device",
            hint="Set training.device=cpu or training.device=cuda.",
        )
    graphs = {"build_train": "build_train"}
    targets = [Target(name, kind) for kind in KINDS]
    return [
        _task(f"budget.{t.name}", "budget", budget_task(config, t, device), graphs, cpus=2) for t in targets
    ]


def _teachers_first(variants: dict[str, VariantConfig]) -> list[str]:
    """Names in declared order, every teacher before its students. Raises ConfigError for an unknown or circular one."""
    order: list[str] = []
    waiting = list(variants)
    while waiting:
        ready = [n for n in waiting if variants[n].teacher is None or variants[n].teacher in order]
        if not ready:
            stuck = waiting[0]
            raise ConfigError(
                f"variant '{stuck}' has the teacher '{variants[stuck].teacher}', which is no variant that is trained before it",
                place=f"variants.{stuck}.teacher",
                hint=f"Variants: {', '.join(variants)}.",
            )
        order += ready
        waiting = [n for n in waiting if n not in ready]
    return order


def _task(task_id: str, stage: str, config: object, inputs: dict[str, str], *, cpus: int = 1) -> TaskSpec:
    return TaskSpec(task_id, stage, VERSIONS[stage], config, inputs, Resources(cpus=cpus))  # type: ignore[arg-type]
