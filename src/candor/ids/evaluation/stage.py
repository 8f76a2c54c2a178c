"""The evaluate stage: scores of every detector → one table, thresholds, predictions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from candor.errors import DataError, SourceMissing
from candor.flow.stage import Inputs, Output, Result
from candor.ids.captures import derived
from candor.ids.config import EvaluationConfig
from candor.ids.evaluation.adapted import ADAPTED, adapt
from candor.ids.evaluation.effects import Scored, effects
from candor.ids.evaluation.measure import Row, measure
from candor.ids.evaluation.scope import refuse_foreign, validation_windows
from candor.ids.evaluation.seeds import over_seeds
from candor.ids.evaluation.timeline import operating_curve, rate_threshold, timeline
from candor.ids.evaluation.truth import Slice, event_only, fingerprint, slices
from candor.ids.evaluation.union import Member, form, members
from candor.ids.scoring import DETECTOR_KEY, read_scores
from candor.ids.thresholds import Threshold, choose
from candor.lake.schemas import METRICS, PREDICTIONS
from candor.report.audited import allowed_notes, read_findings
from candor.report.tables import summary_table
from candor.report.verdicts import CHOSEN_ON

_EVENTS = {"capture": pl.String, "attack": pl.String, "t_start": pl.Float64, "t_end": pl.Float64}


@dataclass(frozen=True)
class Known:
    """What ingest says of the captures. ``by_absence``: notes on those whose events are derived from absence."""

    events: pl.DataFrame
    unlabelled: set[str]
    by_absence: dict[str, str]


@dataclass(frozen=True)
class _Judged:
    """One detector, judged."""

    rows: list[Row]
    predictions: pl.DataFrame
    curves: pl.DataFrame
    thresholds: dict[str, Any]
    adapted: list[dict[str, Any]]
    scored: Scored


def evaluate(config: EvaluationConfig, inputs: Inputs, out: Output) -> Result:
    """Judge every detector, variant and seed found in the inputs, and the configured unions of them.

    Inputs: ``scores.NAME`` (scores.parquet each), ``ingest`` (events.parquet, catalog.parquet), ``build_train`` (the
    validation graphs); optional ``audit`` (findings.json: errors that were allowed are printed below the table).

    Writes results.parquet (lake METRICS), predictions.parquet (lake PREDICTIONS), operating.parquet (event recall
    against false alarms per hour over test thresholds: to look at, not to choose from), thresholds.json (the choices,
    from validation alone, with their reasons), adapted.parquet (where calibration seconds of unknown vehicles raised them,
    see evaluation.adapted), table.json (the per-scenario table), effects.parquet (what the variants of
    ``config.compare`` gained against each other), unions.json (how validation split the budgets), remarks.json (what every
    table and page must say of the truth: events from absence).

    Raises:
        DataError: a detector has no validation or no test windows, or a score is not finite.
        AuditFailed: windows scored as validation are none of the validation graphs.
    """
    scores = read_scores(path / "scores.parquet" for path in inputs.group("scores").values())
    whole, unions = form(scores, config.unions)
    known = read_ingest(inputs.path("ingest"))
    validation = validation_windows(inputs.path("build_train"))
    truths: dict[str, list[Slice]] = {}
    judged: list[_Judged] = []
    groups = list(_detectors(whole))
    for name, rows in groups:
        refuse_foreign(rows.filter(pl.col("split") == "val"), validation, _place(name))
    for done, (name, rows) in enumerate(groups):
        out.progress(done, len(groups), " ".join(str(v) for v in name.values()))
        judged.append(_judge(name, rows, known, truths, config, _members(name, scores, unions, config)))
    out.progress(len(groups), len(groups), "")
    per_seed = pl.DataFrame([row for j in judged for row in j.rows], infer_schema_length=None)
    per_seed = per_seed.with_columns(pl.lit(None, pl.Float64).alias("sd"), pl.lit(1, pl.Int64).alias("seeds"))
    results = pl.concat([per_seed, over_seeds(per_seed).select(per_seed.columns)], how="vertical_relaxed")
    _write(results, METRICS, out.path / "results.parquet")
    _write(pl.concat([j.predictions for j in judged]), PREDICTIONS, out.path / "predictions.parquet")
    pl.concat([j.curves for j in judged]).write_parquet(out.path / "operating.parquet")
    _write_json([j.thresholds for j in judged], out.path / "thresholds.json")
    moved = [row for j in judged for row in j.adapted]
    pl.DataFrame(moved, schema=ADAPTED, orient="row").write_parquet(out.path / "adapted.parquet")
    _write_json(unions, out.path / "unions.json")
    scored = {
        (n["detector"], n["variant"], n["seed"]): j.scored for (n, _), j in zip(groups, judged, strict=True)
    }
    gains = effects(per_seed, scored, config.compare, config.confidence)
    gains.write_parquet(out.path / "effects.parquet")
    judged_captures = set(results["capture"].to_list())
    remarks = [note for capture, note in known.by_absence.items() if capture in judged_captures]
    _write_json(remarks, out.path / "remarks.json")
    table = summary_table(results)
    table["notes"] += remarks
    table["notes"] += allowed_notes(read_findings(inputs.paths.get("audit")))
    _write_json(table, out.path / "table.json")
    scenarios = sorted({row["scenario"] for j in judged for row in j.rows})
    return Result({"detectors": len(groups), "scenarios": list(scenarios), "rows": len(results)})


def read_ingest(folder: Path) -> Known:
    """Events and unlabelled captures. Raises SourceMissing where ingest left no events table."""
    if not (folder / "events.parquet").is_file():
        raise SourceMissing("the ingest artifact has no events.parquet", hint="Run the ingest stage again.")
    events = pl.read_parquet(folder / "events.parquet").select(*_EVENTS).cast(pl.Schema(_EVENTS))
    catalog = pl.read_parquet(folder / "catalog.parquet", columns=["capture", "labelled"])
    bare = set(catalog.filter(~pl.col("labelled"))["capture"].to_list())
    told = {str(t["capture"]): derived.note(t) for t in derived.read_told(folder)}
    return Known(events, bare, told)


def _detectors(scores: pl.DataFrame) -> Iterator[tuple[dict[str, Any], pl.DataFrame]]:
    for part in scores.partition_by(DETECTOR_KEY, maintain_order=True):
        yield part.select(DETECTOR_KEY).row(0, named=True), part


def _members(
    name: dict[str, Any], scores: pl.DataFrame, unions: list[dict[str, Any]], config: EvaluationConfig
) -> Sequence[Member]:
    """Members of a union that is adapted; none of any other detector."""
    how = next((u for u in unions if all(u[k] == v for k, v in name.items())), None)
    if how is None or config.adaptation.kind == "none":
        return ()
    return members(scores, next(u for u in config.unions if u.name == how["detector"]), how)


def _place(name: dict[str, Any]) -> str:
    return f"detector {name['detector']} {name['variant']}, seed {name['seed']}"


def _judge(
    name: dict[str, Any],
    rows: pl.DataFrame,
    known: Known,
    truths: dict[str, list[Slice]],
    config: EvaluationConfig,
    union: Sequence[Member],
) -> _Judged:
    """All slices of one detector. ``truths`` caches slices: detectors on the same windows share them.

    ``union``: its members, of one that is adapted."""
    place = _place(name)
    rows = rows.with_row_index("row")
    everything = rows.filter(split="test")
    if config.exclude_calibration:
        rows = rows.filter(~pl.col("calibration"))
    val, test = (rows.filter(pl.col("split") == split) for split in ("val", "test"))
    for split, part in (("validation", val), ("test", test)):
        if part.is_empty():
            raise DataError(f"no {split} windows were scored", place=place, hint="Score both splits.")
    usable = val.filter(~event_only(val, known.events, alarm_s=config.alarm_s))
    threshold, rates, hours = _thresholds(val, usable, known, config, place)
    key = fingerprint(test)
    if key not in truths:
        truths[key] = slices(test, known.events, known.unlabelled, config)
    moved = adapt(usable, everything, threshold.value, config.adaptation, union)
    told = moved.captures
    moved = moved.only(everything["row"].is_in(test["row"].implode()).to_numpy())
    measured = [row for s in truths[key] for row in measure(s, moved, threshold.value, rates, config)]
    least = moved.least(threshold.value)
    return _Judged(
        rows=[{**name, **row} for row in measured],
        predictions=test.with_columns(
            pl.Series("score", moved.score),
            pl.Series("threshold", least),
            pl.Series("prediction", moved.score >= least).cast(pl.UInt8),
        ),
        curves=_curves(name, truths[key], moved.score, config),
        adapted=[{**name, **row} for row in told],
        scored=Scored(moved.score, least, truths[key]),
        thresholds={
            **name,
            **asdict(threshold),
            "chosen_on": CHOSEN_ON,
            "validation_sha256": fingerprint(val),
            "validation_benign_hours": hours,
            "adaptation": moved.units,
            "at_rates": [
                {"false_alarms_per_hour": r, "threshold": t, "reason": _coarse(r, hours)}
                for r, t in rates.items()
            ],
        },
    )


def _thresholds(
    val: pl.DataFrame, usable: pl.DataFrame, known: Known, config: EvaluationConfig, place: str
) -> tuple[Threshold, dict[float, float | None], float]:
    """(threshold, thresholds by false-alarm rate, benign hours): validation is all this function sees.

    ``usable``: of it, windows that are either attack or benign."""
    threshold = choose(usable["y"].to_numpy(), usable["score"].to_numpy(), config, place=place)
    line = timeline(val, known.events, alarm_s=config.alarm_s)
    score = val["score"].to_numpy()
    rates = {r: rate_threshold(line, score, r, config.alarms) for r in config.false_alarms_per_hour}
    for per_hour, lowest in rates.items():
        # Where validation is too short to allow one false alarm, every threshold above its benign scores will do, and
        # the lowest leaves no room to traffic a little stranger: take the stricter of it and the main threshold.
        if lowest is not None and _coarse(per_hour, line.hours):
            rates[per_hour] = max(lowest, threshold.value)
    return threshold, rates, line.hours


def _coarse(per_hour: float, hours: float) -> str | None:
    """Say so where validation is too short to tell a rate from none."""
    if per_hour * hours >= 1:
        return None
    return f"validation holds {hours:.3g} h of benign traffic: no false alarm allowed, at least the main threshold taken"


def _curves(
    name: dict[str, Any],
    found: list[Slice],
    score: np.ndarray[Any, np.dtype[np.float64]],
    config: EvaluationConfig,
) -> pl.DataFrame:
    """Operating curves of the whole scenarios."""
    whole = [s for s in found if not s.capture and not s.attack]
    parts = [
        operating_curve(s.line, score[s.line_rows], alarms=config.alarms).select(
            *(pl.lit(v).alias(k) for k, v in name.items()), pl.lit(s.scenario).alias("scenario"), pl.all()
        )
        for s in whole
    ]
    empty = {"detector": pl.String, "variant": pl.String, "seed": pl.Int64, "scenario": pl.String}
    numbers = {"threshold": pl.Float64, "false_alarms_per_hour": pl.Float64, "event_recall": pl.Float64}
    return pl.concat([pl.DataFrame(schema={**empty, **numbers}), *parts], how="vertical_relaxed")


def _write(df: pl.DataFrame, schema: pa.Schema, path: Path) -> None:
    """Write in the lake's schema: its columns, order, types and nullability."""
    pq.write_table(df.select(schema.names).to_arrow().cast(schema), path, compression="zstd")


def _write_json(value: object, path: Path) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
