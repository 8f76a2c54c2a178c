"""``candor explain``: which IDs, transitions and features made a detector decide as it did."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candor.cli import options, output, run
from candor.cli.session import Planned, Session, session

if TYPE_CHECKING:
    from candor.ids.config import ExperimentConfig, ExplainTask


def explain(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="[RUN]", help="Run, or an end of its name; default: the latest.")
    ] = "",
    window: Annotated[
        list[str],
        typer.Option("--window", metavar="CAPTURE:INDEX", help="Test window to explain; repeatable."),
    ] = [],  # noqa: B006 - typer copies it.
    top: Annotated[
        int,
        typer.Option("--top", help="Without --window: so many, of alarms, false alarms and misses.", min=1),
    ] = 20,
    variant: Annotated[str, typer.Option("--variant", help="Variant; default: the last distilled one.")] = "",
    seed: Annotated[int, typer.Option("--seed", help="Seed; default: the run's first.")] = -1,
    detector: Annotated[
        str, typer.Option("--detector", help="Whose: fusion, gat, vgae, temporal, payload or frame_dynamics.")
    ] = "fusion",
    dbc: Annotated[Path | None, typer.Option("--dbc", help="DBC file of the bus, for names.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Explain windows of a run: tables of nodes, edges and features, a picture of every graph, and a page."""
    from candor.flow.run import find_run
    from candor.ids.config import ExplainTask

    state = session(ctx)
    info = find_run(state.settings.run_root, name or None).info()
    config = _config(info.config, info.run)
    task = ExplainTask(
        variant=variant or _last_distilled(config),
        seed=config.seeds[0] if seed < 0 else seed,
        detector=detector,
        windows=tuple(_window(w) for w in window),
        top=top,
        dbc=str(dbc.absolute()) if dbc else "",
        dbc_sha256=_digest(dbc) if dbc else "",
    )
    folder = _run(state, info.pipeline, config, info.origins, task)
    _show(folder, as_json=as_json)


def _config(stored: dict[str, Any], run_id: str) -> ExperimentConfig:
    """The run's own config. Raises ConfigError for a run of another workload or an older version."""
    from pydantic import ValidationError

    from candor.errors import ConfigError
    from candor.ids.config import ExperimentConfig

    try:
        return ExperimentConfig.model_validate(stored)
    except ValidationError as e:
        raise ConfigError(
            f"the config of run '{run_id}' is not one of this version", hint="Run it again with this version."
        ) from e


def _last_distilled(config: ExperimentConfig) -> str:
    names = list(config.variants)
    return next((n for n in reversed(names) if config.variants[n].teacher), names[-1])


def _window(text: str) -> tuple[str, int]:
    from candor.errors import ConfigError

    capture, colon, index = text.rpartition(":")
    if not colon or not capture or not index.isdigit():
        raise ConfigError(f"'{text}' is no window", place="--window", hint="Write --window DoS-kia:120.")
    return capture, int(index)


def _digest(dbc: Path) -> str:
    from candor.errors import SourceMissing
    from candor.ids.captures.files import sha256_of

    if not dbc.is_file():
        raise SourceMissing("no DBC file", place=str(dbc), hint="Check the path given to --dbc.")
    return sha256_of(dbc)


def _run(
    state: Session, pipeline: str, config: ExperimentConfig, origins: dict[str, str], task: ExplainTask
) -> Path:
    """Folder of the explanation, after running what of it, and of what it needs, is not published."""
    from candor.flow.plan import render
    from candor.ids.pipeline import with_explanation

    plan = render(pipeline, with_explanation(config, task)).until("explain")
    run.complete(state, Planned(config, origins, plan))
    last = plan.task("explain")
    return state.store.open(last.stage, last.key).path


def _show(folder: Path, *, as_json: bool) -> None:
    import json

    import polars as pl

    from candor.report.explained import fidelity_lines
    from candor.report.numbers import threshold

    windows = pl.read_parquet(folder / "windows.parquet")
    fidelity = json.loads((folder / "record.json").read_text())["summary"]["fidelity"]
    if as_json:
        output.as_json({"folder": str(folder), "windows": windows.to_dicts(), "fidelity": fidelity})
        return
    heads: list[output.Column | str] = ["window", "kind", "attack"]
    heads += [output.Column("score", "", "right"), "by", "driven by"]
    rows = [
        [
            f"{w['capture']}:{w['window']}",
            w["kind"],
            w["attack"],
            threshold(w["score"]),
            w["answers"],
            w["driven_by"],
        ]
        for w in windows.iter_rows(named=True)
    ]
    output.table(heads, rows)
    for answers, told in fidelity.items():
        for line in fidelity_lines(answers, told):
            output.say(line)
    output.say(f"Tables and pictures: {folder}")
    output.say(f"Page: {folder / 'index.html'}")
