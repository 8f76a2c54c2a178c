"""Learned baselines that know no graphs: boosted trees, isolation forest, ID transitions.

    boosted_trees      histogram gradient boosting (as LightGBM, Ke et al. 2017) on window statistics, with labels
    isolation_forest   Liu, Ting, Zhou 2008, on the same statistics of benign training windows
    transitions        mean surprise, -ln p(next ID | ID), under the benign transitions of training (Marchetti & Stabili
                       2017 list the pairs; here they have probabilities, with additive smoothing); with
                       ``ngram_order`` above 2 after as many IDs as it says, less one (ngrams.py)

All are refitted from their inputs wherever they are needed, which takes seconds and gives the same trees, so none is stored.

Legend: G windows, E edges.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from candor.errors import DataError, ExtraMissing
from candor.flow.stage import Inputs, Json, Output, Result
from candor.ids.baselines.ngrams import NGrams
from candor.ids.baselines.statistics import is_bus, window_statistics
from candor.ids.config import BaselinesConfig
from candor.ids.scoring import score_frame, window_rows

F64 = npt.NDArray[np.float64]

VARIANT: Final = "baseline"


def baselines(config: BaselinesConfig, inputs: Inputs, out: Output) -> Result:
    """Stage: scores of the learned baselines on validation and test windows, ``scores.parquet``.

    Inputs: ``build_train`` (train/, val/), ``build_test`` (test/); ``ingest`` (frames/) where sequences are longer than a
    pair. They learn from train/, stop by val/.

    Raises:
        ExtraMissing: scikit-learn is not installed. DataError: the training split has no benign window.
    """
    graphs = inputs.path("build_train")
    frames = inputs.path("ingest") / "frames" if "ingest" in inputs.paths else None
    tables: list[pl.DataFrame] = []
    said: dict[str, Json] = {}
    wanted = [k for k in config.learned if k != "transitions" or is_bus(graphs / "train")]
    folders = {"val": graphs / "val", "test": inputs.path("build_test") / "test"}
    rows = {split: window_rows(folder, split) for split, folder in folders.items()}
    for done, kind in enumerate(wanted):
        out.progress(done, len(wanted), kind)
        fitted = fit(kind, config, graphs, frames)
        said[kind] = dict(fitted.said)
        for split, folder in folders.items():
            tables.append(score_frame(rows[split], fitted.score(folder), detector=kind, variant=VARIANT))
    left_out = [k for k in config.learned if k not in wanted]
    pl.concat(tables).write_parquet(out.path / "scores.parquet", compression="zstd")
    return Result({**said, "left_out": list(left_out)})


class Fitted:
    """A baseline after training: scores the windows of a folder."""

    said: Mapping[str, Json] = {}

    def score(self, folder: Path) -> F64:
        """Scores of the G windows of a GraphStore folder, in its order: [G]."""
        raise NotImplementedError


def fit(kind: str, config: BaselinesConfig, graphs: Path, frames: Path | None = None) -> Fitted:
    """Train one baseline on ``graphs/train``; only boosted trees look at ``graphs/val``, to stop.

    ``frames``: folder of the captures' frames, which only sequences longer than a pair need.
    """
    if kind == "transitions" and config.ngram_order > 2:
        assert frames is not None  # The plan gives them.
        return Sequences(config, graphs, frames)
    makers = {"boosted_trees": BoostedTrees, "isolation_forest": Forest, "transitions": Transitions}
    return makers[kind](config, graphs)


class BoostedTrees(Fitted):
    """Log odds of an attack."""

    def __init__(self, config: BaselinesConfig, graphs: Path) -> None:
        ensemble = sklearn_ensemble()
        x, _ = window_statistics(graphs / "train")
        y = _labels(graphs / "train")
        if not y.any() or y.all():
            raise DataError(
                f"the training split has {int(y.sum())} attack windows of {len(y)}",
                hint="Boosted trees need both kinds; leave them out with baselines.learned.",
            )
        x_val, y_val = window_statistics(graphs / "val")[0], _labels(graphs / "val")
        # Without both kinds there, its loss says nothing; the trees then grow to their full number.
        stops = bool(y_val.any() and not y_val.all())
        self._model = ensemble.HistGradientBoostingClassifier(
            max_iter=config.boosting_rounds,
            early_stopping=stops,
            n_iter_no_change=config.patience,
            random_state=config.seed,
        )
        if stops:
            self._model.fit(x, y, X_val=x_val, y_val=y_val)
        else:
            self._model.fit(x, y)
        self.said = {"rounds": int(self._model.n_iter_), "columns": x.shape[1]}

    def score(self, folder: Path) -> F64:
        return np.asarray(self._model.decision_function(window_statistics(folder)[0]), np.float64)


class Forest(Fitted):
    """Isolation: the shorter the path that parts a window from the benign ones, the higher."""

    def __init__(self, config: BaselinesConfig, graphs: Path) -> None:
        ensemble = sklearn_ensemble()
        x = window_statistics(graphs / "train")[0][~_labels(graphs / "train")]
        if not len(x):
            raise DataError(
                "the training split has no benign window", hint="An isolation forest learns them."
            )
        self._model = ensemble.IsolationForest(n_estimators=config.forest_trees, random_state=config.seed)
        self._model.fit(x)
        self.said = {"windows": len(x)}

    def score(self, folder: Path) -> F64:
        return -np.asarray(self._model.score_samples(window_statistics(folder)[0]), np.float64)


class Transitions(Fitted):
    """Bigrams of IDs, counted over benign training windows: the edges of their graphs."""

    def __init__(self, config: BaselinesConfig, graphs: Path) -> None:
        table = _transitions(graphs / "train")
        benign = ~_labels(graphs / "train")
        table = table.filter(pl.Series(benign[table["graph"].to_numpy()]))
        if table.is_empty():
            raise DataError(
                "the training split has no benign window", hint="Transitions are counted in them."
            )
        counts = table.group_by("source", "target").agg(pl.col("count").sum())
        self._ids = len(set(counts["source"].to_list()) | set(counts["target"].to_list()))
        self._counts = counts.rename({"count": "seen"})
        self._from = counts.group_by("source").agg(pl.col("count").sum().alias("all"))
        self._smoothing = config.smoothing
        self.said = {"transitions": len(counts), "ids": self._ids}

    def score(self, folder: Path) -> F64:
        smoothing, slots = self._smoothing, self._ids + 1  # One more for all IDs that training never saw.
        joined = (
            _transitions(folder)
            .join(self._counts, on=["source", "target"], how="left")
            .join(self._from, on="source", how="left")
            .with_columns(
                surprise=-(
                    (pl.col("seen").fill_null(0) + smoothing)
                    / (pl.col("all").fill_null(0) + smoothing * slots)
                ).log()
                * pl.col("count")
            )
        )
        graph = joined["graph"].to_numpy()
        num = len(_labels(folder))
        total = np.bincount(graph, joined["surprise"].to_numpy(), num)
        return np.asarray(total / np.maximum(np.bincount(graph, joined["count"].to_numpy(), num), 1))


class Sequences(Fitted):
    """Longer sequences of IDs than a graph's edges hold."""

    def __init__(self, config: BaselinesConfig, graphs: Path, frames: Path) -> None:
        self._model = NGrams(config.ngram_order, config.smoothing, graphs, frames)
        self.said = dict(self._model.said)

    def score(self, folder: Path) -> F64:
        return self._model.score(folder)


