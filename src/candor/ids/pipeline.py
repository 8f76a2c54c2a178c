"""The pipeline of the intrusion-detection workload: which stage feeds which. Imports nothing heavy.

    generate* ─ ingest ─ calibrate ─┬─ build_train ─┬─ audit (gate) ─┬─ autoencoder ─ curriculum ─ fusion ─ score ─┐
                                    └─ build_test ──┴─ profile       ├─ controls ─────────────────────────────────┼─ evaluate ─ report
                                                                     ├─ payload† ── score_payload ─────────────────┤
                                                                     └─ temporal† ── score_temporal ───────────────┘

    † only where the experiment states it.
    * only where the dataset is synthetic. Models of every variant and seed form their own lane. Beside ``controls`` stand
    ``specialists`` (which read the profiles too), ``baselines`` and, where asked for, ``baselines_pygod``. With
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
    CurveTask,
    DistillationConfig,
    ExperimentConfig,
    ExplainTask,
    FlowAuditConfig,
    FusionTask,
    GraphConfig,
    ReportConfig,
    ScoreTask,
    TabularConfig,
    TemporalConfig,
    TemporalTask,
    VariantConfig,
    WindowConfig,
)
from candor.ids.experiment import resolve
from candor.ids.targets import KINDS, Target, budget_task

__all__ = ["VERSIONS", "plan", "resolve"]

#: Version of every stage: raise it when the same config and inputs give another artifact.
VERSIONS = {
    "generate": 1,
    "ingest": 2,
    "calibrate": 2,
    "build": 2,
    "audit": 3,
    "profile": 1,
    "controls": 1,
    "specialists": 1,
    "baselines": 1,
    "baselines_pygod": 1,
    "budget": 1,
    "autoencoder": 1,
    "curriculum": 1,
    "fusion": 2,
    "score": 2,
    "temporal": 1,
    "score_temporal": 1,
    "payload": 1,
    "score_payload": 1,
    "evaluate": 5,
    "calibration_curve": 1,
    "report": 3,
    "explain": 2,
    "ingest_flows": 2,
    "build_flows": 1,
    "audit_flows": 3,
    "controls_flows": 1,
    "tabular_flows": 2,
    "joint": 1,
    "score_joint": 1,
}

#: Detectors whose decisions ``explain`` can explain.
EXPLAINED = ("fusion", "gat", "vgae", "temporal", "payload")
#: What stands for the variant of the payload detector, which is of none and has no seed (ids.payload.VARIANT).
LABEL_FREE = "label_free"

#: Stages whose scores stand beside those of the models.
_BESIDE_MODELS = ("controls", "controls_flows", "specialists", "baselines", "baselines_pygod")


def plan(config: ExperimentConfig) -> list[TaskSpec]:
    """Every task of a resolved experiment. Raises ConfigError if the variants' teachers form no tree."""
    tasks = _data_tasks(config)
    judges = [t.id for t in tasks if t.stage in _BESIDE_MODELS]
    scores: dict[str, str] = {f"scores.{name}": name for name in judges}
    history: dict[str, str] = {}
    headline = ["fusion", *(u.name for u in config.evaluation.unions if "vgae" in u.members)]
    if config.payload is not None:
        tasks += _payload_tasks(config)
        scores["scores.payload"] = "score_payload"
        headline.append("payload")
    for name, variant in config.variants.items():
        if variant.training.batch_budget == "auto":
            tasks += _budget_tasks(name, config)
    for seed in config.seeds:
        for name in _teachers_first(config.variants):
            variant = config.variants[name]
            tasks += _model_tasks(name, variant, seed)
            lane = f"{name}.s{seed}"
            scores[f"scores.{lane}"] = f"score.{lane}"
            if variant.temporal is not None:
                tasks += _temporal_tasks(name, config.variants, variant.temporal, seed)
                scores[f"scores.temporal.{lane}"] = f"score_temporal.{lane}"
                history[f"history.temporal.{lane}"] = f"temporal.{lane}"
            history |= {f"history.{s}.{lane}": f"{s}.{lane}" for s in ("autoencoder", "curriculum", "fusion")}
    evaluation = config.evaluation.model_copy(
        update={"compare": tuple(dict.fromkeys([*config.evaluation.compare, *distilled(config.variants)]))}
    )
    judged = {name: name for name in ("ingest", "audit", "build_train")}
    tasks.append(_task("evaluate", "evaluate", evaluation, {**judged, **scores}))
    curve = _curve_tasks(config)
    tasks += curve
    report = ReportConfig(title=f"{config.experiment} on {config.dataset}", headline=tuple(headline))
    tasks.append(
        _task(
            "report",
            "report",
            report,
            {
                "evaluate": "evaluate",
                "ingest": "ingest",
                "audit": "audit",
                **({"curve": "calibration_curve"} if curve else {}),
                **history,
            },
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
        _profile_task(config),
        _task("controls", "controls_flows", config.controls, {**graphs, "audit": "audit"}),
        *_baseline_tasks(config),
    ]


def _baseline_tasks(config: ExperimentConfig) -> list[TaskSpec]:
    """Learned baselines; those of PyGOD only where they are asked for."""
    settings = config.baselines
    graphs = {"build_train": "build_train", "build_test": "build_test", "audit": "audit"}
    tasks = []
    if settings.learned:
        # Sequences of IDs longer than a pair stand in no graph.
        longer = settings.ngram_order > 2 and not isinstance(config.ingest, FlowIngestConfig)
        frames = {"ingest": "ingest"} if longer and "transitions" in settings.learned else {}
        tasks.append(_task("baselines", "baselines", settings, {**graphs, **frames}))
    if settings.pygod:
        tasks.append(_task("baselines_pygod", "baselines_pygod", settings, graphs, cpus=2))
    return tasks


def tabular(config: ExperimentConfig) -> list[TaskSpec]:
    """Baselines of single flows alone, behind the same gate; no graph is built. Raises ConfigError for a data set of a bus."""
    if not isinstance(config.ingest, FlowIngestConfig):
        raise ConfigError(
            f"'{config.dataset}' is a bus, and its frames have no measures of their own",
            place="tabular",
            hint="Use a data set of flows (`candor data list --domain network`); `candor run` has baselines of windows.",
        )
    learned = tuple(k for k in config.baselines.learned if k != "transitions")
    task = TabularConfig(learned=learned, baselines=config.baselines, evaluation=config.evaluation)
    audit = FlowAuditConfig(allow=config.audit_allow, window=config.window, split=config.split)
    return [
        _task("ingest", "ingest_flows", config.ingest, {}),
        _task("audit", "audit_flows", audit, {"ingest": "ingest"}),
        _task("tabular", "tabular_flows", task, {"ingest": "ingest", "audit": "audit"}),
    ]


def with_explanation(config: ExperimentConfig, explain: ExplainTask) -> list[TaskSpec]:
    """The experiment's tasks, and one that explains windows of a variant and seed of it.

    Raises ConfigError if the experiment has no such variant or seed, or the detector cannot be explained.
    """
    _refuse_unexplained(config, explain)
    judged = {name: name for name in ("evaluate", "ingest", "build_test")}
    if explain.detector == "payload":
        task = explain.model_copy(update={"variant": LABEL_FREE, "seed": 0})
        return [
            *plan(config),
            _task("explain", "explain", task, {**judged, "score_payload": "score_payload"}),
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
    return [*plan(config), _task("explain", "explain", explain, inputs)]


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
    if explain.detector == "payload" and config.payload is None:
        raise ConfigError(
            "the run has no payload detector",
            place="--detector",
            hint="Run it with --set payload.calibration_s=10.",
        )
    variant = config.variants.get(explain.variant)
    if explain.detector == "temporal" and variant is not None and variant.temporal is None:
        raise ConfigError(
            f"variant '{explain.variant}' has no temporal detector",
            place="--detector",
            hint=f"Run it with --set variants.{explain.variant}.temporal.windows=8.",
        )


def distilled(variants: dict[str, VariantConfig]) -> list[tuple[str, str]]:
    """(distilled variant, the same model without its teacher) for every variant that has such a twin."""

    def alone(variant: VariantConfig) -> VariantConfig:
        return variant.model_copy(update={"teacher": None, "distillation": DistillationConfig()})

    return [
        (name, twin)
        for name, variant in variants.items()
        if variant.teacher
        for twin, other in variants.items()
        if not other.teacher and alone(other) == alone(variant)
    ]


def _profile_task(config: ExperimentConfig) -> TaskSpec:
    inputs = {name: name for name in ("build_train", "build_test")}
    return _task("profile", "profile", config.profile, inputs)


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
        _profile_task(config),
        _task("controls", "controls", config.controls, {**graphs, "audit": "audit"}),
        _task(
            "specialists",
            "specialists",
            config.specialists,
            {**graphs, "calibrate": "calibrate", "audit": "audit"},
        ),
        *_baseline_tasks(config),
    ]


def _curve_tasks(config: ExperimentConfig) -> list[TaskSpec]:
    """Test graphs calibrated on so many seconds of their own stream, scored by the same models, for every point."""
    if config.calibration_curve is None:
        return []
    if isinstance(config.ingest, FlowIngestConfig):
        raise ConfigError("flows have no calibration", place="calibration_curve", hint="Leave it out.")
    tasks: list[TaskSpec] = []
    scores: dict[str, str] = {}
    for seconds in config.calibration_curve.calibration_s:
        point = f"c{seconds:g}"
        settings = config.calibration.model_copy(update={"source": "stream", "calibration_s": seconds})
        calibrate, build = f"calibrate.{point}", f"build_test.{point}"
        calibration = CalibrationTask(split=config.split, **settings.model_dump())
        graphs = GraphConfig(
            splits=("test",),
            window=config.window,
            split=config.split,
            min_attack_frames=config.min_attack_frames,
        )
        tasks.append(_task(calibrate, "calibrate", calibration, {"ingest": "ingest"}))
        tasks.append(_task(build, "build", graphs, {"ingest": "ingest", "calibrate": calibrate}))
        shared = {"build_train": "build_train", "build_test": build}
        inputs = {**shared, "ingest": "ingest", "calibrate": calibrate, "audit": "audit"}
        tasks.append(_task(f"specialists.{point}", "specialists", config.specialists, inputs))
        scores[f"{point}.specialists"] = f"specialists.{point}"
        for seed in config.seeds:
            for name in config.variants:
                task = _score_task(name, config.variants[name], seed, build, f".{point}")
                tasks.append(task)
                scores[f"{point}.{name}-s{seed}"] = task.id
    curve = CurveTask(**config.calibration_curve.model_dump(), evaluation=config.evaluation)
    tasks.append(
        _task(
            "calibration_curve",
            "calibration_curve",
            curve,
            {"ingest": "ingest", "evaluate": "evaluate", **scores},
        )
    )
    return tasks


def _score_task(name: str, variant: VariantConfig, seed: int, build_test: str, suffix: str = "") -> TaskSpec:
    lane, training = f"{name}.s{seed}", variant.training
    return _task(
        f"score.{lane}{suffix}",
        "score",
        ScoreTask(variant=name, seed=seed, device=training.device, threads=training.threads),
        {
            "build_train": "build_train",
            "build_test": build_test,
            "vgae": f"autoencoder.{lane}",
            "gat": f"curriculum.{lane}",
            "fusion": f"fusion.{lane}",
        },
        cpus=2,
    )


def _payload_tasks(config: ExperimentConfig) -> list[TaskSpec]:
    if isinstance(config.ingest, FlowIngestConfig):
        raise ConfigError(
            "payload dynamics are for captures of a bus: flows carry no payload",
            place="payload",
            hint="Leave it out.",
        )
    assert config.payload is not None
    graphs = {"ingest": "ingest", "build_train": "build_train"}
    return [
        _task("payload", "payload", config.payload, {**graphs, "audit": "audit"}),
        _task(
            "score_payload",
            "score_payload",
            config.payload,
            {**graphs, "build_test": "build_test", "payload": "payload"},
        ),
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
        _score_task(name, variant, seed, "build_test"),
    ]


def _temporal_tasks(
    name: str, variants: dict[str, VariantConfig], model: TemporalConfig, seed: int
) -> list[TaskSpec]:
    """It learns from its variant's teacher where that has a temporal detector too."""
    variant, lane = variants[name], f"{name}.s{seed}"
    training, learns, taught = variant.training, None, {}
    teacher = variants[variant.teacher].temporal if variant.teacher else None
    if teacher is not None:
        learns, taught = variant.distillation, {"teacher": f"temporal.{variant.teacher}.s{seed}"}
        if teacher.windows != model.windows and learns.teacher_logits == "live":
            raise ConfigError(
                f"the teacher's sequences are of {teacher.windows} windows and those of '{name}' of {model.windows}",
                place=f"variants.{name}.temporal.windows",
                hint="Make them equal, or set distillation.teacher_logits=cached.",
            )
    return [
        _task(
            f"temporal.{lane}",
            "temporal",
            TemporalTask(model=model, training=training, distillation=learns, seed=seed),
            {"build_train": "build_train", "audit": "audit", **taught},
            cpus=2,
        ),
        _task(
            f"score_temporal.{lane}",
            "score_temporal",
            ScoreTask(variant=name, seed=seed, device=training.device, threads=training.threads),
            {"build_train": "build_train", "build_test": "build_test", "temporal": f"temporal.{lane}"},
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
