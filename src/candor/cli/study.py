"""``candor study``: what a search found, as tables and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candor.cli import options, output
from candor.cli.output import Column
from candor.cli.session import session

if TYPE_CHECKING:
    from candor.learn.tuning.study import Study, StudyInfo, TrialRecord


def study(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[STUDY]", help="A study; none lists all.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """List studies, or show the trials, the importances and the best values of one."""
    from candor.learn.tuning.study import find_study, list_studies

    state = session(ctx)
    root = state.settings.run_root
    if name is not None:
        show_study(find_study(root, name), as_json=as_json)
        return
    rows = [study_row(s) for s in list_studies(root)]
    if as_json:
        output.as_json(rows)
    elif not rows:
        output.say("No studies yet. Start one with `candor tune`.")
    else:
        columns: list[Column | str] = [
            "study",
            Column("trials", "", "right"),
            "metric",
            Column("best", "", "right"),
        ]
        best = [("-" if r["best"] is None else f"{r['best']:.6g}") for r in rows]
        output.table(
            columns, [(r["study"], r["trials"], r["metric"], b) for r, b in zip(rows, best, strict=True)]
        )


def study_row(study: Study) -> dict[str, Any]:
    """How far a study is, and the best value so far."""
    info, best = study.info(), study.best()
    done = sum(t.state != "running" for t in study.trials())
    return {
        "study": info.study,
        "trials": f"{done}/{info.trials}",
        "metric": f"{info.space.metric} ({info.space.mode})",
        "best": best.value if best else None,
    }


def show_study(study: Study, *, as_json: bool) -> None:
    """Print trials, best first, importances, and where the best values lie as a preset."""
    from candor.learn.tuning.importances import importances

    info, best, trials = study.info(), study.best(), study.trials()
    shares = importances(study)
    if as_json:
        told = {"importances": shares, "best": best.model_dump() if best else None}
        output.as_json({**study_row(study), **told, "all": [t.model_dump() for t in trials]})
        return
    columns: list[Column | str] = [
        Column("trial", "", "right"),
        "state",
        Column(info.space.metric, "", "right"),
        Column("duration", "s", "right"),
        "values",
        "reason",
    ]
    ranked = sorted(trials, key=lambda t: _rank(t, info))
    output.table(columns, [_trial_row(t) for t in ranked])
    if shares:
        output.say("Importance: " + ", ".join(f"{key} {share:.0%}" for key, share in shares.items()))
    if best is not None:
        output.say(f"Best: trial {best.number}. As a preset: {study.path / 'best.yaml'}")
    if (study.path / "index.html").is_file():
        output.say(f"Page: {study.path / 'index.html'}")


def _rank(trial: TrialRecord, info: StudyInfo) -> tuple[int, float]:
    sign = 1 if info.space.mode == "min" else -1
    order = ("complete", "pruned", "running", "failed").index(trial.state)
    return order, sign * trial.value if trial.value is not None else 0.0


def _trial_row(trial: TrialRecord) -> tuple[str, ...]:
    def short(value: object) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    values = ", ".join(
        f"{key.removeprefix('training.')}={short(value)}" for key, value in trial.values.items()
    )
    return (
        str(trial.number),
        trial.state,
        "-" if trial.value is None else f"{trial.value:.6g}",
        "-" if trial.duration_s is None else f"{trial.duration_s:.1f}",
        values,
        trial.reason or " ",
    )


def write_page(study: Study) -> Path:
    """Write the study's page beside its trials; its path."""
    from candor.flow.storage import write_atomic
    from candor.learn.tuning.importances import importances
    from candor.report.study import StudyTrial, study_page

    info, best = study.info(), study.best()
    trials = [
        StudyTrial(t.number, t.state, dict(t.values), t.value, t.reason, list(t.curve))
        for t in study.trials()
    ]
    page = study_page(
        info.study,
        f"{info.space.metric} ({info.space.mode})",
        trials,
        importances(study),
        best=best.number if best else None,
        lower_is_better=info.space.mode == "min",
    )
    path = study.path / "index.html"
    write_atomic(path, page)
    return path
