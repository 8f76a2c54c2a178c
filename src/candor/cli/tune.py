"""``candor tune``: search for better settings."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer
from pydantic import ValidationError

from candor.cli import executors, options, output, track
from candor.cli.session import Session, session
from candor.cli.study import show_study, study_row, write_page
from candor.errors import ConfigError, StageFailed

if TYPE_CHECKING:
    from candor.learn.tuning.study import Study, StudyInfo, TrialRecord

Model = Annotated[
    str,
    typer.Argument(
        help="Search space, presets/spaces/MODEL.yaml: gat, vgae, temporal, fusion, fusion_linucb, fusion_mlp.",
        show_default=False,
    ),
]
_PRUNERS = ("none", "median", "asha")


def tune(
    ctx: typer.Context,
    model: Model,
    dataset: options.Dataset,
    trials: Annotated[
        int, typer.Option("--trials", min=1, help="Trials in all, those of an earlier start included.")
    ] = 50,
    experiment: Annotated[
        str, typer.Option("--experiment", "-e", help="Experiment that trials are runs of.")
    ] = "kd",
    variant: Annotated[
        str, typer.Option("--variant", help="Variant whose settings are searched.")
    ] = "student",
    prune: Annotated[
        str,
        typer.Option(
            "--prune",
            metavar="none|median|asha",
            help="Stop poor trials early.",
            show_default="asha on Ray, else median",
        ),
    ] = "",
    at_most: Annotated[
        int | None,
        typer.Option(
            "--max-concurrent",
            min=1,
            help="Trials at a time.",
            show_default="as many as Ray has room for, else 1",
        ),
    ] = None,
    cpus: Annotated[
        float, typer.Option("--cpus", min=0.1, help="Processors for a trial (ray, slurm, pbs).")
    ] = 1,
    gpus: Annotated[
        float, typer.Option("--gpus", min=0, help="GPUs for a trial, 0.25 for a quarter (ray).")
    ] = 0,
    sets: options.Sets = [],  # noqa: B006 - typer copies it.
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of every trial's training.")] = 1,
    sampler_seed: Annotated[int, typer.Option("--sampler-seed", min=0, help="Seed of the search.")] = 0,
    allow: options.Allow = [],  # noqa: B006
    name: Annotated[
        str, typer.Option("--name", help="Name of the study; the same name goes on with it.")
    ] = "",
    on: options.On = "inline",
    address: options.Address = "",
    site: options.Site = "generic",
    site_sets: options.SiteSets = [],  # noqa: B006
    wait: options.Wait = True,
    tracking: track.Track = "offline",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --on slurm or pbs: print the script, and submit nothing.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Search for the settings with the best validation metric. Typing it again resumes; more --trials adds to it."""
    from candor.learn.tuning.study import Study, StudyInfo, check_searched_alike, open_study

    state = session(ctx)
    prune = prune or ("asha" if on == "ray" else "median")
    if prune not in _PRUNERS:
        raise ConfigError(
            f"no way of pruning called '{prune}'", place="--prune", hint=f"Choose {', '.join(_PRUNERS)}."
        )
    track.checked(tracking)
    where = executors.checked(executors.Where(on, address, site, tuple(site_sets), wait))
    info = StudyInfo(
        study=name or f"{model}-{experiment}-{dataset}",
        model=model,
        space=_space(model, state),
        experiment=experiment,
        dataset=dataset,
        sets=tuple(sets),
        allow=tuple(allow),
        variant=variant,
        seed=seed,
        sampler_seed=sampler_seed,
        pruner=cast(Literal["none", "median", "asha"], prune),
        trials=trials,
    )
    _refuse_what_no_plan_has(state, info)
    if dry_run:
        _print_script(state, info, where, at_most=at_most, cpus=cpus, gpus=gpus)
        return
    root = state.settings.run_root
    check_searched_alike(Study(root / "studies" / info.study), on_ray=where.on == "ray")
    study = open_study(root, info)
    track.begin(track.of_study(study), tracking)
    try:
        ended = _search(state, study, where, at_most=at_most, cpus=cpus, gpus=gpus)
    except KeyboardInterrupt:
        output.note("Stopped. The same command goes on, trials under way included.")
        raise typer.Exit(130) from None
    if ended:
        _finish(state, study, as_json=as_json)
    elif as_json:
        output.as_json({**study_row(study), "outcome": "queued"})


