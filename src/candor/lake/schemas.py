"""Arrow schemas of the tables that the lake indexes. The files are written by stages and records; readers may rely on these columns.

Conventions: times of day are UTC; ``duration_s`` and ``t0``/``t1`` are seconds; an empty string means "all" or "none" (a family, a
scenario), null means "not known" or "undefined".
"""

from __future__ import annotations

import pyarrow as pa

_STRING, _I64, _F64, _U8, _BOOL = pa.string(), pa.int64(), pa.float64(), pa.uint8(), pa.bool_()
_UTC = pa.timestamp("us", tz="UTC")


def _schema(table: str, columns: dict[str, pa.DataType], *, nullable: tuple[str, ...] = ()) -> pa.Schema:
    fields = [pa.field(name, kind, nullable=name in nullable) for name, kind in columns.items()]
    return pa.schema(fields, metadata={"candor.table": table, "candor.schema_version": "1"})


#: One row per run. ``config`` and ``origins`` are JSON.
RUNS = _schema(
    "runs",
    {
        "run": _STRING,
        "pipeline": _STRING,
        "command": _STRING,
        "config": _STRING,
        "origins": _STRING,
        "plan_key": _STRING,
        "tasks": _I64,
        "created": _UTC,
        "last_started": _UTC,
        "candor_version": _STRING,
    },
)

#: One row per attempt at a task. ``config``, ``inputs`` and ``summary`` are JSON; ``outcome`` is one of flow.attempt.Outcome.
TASKS = _schema(
    "tasks",
    {
        "run": _STRING,
        "task": _STRING,
        "stage": _STRING,
        "version": _I64,
        "key": _STRING,
        "attempt": _I64,
        "outcome": _STRING,
        "config": _STRING,
        "inputs": _STRING,
        "code_version": _STRING,
        "host": _STRING,
        "pid": _I64,
        "job": _STRING,
        "started": _UTC,
        "duration_s": _F64,
        "peak_memory_bytes": _I64,
        "error": _STRING,
        "reason": _STRING,
        "traceback": _STRING,
        "summary": _STRING,
    },
    nullable=("job", "duration_s", "peak_memory_bytes", "error", "reason", "traceback", "summary"),
)

_STAGE_METRICS = {"task": _STRING, "kind": _STRING, "step": _I64, "metric": _STRING, "value": _F64}

#: ``metrics.parquet`` inside an artifact: what a stage logged while it ran. ``kind`` names the clock (epoch, step, episode).
STAGE_METRICS = _schema("stage_metrics", _STAGE_METRICS)

#: The same rows in the lake, where the artifact's key tells them apart.
EPOCH_METRICS = _schema("epoch_metrics", {"key": _STRING, **_STAGE_METRICS})

_UNDEFINED = (
    "seed",
    "value",
    "sd",
    "low",
    "high",
    "confidence",
    "interval",
    "undefined_reason",
    "threshold",
    "windows",
    "attack_windows",
    "events",
)
_DETECTOR = {"detector": _STRING, "variant": _STRING, "seed": _I64}

#: ``results.parquet`` of evaluate. ``level``: window | event. ``capture`` "" = the whole scenario, ``attack`` "" = all families.
#: ``value`` null = undefined, and ``undefined_reason`` says why; ``low``/``high`` bound its interval, and
#: ``interval`` says what that is from: "captures" (bootstrap of captures, then within them of blocks of windows, or of events for
#: recall and time to alarm; of event metrics, never narrower than the closed form), "blocks" (of blocks within the one capture
#: of a kind), or in closed form "binomial", "Wilson", "Poisson", "order statistics"; null: none.
#: ``seed`` null = the mean over ``seeds`` seeds, ``sd`` their standard deviation (null for one seed).
METRICS = _schema(
    "metrics",
    {
        **_DETECTOR,
        "split": _STRING,
        "scenario": _STRING,
        "capture": _STRING,
        "attack": _STRING,
        "level": _STRING,
        "metric": _STRING,
        "value": _F64,
        "sd": _F64,
        "seeds": _I64,
        "low": _F64,
        "high": _F64,
        "confidence": _F64,
        "interval": _STRING,
        "undefined_reason": _STRING,
        "threshold": _F64,
        "windows": _I64,
        "attack_windows": _I64,
        "events": _I64,
    },
    nullable=_UNDEFINED,
)

_SCORES = {
    **_DETECTOR,
    "split": _STRING,
    "scenario": _STRING,
    "capture": _STRING,
    "window": _I64,
    "t0": _F64,
    "t1": _F64,
    "y": _U8,
    "attack": _STRING,
    "score": _F64,
    "calibration": _BOOL,
}

#: ``scores.parquet`` of a detector. ``split``: val | test; ``window``: index inside the capture; ``t0``, ``t1``: s since the
#: capture's first frame; ``score``: higher is more attack-like; ``calibration``: the window lies in the seconds that the
#: profile was calibrated on.
SCORES = _schema("scores", _SCORES)

#: ``predictions.parquet`` of evaluate: score rows of the test split with the decision.
PREDICTIONS = _schema(
    "predictions", {**_SCORES, "threshold": _F64, "prediction": _U8}, nullable=("threshold", "prediction")
)

#: ``catalog.parquet`` of ingest, one row per capture. ``quarantine_reasons`` is JSON (reason → rows); ``attack_share`` is null
#: in an unlabelled capture.
CAPTURES = _schema(
    "captures",
    {
        "dataset": _STRING,
        "capture": _STRING,
        "split": _STRING,
        "scenario": _STRING,
        "vehicle": _STRING,
        "base_capture": _STRING,
        "attack": _STRING,
        "rows": _I64,
        "duration_s": _F64,
        "ids": _I64,
        "attack_frames": _I64,
        "attack_share": _F64,
        "labelled": _BOOL,
        "quarantined": _I64,
        "quarantine_reasons": _STRING,
        "time_reversals": _I64,
        "format": _STRING,
        "source": _STRING,
        "source_sha256": _STRING,
        "frames_sha256": _STRING,
    },
    nullable=("attack_share",),
)
