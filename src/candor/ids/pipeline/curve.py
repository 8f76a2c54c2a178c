"""Tasks of the calibration curve."""

from __future__ import annotations

from candor.errors import ConfigError
from candor.flow.plan import TaskSpec
from candor.ids.captures.flows.config import FlowIngestConfig
from candor.ids.config import CalibrationTask, CurveTask, ExperimentConfig, GraphConfig
from candor.ids.pipeline.models import score_task
from candor.ids.pipeline.tasks import make_task


def curve_tasks(config: ExperimentConfig) -> list[TaskSpec]:
    """Test graphs calibrated on so many seconds of their own stream, scored by the same models, for every point.

    Raises ConfigError for a data set of flows.
    """
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
        tasks.append(make_task(calibrate, "calibrate", calibration, {"ingest": "ingest"}))
        tasks.append(make_task(build, "build", graphs, {"ingest": "ingest", "calibrate": calibrate}))
        shared = {"build_train": "build_train", "build_test": build}
        inputs = {**shared, "ingest": "ingest", "calibrate": calibrate, "audit": "audit"}
        tasks.append(make_task(f"specialists.{point}", "specialists", config.specialists, inputs))
        scores[f"{point}.specialists"] = f"specialists.{point}"
        for seed in config.seeds:
            for name in config.variants:
                task = score_task(name, config.variants[name], seed, build, f".{point}")
                tasks.append(task)
                scores[f"{point}.{name}-s{seed}"] = task.id
    curve = CurveTask(**config.calibration_curve.model_dump(), evaluation=config.evaluation)
    tasks.append(
        make_task(
            "calibration_curve",
            "calibration_curve",
            curve,
            {"ingest": "ingest", "evaluate": "evaluate", **scores},
        )
    )
    return tasks
