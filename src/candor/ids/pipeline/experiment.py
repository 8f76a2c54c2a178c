"""The plan of a whole experiment: its data, the lanes of its models, and what is said of them."""

from __future__ import annotations

from candor.flow.plan import TaskSpec
from candor.ids.config import ExperimentConfig, ReportConfig
from candor.ids.pipeline.curve import curve_tasks
from candor.ids.pipeline.data import FRAME_DETECTORS, data_tasks, frame_detector_tasks
from candor.ids.pipeline.models import budget_tasks, distilled, model_tasks, teachers_first, temporal_tasks
from candor.ids.pipeline.tasks import make_task

#: Stages whose scores stand beside those of the models.
_BESIDE_MODELS = ("controls", "controls_flows", "specialists", "baselines", "baselines_pygod")


def plan(config: ExperimentConfig) -> list[TaskSpec]:
    """Every task of a resolved experiment. Raises ConfigError if the variants' teachers form no tree."""
    tasks = data_tasks(config)
    judges = [t.id for t in tasks if t.stage in _BESIDE_MODELS]
    scores: dict[str, str] = {f"scores.{name}": name for name in judges}
    history: dict[str, str] = {}
    headline = ["fusion", *(u.name for u in config.evaluation.unions if "vgae" in u.members)]
    for detector in FRAME_DETECTORS:
        if getattr(config, detector) is not None:
            tasks += frame_detector_tasks(config, detector)
            scores[f"scores.{detector}"] = f"score_{detector}"
            headline.append(detector)
    for name, variant in config.variants.items():
        if variant.training.batch_budget == "auto":
            tasks += budget_tasks(name, config)
    for seed in config.seeds:
        for name in teachers_first(config.variants):
            variant = config.variants[name]
            tasks += model_tasks(name, variant, seed)
            lane = f"{name}.s{seed}"
            scores[f"scores.{lane}"] = f"score.{lane}"
            if variant.temporal is not None:
                tasks += temporal_tasks(name, config.variants, variant.temporal, seed)
                scores[f"scores.temporal.{lane}"] = f"score_temporal.{lane}"
                history[f"history.temporal.{lane}"] = f"temporal.{lane}"
            history |= {f"history.{s}.{lane}": f"{s}.{lane}" for s in ("autoencoder", "curriculum", "fusion")}
    return [*tasks, *_verdict(config, scores, history, tuple(headline))]


def _verdict(
    config: ExperimentConfig, scores: dict[str, str], history: dict[str, str], headline: tuple[str, ...]
) -> list[TaskSpec]:
    """The figures of all that was scored, the calibration curve where one is stated, and the page."""
    evaluation = config.evaluation.model_copy(
        update={"compare": tuple(dict.fromkeys([*config.evaluation.compare, *distilled(config.variants)]))}
    )
    judged = {name: name for name in ("ingest", "audit", "build_train")}
    curve = curve_tasks(config)
    shown = {"evaluate": "evaluate", "ingest": "ingest", "audit": "audit"}
    if curve:
        shown["curve"] = "calibration_curve"
    title = f"{config.experiment} on {config.dataset}"
    report = ReportConfig(title=title, headline=headline, metrics=config.table)
    return [
        make_task("evaluate", "evaluate", evaluation, {**judged, **scores}),
        *curve,
        make_task("report", "report", report, {**shown, **history}),
    ]