def _transitions(folder: Path) -> pl.DataFrame:
    """One row per edge: graph, source and target ID keys, and how often it happened."""
    meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
    node_ptr, edge_ptr = np.load(folder / "node_ptr.npy"), np.load(folder / "edge_ptr.npy")
    edges, ids = np.load(folder / "edge_index.npy"), np.load(folder / "node_id.npy")
    count = np.load(folder / "edge_attr.npy", mmap_mode="r")[:, meta["edge_features"].index("count")]
    graph_E = np.repeat(np.arange(len(edge_ptr) - 1), np.diff(edge_ptr))
    offset_E = node_ptr[graph_E]
    return pl.DataFrame(
        {
            "graph": graph_E,
            "source": ids[edges[0] + offset_E],
            "target": ids[edges[1] + offset_E],
            "count": count.astype(np.float64),
        }
    )


def _labels(folder: Path) -> npt.NDArray[np.bool_]:
    return np.asarray(np.load(folder / "y.npy"), bool)


def sklearn_ensemble() -> Any:
    """scikit-learn's module of ensembles. Raises ExtraMissing."""
    try:
        from sklearn import ensemble
    except ImportError as e:
        raise ExtraMissing("scikit-learn is not installed", hint="Install candor[baselines].") from e
    return ensemble