def _print_script(
    state: Session, info: StudyInfo, where: executors.Where, *, at_most: int | None, cpus: float, gpus: float
) -> None:
    from candor.cli import tune_queue

    if where.on not in executors.QUEUES:
        raise ConfigError(
            "there is no script to print", place="--dry-run", hint="Scripts are for --on slurm and --on pbs."
        )
    array = tune_queue.array_of(state, info, where, cpus=cpus, gpus=gpus)
    sys.stdout.write(array.text(min(at_most or 1, info.trials)))
    output.note("Nothing was submitted.")


def tune_worker(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="STUDY", help="An existing study.")],
    worker: Annotated[int, typer.Option("--worker", min=0, help="Number of this worker, 0 upwards.")] = 0,
) -> None:
    """Take trials of a study until it has enough: what each job of an array runs."""
    from candor.cli.trials import WorkerJob, work
    from candor.executors.signals import stop_on_sigterm
    from candor.learn.tuning.study import find_study

    state = session(ctx)
    found = find_study(state.settings.run_root, name)
    try:
        with stop_on_sigterm():
            work(WorkerJob(state.workload, found.path, worker))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _space(model: str, state: Session) -> Any:
    from candor.config.layers import build, merge
    from candor.config.presets import load_preset
    from candor.learn.tuning.spaces import Space

    return build(Space, merge([load_preset("spaces", model, data_root=state.settings.data_root)]))


def _refuse_what_no_plan_has(state: Session, info: StudyInfo) -> None:
    """Raises ConfigError if the first values of every parameter make no plan: a typing error costs no trial."""
    from candor.cli.workload import Request

    first = {
        key: parameter.of[0] if parameter.kind == "choice" else parameter.low
        for key, parameter in info.space.parameters.items()
    }
    try:
        request = Request(info.experiment, info.dataset, info.overrides(first), [info.seed], list(info.allow))
        state.planned(request, info.task)
    except ValidationError as e:
        raise ConfigError(str(e), place=f"presets/spaces/{info.model}.yaml") from e


def _search(
    state: Session, study: Study, where: executors.Where, *, at_most: int | None, cpus: float, gpus: float
) -> bool:
    """Whether the search came to its end; what was only queued has not."""
    from candor.cli.trials import TrialRuns, WorkerJob, work_in_parallel
    from candor.flow.workers import LocalWorkers
    from candor.learn.tuning.search import Searcher

    info, workers = study.info(), at_most or 1
    if where.on in executors.QUEUES:
        from candor.cli import tune_queue

        array = tune_queue.array_of(state, info, where, cpus=cpus, gpus=gpus)
        return tune_queue.search(array, study, where, at_most=workers, told=_tell(info))
    runs = TrialRuns(state.workload, info)
    if where.on == "ray":
        from candor.executors.ray_cluster import connected
        from candor.learn.tuning.on_ray import TrialResources, search_on_ray

        # Ray prints to stdout too, where a result, maybe JSON, is going to be.
        with redirect_stdout(sys.stderr), connected(where.address):
            search_on_ray(
                study, runs, at_most=at_most, resources=TrialResources(cpus, gpus), on_trial=_tell(info)
            )
    elif workers == 1:
        Searcher(study, runs, on_trial=_tell(info)).run()
    else:
        work_in_parallel([WorkerJob(state.workload, study.path, n) for n in range(workers)], LocalWorkers())
    return True


def _tell(info: StudyInfo) -> Callable[[TrialRecord], None]:
    """Says how a trial ended, as it ends."""

    def tell(trial: TrialRecord) -> None:
        value = "-" if trial.value is None else f"{trial.value:.6g}"
        told = f"trial {trial.number}: {trial.state}, {info.space.metric} {value}"
        output.note(told + (f" ({trial.reason})" if trial.reason else ""))

    return tell


def _finish(state: Session, study: Study, *, as_json: bool) -> None:
    from candor.config.presets import load_preset

    info = study.info()
    experiment = load_preset("experiments", info.experiment, data_root=state.settings.data_root)
    study.write_best(experiment.values)
    write_page(study)
    show_study(study, as_json=as_json)
    if study.best() is None:
        raise StageFailed(
            "no trial completed", place=info.study, hint=f"`candor study {info.study}` lists the reasons."
        )
