"""Tasks that make graphs of captures, gate them, and judge them without a model that is handed on."""

from __future__ import annotations

from candor.errors import ConfigError
from candor.flow.plan import TaskSpec
from candor.ids.captures.flows.config import FlowIngestConfig
from candor.ids.config import (
    AuditConfig,
    CalibrationTask,
    ExperimentConfig,
    FlowAuditConfig,
    GraphConfig,
    TabularConfig,
    WindowConfig,
)
from candor.ids.pipeline.tasks import make_task


def data_tasks(config: ExperimentConfig) -> list[TaskSpec]:
    """From captures to gated graphs, with all that is scored on them beside the models.

    Raises ConfigError for windows of seconds on a bus.
    """
    return _flow_tasks(config) if isinstance(config.ingest, FlowIngestConfig) else _bus_tasks(config)


def _bus_tasks(config: ExperimentConfig) -> list[TaskSpec]:
    if not isinstance(config.window, WindowConfig):
        raise ConfigError(
            "windows of seconds are for datasets of flows: audit and controls of a bus compare windows of equal length",
            place="window.window_s",
            hint="Use window.window_frames.",
        )
    tasks, raw = [], {}
    if config.synthetic is not None:
        tasks.append(make_task("generate", "generate", config.synthetic, {}))
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
        make_task("ingest", "ingest", config.ingest, raw),
        make_task("calibrate", "calibrate", calibration, {"ingest": "ingest"}),
        make_task("build_train", "build", train, frames),
        make_task("build_test", "build", test, frames),
        make_task("audit", "audit", audit, {**graphs, "calibrate": "calibrate"}),
        _profile_task(config),
        make_task("controls", "controls", config.controls, {**graphs, "audit": "audit"}),
        make_task(
            "specialists",
            "specialists",
            config.specialists,
            {**graphs, "calibrate": "calibrate", "audit": "audit"},
        ),
        *_baseline_tasks(config),
    ]


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
        make_task("ingest", "ingest_flows", config.ingest, {}),
        make_task("build_train", "build_flows", train, {"ingest": "ingest"}),
        make_task("build_test", "build_flows", test, {"ingest": "ingest"}),
        make_task("audit", "audit_flows", audit, graphs),
        _profile_task(config),
        make_task("controls", "controls_flows", config.controls, {**graphs, "audit": "audit"}),
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
        tasks.append(make_task("baselines", "baselines", settings, {**graphs, **frames}))
    if settings.pygod:
        tasks.append(make_task("baselines_pygod", "baselines_pygod", settings, graphs, cpus=2))
    return tasks


def _profile_task(config: ExperimentConfig) -> TaskSpec:
    inputs = {name: name for name in ("build_train", "build_test")}
    return make_task("profile", "profile", config.profile, inputs)


#: Detectors of frames that an experiment may state, and what they are called in full.
FRAME_DETECTORS = {"payload": "payload dynamics", "frame_dynamics": "frame dynamics"}


def frame_detector_tasks(config: ExperimentConfig, name: str) -> list[TaskSpec]:
    """One of FRAME_DETECTORS, which the experiment states: what it learns, and its scores.

    Raises ConfigError for a data set of flows.
    """
    if isinstance(config.ingest, FlowIngestConfig):
        raise ConfigError(
            f"{FRAME_DETECTORS[name]} are for captures of a bus: flows carry no payload",
            place=name,
            hint="Leave it out.",
        )
    settings = getattr(config, name)
    graphs = {"ingest": "ingest", "build_train": "build_train"}
    return [
        make_task(name, name, settings, {**graphs, "audit": "audit"}),
        make_task(
            f"score_{name}", f"score_{name}", settings, {**graphs, "build_test": "build_test", name: name}
        ),
    ]


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
        make_task("ingest", "ingest_flows", config.ingest, {}),
        make_task("audit", "audit_flows", audit, {"ingest": "ingest"}),
        make_task("tabular", "tabular_flows", task, {"ingest": "ingest", "audit": "audit"}),
    ]
