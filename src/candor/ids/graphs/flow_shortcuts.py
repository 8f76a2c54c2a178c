"""What gives an attack flow away without any model: an address, a port, a withheld column, its measures, time or order.

A value is scored with the share of attacks that it had among training flows, so a shortcut here is one that carries over
from training to test. None of these columns is shown to a model but the measures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from candor.ids.captures.flows.schema import FEATURE, MEASURES, WITHHELD
from candor.ids.graphs.findings import Finding, Severity
from candor.ids.graphs.shortcuts import Measured
from candor.learn.metrics import ranking_metrics

#: An AUROC from which one column alone is called a shortcut.
LIMIT: Final = 0.9
_NAMED: Final = {"src": "source address", "dst": "destination address", "dport": "destination port"}
_MEASURES: Final = "measures"


@dataclass(frozen=True)
class Flows:
    """Where the flows of a split lie: one file per capture, read a few columns at a time."""

    ingest: Path
    captures: tuple[str, ...]

    def columns(self, exprs: Sequence[pl.Expr | str]) -> pl.DataFrame:
        """These columns of all captures, one below the other."""
        return pl.concat([self.of(capture, exprs) for capture in self.captures])

    def of(self, capture: str, exprs: Sequence[pl.Expr | str]) -> pl.DataFrame:
        """These columns of one capture."""
        path = self.ingest / "flows" / f"{capture}.parquet"
        return pl.scan_parquet(path).select(exprs).collect(engine="streaming")

    def names(self) -> list[str]:
        """Columns of the first capture; the others have the same."""
        path = self.ingest / "flows" / f"{self.captures[0]}.parquet"
        return pl.scan_parquet(path).collect_schema().names()


def y() -> pl.Expr:
    """1 attack, 0 benign or unlabelled."""
    return pl.col("label").fill_null(0).alias("y")


def looks(flows: Flows, *more: str) -> pl.Expr:
    """Hash of what a flow measures and carries, hosts and times left out, unless ``more`` names them."""
    own = [name for name in flows.names() if name.startswith(FEATURE)]
    return pl.struct([*more, "dport", "proto", *MEASURES, *own]).hash(seed=0).alias("looks")


def measure(ingest: Path, train: Flows, test: Flows) -> list[Measured]:
    """AUROC of every shortcut on every test capture; None where the capture, or training, has one class only."""
    withheld = _withheld(ingest)
    columns: dict[str, pl.Expr] = {name.replace(" ", "_"): pl.col(key) for key, name in _NAMED.items()}
    columns |= {name: pl.col(WITHHELD + name) for name in withheld}
    columns[_MEASURES] = looks(train)
    found = []
    for name, column in columns.items():
        learnt = train.columns([column.alias("key"), y()])
        rate = learnt.group_by("key").agg(pl.col("y").mean().alias("rate"))
        prior = learnt["y"].mean()
        for capture in test.captures:
            own = test.of(capture, [column.alias("key"), y()])
            joined = own.join(rate, on="key", how="left", maintain_order="left")
            score = joined["rate"].fill_null(prior).to_numpy()
            found.append(_measured(capture, name, own["y"], score, known=0 < float(str(prior)) < 1))
    for capture in test.captures:
        own = test.of(capture, [pl.col("t_start").diff().fill_null(1.0) <= 0, y()])
        still = own["t_start"].cast(pl.Float64).to_numpy()
        found.append(_measured(capture, "delta_t", own["y"], still))
        found.append(
            _measured(capture, "row_order", own["y"], np.arange(own.height, dtype=float), either=True)
        )
    return sorted(found, key=lambda m: test.captures.index(m.capture))


def _withheld(ingest: Path) -> dict[str, str]:
    return dict(json.loads((ingest / "features.json").read_text())["withheld"])


def _measured(
    capture: str,
    name: str,
    label: pl.Series,
    score: NDArray[np.float64],
    *,
    known: bool = True,
    either: bool = False,
) -> Measured:
    truth = label.to_numpy().astype(bool)
    if not known or not truth.any() or truth.all():
        return Measured(capture, name, None, "info")
    auroc = float(ranking_metrics(truth, score)["auroc"].item())
    # Attacks at the very start are as much of a giveaway as at the very end.
    auroc = max(auroc, 1 - auroc) if either else auroc
    return Measured(capture, name, auroc, "warning" if auroc >= LIMIT else "info")


def findings(ingest: Path, measured: Sequence[Measured]) -> Iterator[Finding]:
    """One finding that names every shortcut with an AUROC over LIMIT on some test capture."""
    judged = [m for m in measured if m.auroc is not None]
    if not judged:
        return
    best: dict[str, float] = {}
    for m in judged:
        best[m.shortcut] = round(max(best.get(m.shortcut, 0.0), m.auroc or 0.0), 4)
    strong = sorted((name for name in best if best[name] >= LIMIT), key=lambda n: -best[n])
    named = ", ".join(f"{name.replace('_', ' ')} {best[name]:.3f}" for name in strong)
    message = f"one column alone tells attack flows of a test capture: {named or 'none'} (AUROC)"
    severity: Severity = "warning" if strong else "info"
    evidence = {"auroc": best, "withheld": _withheld(ingest), "models_see": _MEASURES}
    yield Finding("shortcuts", severity, message, evidence)
