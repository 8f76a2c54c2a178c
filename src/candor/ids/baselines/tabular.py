"""Baselines of single flows: no windows, no hosts. What a data set without addresses can still be judged by.

    boosted_trees      histogram gradient boosting (as LightGBM, Ke et al. 2017) on the measures of a flow, with labels
    isolation_forest   Liu, Ting, Zhou 2008, on the benign flows of training

They see every measure, the protocol and the data set's own ``x_`` columns; never an address, a port or a withheld column,
which name the attacked service or the attacker. The last flows of each training capture choose the threshold.

Legend: n flows, C columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from candor.errors import DataError
from candor.flow.stage import Inputs, Json, Output, Result
from candor.ids import thresholds
from candor.ids.baselines.learned import sklearn_ensemble
from candor.ids.captures.flows import schema
from candor.ids.config import TabularConfig
from candor.learn.bootstrap import resample
from candor.learn.metrics import binary_metrics

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

RESULTS: Final = {
    "scenario": pl.String(),
    "detector": pl.String(),
    "metric": pl.String(),
    "value": pl.Float64(),
    "low": pl.Float64(),
    "high": pl.Float64(),
    "interval": pl.String(),
    "undefined_reason": pl.String(),
    "flows": pl.Int64(),
    "attack_flows": pl.Int64(),
}


@dataclass(frozen=True)
class _Part:
    """Some flows. ``capture_n``: which capture each is of."""

    x_nC: F32
    y_n: npt.NDArray[np.bool_]
    capture_n: npt.NDArray[np.int64]


def tabular_flows(config: TabularConfig, inputs: Inputs, out: Output) -> Result:
    """Stage: ``results.parquet`` (RESULTS), one row per scenario, detector and metric.

    Inputs: ``ingest`` of a data set of flows, with addresses or without; ``audit``, which let it pass.

    Raises:
        ExtraMissing: scikit-learn is not installed. DataError: no flow to train on, to choose a threshold by, or to test.
    """
    ingest = inputs.path("ingest")
    catalog = pl.read_parquet(ingest / "catalog.parquet")
    train, val = _training(ingest, catalog, config.val_share)
    tests = {
        str(scenario): _joined([_flows(ingest, c, k) for k, c in enumerate(rows["capture"])])
        for (scenario,), rows in catalog.filter(pl.col("split") == "test")
        .partition_by("scenario", as_dict=True, maintain_order=True)
        .items()
    }
    if not tests:
        raise DataError("no test capture", hint="Give the data set's preset a capture with split: test.")
    rows: list[dict[str, Any]] = []
    said: dict[str, Json] = {"train_flows": len(train.y_n), "val_flows": len(val.y_n)}
    for done, kind in enumerate(config.learned):
        out.progress(done, len(config.learned), kind)
        score = _fit(kind, config, train, val)
        threshold = thresholds.choose(val.y_n, score(val.x_nC), config.evaluation, place=kind)
        said[kind] = {"threshold": threshold.value, "rule": threshold.rule}
        for scenario, part in tests.items():
            rows += _measured(config, scenario, kind, part, score(part.x_nC), threshold.value)
    pl.DataFrame(rows, schema=RESULTS).write_parquet(out.path / "results.parquet")
    repeated = {name: _repeated(train.x_nC, part.x_nC) for name, part in tests.items()}
    return Result({**said, "repeated": dict(repeated), "columns": train.x_nC.shape[1]})


def _flows(ingest: Path, capture: str, number: int) -> _Part:
    """One capture, in its order."""
    table = schema.read(ingest / "flows" / f"{capture}.parquet")
    own = [name for name in table.columns if name.startswith(schema.FEATURE)]
    x = table.select(
        *(pl.col(name).fill_null(0.0).cast(pl.Float32) for name in (*schema.MEASURES, *own)),
        *((pl.col("proto") == code).cast(pl.Float32).alias(name) for name, code in _PROTOCOLS.items()),
    )
    y = table["label"].fill_null(0).cast(pl.Boolean).to_numpy()
    return _Part(x.to_numpy().astype(np.float32), y, np.full(len(y), number))


#: IANA numbers of the protocols that most flows have.
_PROTOCOLS: Final = {"icmp": 1, "tcp": 6, "udp": 17}


def _joined(parts: Sequence[_Part]) -> _Part:
    return _Part(
        np.concatenate([p.x_nC for p in parts]),
        np.concatenate([p.y_n for p in parts]),
        np.concatenate([p.capture_n for p in parts]),
    )


def _training(ingest: Path, catalog: pl.DataFrame, val_share: float) -> tuple[_Part, _Part]:
    """The first flows of each training capture, and its last ``val_share``."""
    first: list[_Part] = []
    last: list[_Part] = []
    for k, capture in enumerate(catalog.filter(pl.col("split") == "train")["capture"]):
        part = _flows(ingest, capture, k)
        cut = round(len(part.y_n) * (1 - val_share))
        first.append(_Part(part.x_nC[:cut], part.y_n[:cut], part.capture_n[:cut]))
        last.append(_Part(part.x_nC[cut:], part.y_n[cut:], part.capture_n[cut:]))
    if not first:
        raise DataError("no training capture", hint="Give the data set's preset a capture with split: train.")
    return _joined(first), _joined(last)


def _fit(kind: str, config: TabularConfig, train: _Part, val: _Part) -> Any:
    """The score of a trained detector, a function of x_nC."""
    ensemble = sklearn_ensemble()
    settings = config.baselines
    attacks = int(train.y_n.sum())
    if kind == "isolation_forest":
        if attacks == len(train.y_n):
            raise DataError("no training flow is benign", hint="An isolation forest learns benign flows.")
        forest = ensemble.IsolationForest(n_estimators=settings.forest_trees, random_state=settings.seed)
        forest.fit(train.x_nC[~train.y_n])
        return lambda x: -np.asarray(forest.score_samples(x), np.float64)
    if attacks in (0, len(train.y_n)):
        raise DataError(
            f"{attacks} of {len(train.y_n)} training flows are attacks",
            hint="Boosted trees need both kinds: give training both, or --set baselines.learned=[isolation_forest].",
        )
    stops = bool(val.y_n.any() and not val.y_n.all())
    trees = ensemble.HistGradientBoostingClassifier(
        max_iter=settings.boosting_rounds,
        early_stopping=stops,
        n_iter_no_change=settings.patience,
        random_state=settings.seed,
    )
    trees.fit(train.x_nC, train.y_n, **({"X_val": val.x_nC, "y_val": val.y_n} if stops else {}))
    return lambda x: np.asarray(trees.decision_function(x), np.float64)


def _measured(
    config: TabularConfig, scenario: str, kind: str, part: _Part, score: F64, threshold: float
) -> list[dict[str, Any]]:
    evaluation = config.evaluation
    draws = resample(
        part.y_n,
        part.capture_n,
        replicates=evaluation.bootstrap,
        block_windows=evaluation.block_windows,
        rng=np.random.default_rng(evaluation.seed),
    )
    found = binary_metrics(
        part.y_n, score, score >= threshold, resamples=draws, confidence=evaluation.confidence
    )
    counts = {"flows": len(part.y_n), "attack_flows": int(part.y_n.sum())}
    return [
        {"scenario": scenario, "detector": kind, "metric": name, **counts}
        | {"value": e.value, "low": e.low, "high": e.high, "interval": e.how or None}
        | {"undefined_reason": (e.reason or "").replace("window", "flow") or None}
        for name, e in found.items()
    ]


def _repeated(train_nC: F32, test_nC: F32) -> float:
    """Share of test flows that equal a training flow in every column: those, a table look-up would know."""
    keys = [
        pl.DataFrame(np.ascontiguousarray(x)).hash_rows(seed=0) if len(x) else pl.Series([], dtype=pl.UInt64)
        for x in (train_nC, test_nC)
    ]
    return float(np.isin(keys[1].to_numpy(), keys[0].to_numpy()).mean()) if len(keys[1]) else 0.0
