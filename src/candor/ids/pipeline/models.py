"""Tasks of models: every variant and seed forms a lane of its own."""

from __future__ import annotations

from candor.errors import ConfigError
from candor.flow.plan import TaskSpec
from candor.ids.config import (
    AutoencoderTask,
    CurriculumTask,
    DistillationConfig,
    ExperimentConfig,
    FusionTask,
    ScoreTask,
    TemporalConfig,
    TemporalTask,
    VariantConfig,
)
from candor.ids.pipeline.tasks import make_task
from candor.ids.targets import Target, budget_task, kinds_of


def model_tasks(name: str, variant: VariantConfig, seed: int) -> list[TaskSpec]:
    """One lane: the models of a variant under one seed, and their scores on test windows."""
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
        make_task(
            vgae,
            "autoencoder",
            AutoencoderTask(model=variant.vgae, training=training, distillation=learns, seed=seed),
            {**graphs, **taught_by("autoencoder"), **sized_by("vgae")},
            cpus=2 * training.devices,
        ),
        make_task(
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
            cpus=2 * training.devices,
        ),
        make_task(
            fusion,
            "fusion",
            FusionTask(model=variant.fusion, training=training, seed=seed),
            {**graphs, "vgae": vgae, "gat": gat},
        ),
        score_task(name, variant, seed, "build_test"),
    ]


def score_task(name: str, variant: VariantConfig, seed: int, build_test: str, suffix: str = "") -> TaskSpec:
    """A lane's models at the test graphs of the task ``build_test``; ``suffix`` tells it from scores of other graphs."""
    lane, training = f"{name}.s{seed}", variant.training
    return make_task(
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


def temporal_tasks(
    name: str, variants: dict[str, VariantConfig], model: TemporalConfig, seed: int
) -> list[TaskSpec]:
    """A variant's detector of sequences, which learns from the teacher's where that has one.

    Raises ConfigError if the two are of different lengths and the teacher would be asked while the student learns.
    """
    variant, lane = variants[name], f"{name}.s{seed}"
    training, learns, taught = variant.training, None, {}
    sized = {"budget": f"budget.{name}.temporal"} if training.batch_budget == "auto" else {}
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
        make_task(
            f"temporal.{lane}",
            "temporal",
            TemporalTask(
                model=model,
                training=training,
                curriculum=variant.curriculum,
                distillation=learns,
                seed=seed,
            ),
            {
                "build_train": "build_train",
                "audit": "audit",
                "vgae": f"autoencoder.{lane}",
                **taught,
                **sized,
            },
            cpus=2 * training.devices,
        ),
        make_task(
            f"score_temporal.{lane}",
            "score_temporal",
            ScoreTask(variant=name, seed=seed, device=training.device, threads=training.threads),
            {"build_train": "build_train", "build_test": "build_test", "temporal": f"temporal.{lane}"},
        ),
    ]


def budget_tasks(name: str, config: ExperimentConfig) -> list[TaskSpec]:
    """One for each model of a variant. Seeds share them, and so do variants of the same models.

    Raises ConfigError if the device of the variant's training is not named.
    """
    device = config.variants[name].training.device
    if device == "auto":
        raise ConfigError(
            "a batch budget is found for one type of device, and none is named",
            place=f"variants.{name}.training.device",
            hint="Set training.device=cpu or training.device=cuda.",
        )
    graphs = {"build_train": "build_train"}
    targets = [Target(name, kind) for kind in kinds_of(config.variants[name])]
    return [
        make_task(f"budget.{t.name}", "budget", budget_task(config, t, device), graphs, cpus=2)
        for t in targets
    ]


def teachers_first(variants: dict[str, VariantConfig]) -> list[str]:
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
