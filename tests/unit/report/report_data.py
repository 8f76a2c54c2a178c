"""Artifacts of a small run, as the report stage reads them; made from the lake's schemas, by no workload."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from candor.flow.stage import Inputs, Output
from candor.lake.schemas import CAPTURES, METRICS, PREDICTIONS

WINDOW = ("f1", "precision", "recall", "fpr", "mcc", "auroc", "auc_pr")
EVENT = ("event_recall", "false_alarms_per_hour", "time_to_alarm_s")


class Quiet:
    def log(self, step: int, metrics: object, *, kind: str = "epoch") -> None: ...

    def rewind(self, step: int, *, kind: str = "epoch") -> None: ...

    def __call__(self, done: float, total: float, note: str = "") -> None: ...


def output(folder: Path) -> Output:
    (folder / "out").mkdir(parents=True)
    return Output(folder / "out", folder, Quiet(), Quiet())


def row(metric: str, value: float | None, **other: Any) -> dict[str, Any]:
    """One results row; a share with an interval of ± 0.01 unless told otherwise."""
    level = "event" if metric.split("@")[0] in EVENT else "window"
    base = {
        "detector": "gat", "variant": "teacher", "seed": 1, "split": "test", "scenario": "s1", "capture": "",
        "attack": "", "level": level, "metric": metric, "value": value, "sd": None, "seeds": 1,
        "low": None if value is None else value - 0.01, "high": None if value is None else value + 0.01,
        "confidence": 0.95, "interval": None if value is None else "captures", "undefined_reason": None if value is not None else "no attack windows in this scenario",
        "threshold": 0.5, "windows": 100, "attack_windows": 20, "events": 3,
    }  # fmt: skip
    return base | other


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    schema = pl.DataFrame(METRICS.empty_table()).schema
    return pl.DataFrame(rows, schema=schema)


def results(seeds: tuple[int, ...] = (1,)) -> pl.DataFrame:
    """Two models' worth of variants and a control in two scenarios, the second without attacks; mean rows too."""
    rows = []
    detectors = [("gat", "teacher"), ("gat", "student_kd"), ("vgae", "teacher"), ("timing", "control")]
    names = [*WINDOW, *EVENT, *(f"{m}@{r}/h" for m in EVENT for r in (10, 1, 5))]
    for number, (detector, variant) in enumerate(detectors):
        for scenario in ("s1", "s2"):
            for metric in names:
                value = None if scenario == "s2" and metric != "fpr" else 0.9 - 0.1 * number
                who = {"detector": detector, "variant": variant, "scenario": scenario}
                own = (0,) if variant == "control" else seeds
                rows += [row(metric, value, **who, seed=s) for s in own]
                spread = {
                    "sd": 0.012 if len(own) > 1 and value is not None else None,
                    "low": None,
                    "high": None,
                    "interval": None,
                }
                rows.append(
                    row(metric, value, **who, **spread, seed=None, seeds=len(own) if value is not None else 0)
                )
    rows.append(row("f1", 0.5, capture="c1"))
    rows.append(row("f1", 0.6, attack="dos"))
    return frame(rows)


def predictions() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    parts = []
    for detector, variant in (("gat", "teacher"), ("vgae", "teacher"), ("timing", "control")):
        for scenario in ("s1", "s2"):
            y = (np.arange(60) % 3 == 0).astype(int) * (scenario == "s1")
            score = rng.random(60) + y
            who = {"detector": detector, "variant": variant, "seed": 1, "split": "test", "scenario": scenario}
            where = {
                "capture": "c1",
                "window": np.arange(60),
                "t0": np.arange(60.0),
                "t1": np.arange(60.0) + 1,
            }
            truth = {"y": y, "attack": "", "score": score, "calibration": False}
            parts.append(
                pl.DataFrame({**who, **where, **truth, "threshold": 0.9, "prediction": (score >= 0.9) * 1})
            )
    return pl.concat(parts)


def artifacts(folder: Path, seeds: tuple[int, ...] = (1,), *, title: str = "<b>bold</b> & co") -> Inputs:
    """All inputs of the report; texts hold characters that HTML must escape."""
    evaluate = folder / "evaluate"
    evaluate.mkdir(parents=True)
    pq.write_table(results(seeds).to_arrow().cast(METRICS), evaluate / "results.parquet")
    kept = predictions().select(PREDICTIONS.names).to_arrow().cast(PREDICTIONS)
    pq.write_table(kept, evaluate / "predictions.parquet")
    key = {"detector": "gat", "variant": "teacher", "seed": 1}
    points = {"threshold": [2.0, 1.0], "false_alarms_per_hour": [0.0, 20.0], "event_recall": [0.5, 1.0]}
    pl.DataFrame({**key, "scenario": "s1", **points}).write_parquet(evaluate / "operating.parquet")
    rates = [{"false_alarms_per_hour": 1.0, "threshold": 0.9, "reason": None}]
    chosen = {
        "value": 0.9,
        "rule": "max_fpr",
        "reason": "validation holds no attack windows",
        "f1": None,
        "fpr": 0.0,
    }
    more = {"windows": 9, "attack_windows": 0, "validation_benign_hours": 0.5, "at_rates": rates}
    (evaluate / "thresholds.json").write_text(json.dumps([{**key, **chosen, **more, "chosen_on": "val"}]))
    record = {
        "key": "k" * 64,
        "science": {"seed": 0},
        "code_version": "abc123",
        "created": "2026-11-22T06:00:00Z",
    }
    (evaluate / "record.json").write_text(json.dumps(record | {"inputs": {"ingest": "i" * 64}}))
    history, empty, audit, ingest = (folder / n for n in ("history", "empty", "audit", "ingest"))
    for path in (history, empty, audit, ingest):
        path.mkdir()
    losses = {"step": [0, 1, 2], "value": [3.0, float("nan"), 0.01]}
    pl.DataFrame({"task": "t", "kind": "epoch", "metric": "loss", **losses}).write_parquet(
        history / "metrics.parquet"
    )
    findings = [
        {
            "id": "twins",
            "severity": "error",
            "message": "41 test windows <equal> training windows.",
            "evidence": {},
        },
        {"id": "short", "severity": "warning", "message": "One capture is short.", "evidence": {}},
        {"id": "fine", "severity": "info", "message": "Nothing else.", "evidence": {}},
    ]
    (audit / "findings.json").write_text(json.dumps({"findings": findings, "allowed": ["twins"]}))
    capture = dict.fromkeys(CAPTURES.names, "x") | {
        "rows": 1000, "duration_s": 12.5, "ids": 9, "attack_frames": 0, "attack_share": None, "labelled": True,
        "quarantined": 3, "time_reversals": 0,
    }  # fmt: skip
    pl.DataFrame([capture]).write_parquet(ingest / "catalog.parquet")
    paths = {"evaluate": evaluate, "audit": audit, "ingest": ingest}
    return Inputs({**paths, "history.autoencoder.teacher.s1": history, "history.fusion.teacher.s1": empty})
