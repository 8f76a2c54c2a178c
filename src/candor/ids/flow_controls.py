"""Trivial detectors of flow windows: what a model must beat before its figure means anything.

    address_whitelist  share of the window's flows with an end that took part in no benign training flow
    service_whitelist  the same for (source, destination, destination port)
    timing             share of flows that follow the one before of their service within a share of its median interval
    volume             flows per second against benign training windows, in standard deviations either way
    position           seconds since the capture's first flow, later being worse; it looks at no flow (see controls.py)

Timing, volume and position are undefined, and left out with that reason, where a format has no times. They learn from the benign
flows of training windows alone. Hosts are known here by their keys: the pseudonyms are one permutation for a whole data
set, and a control shall show what addresses alone would give.

Legend: n flows of one capture, G windows, S services.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from candor.errors import DataError
from candor.flow.stage import Inputs, Output, Result
from candor.ids.config import ControlsConfig
from candor.ids.scoring import score_frame, window_rows

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NAMES = ("address_whitelist", "service_whitelist", "timing", "volume", "position")
_NEED_TIME = ("timing", "volume", "position")
#: Times of UNSW-NB15 are whole seconds: an interval of less than this is not measured, it is a tie.
_MIN_INTERVAL_S = 1e-3


@dataclass(frozen=True)
class _Capture:
    """Flows of one capture and the windows of a store that lie in it.

    Attributes:
        src, dst: u64[n]. service: u64[n] hash of (src, dst, dport). y: bool[n].
        interval_s: f64[n] since the flow before of the same service; infinite for the first.
        rows: positions of the windows in the store. start, stop: flows of each. seconds, y_G: of each.
    """

    src: NDArray[np.uint64]
    dst: NDArray[np.uint64]
    service: NDArray[np.uint64]
    y: Bools
    interval_s: Floats
    rows: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    seconds: Floats
    y_G: Bools


@dataclass(frozen=True)
class _Known:
    """What benign training flows looked like; all keys ascending. median_s_S: of each service, NaN with one flow."""

    hosts: NDArray[np.uint64]
    service_S: NDArray[np.uint64]
    median_s_S: Floats
    rate_mean: float
    rate_sd: float


def controls_flows(config: ControlsConfig, inputs: Inputs, out: Output) -> Result:
    """Stage: scores of every defined control on validation and test windows, ``scores.parquet``, variant "control"."""
    ingest = inputs.path("ingest")
    train, test = inputs.path("build_train"), inputs.path("build_test")
    catalog = pl.read_parquet(ingest / "catalog.parquet")
    timed = bool((catalog["clock"] == "time").all())
    names = [name for name in NAMES if timed or name not in _NEED_TIME]
    reason = "the format has no times"
    known = _fit(train / "train", ingest)
    tables = []
    for done, (split, folder) in enumerate({"val": train / "val", "test": test / "test"}.items()):
        out.progress(done, 2, f"controls on {split} windows")
        rows = window_rows(folder, split)
        scores = _score(folder, ingest, known, config.early_share) | {"position": rows["t0"].to_numpy()}
        tables += [score_frame(rows, scores[name], detector=name, variant="control") for name in names]
    pl.concat(tables).write_parquet(out.path / "scores.parquet", compression="zstd")
    undefined = {name: reason for name in NAMES if name not in names}
    return Result(
        {
            "controls": list(names),
            "undefined": {**undefined},
            "known_hosts": len(known.hosts),
            "known_services": len(known.service_S),
        }
    )


def _captures(folder: Path, ingest: Path) -> Iterator[_Capture]:
    meta = json.loads((folder / "meta.json").read_text())
    window, y = np.load(folder / "window.npy"), np.load(folder / "y.npy").astype(bool)
    for number, about in enumerate(meta["captures"]):
        rows = np.flatnonzero(window["capture"] == number)
        if not len(rows):
            continue
        df = pl.read_parquet(ingest / "flows" / f"{about['capture']}.parquet")
        mine, t = window[rows], df["t_start"].to_numpy() - df["t_start"][0]
        width = meta["window"].get("window_frames")
        stop = mine["start"] + width if width else np.searchsorted(t, mine["t1"], side="right")
        service = df.select("src", "dst", "dport").hash_rows(seed=0).to_numpy()
        order = np.argsort(service, kind="stable")
        interval = np.full(len(t), np.inf)
        same = service[order][1:] == service[order][:-1]
        interval[order[1:][same]] = np.diff(t[order])[same]
        yield _Capture(
            src=df["src"].to_numpy(),
            dst=df["dst"].to_numpy(),
            service=service,
            y=df["label"].fill_null(0).to_numpy().astype(bool),
            interval_s=interval,
            rows=rows,
            start=mine["start"],
            stop=stop,
            seconds=np.maximum(mine["t1"] - mine["t0"], _MIN_INTERVAL_S),
            y_G=y[rows],
        )


def _fit(folder: Path, ingest: Path) -> _Known:
    hosts, services, intervals, rates = [], [], [], []
    for c in _captures(folder, ingest):
        edges = np.zeros(len(c.y) + 1, np.int64)
        np.add.at(edges, c.start, 1)
        np.add.at(edges, c.stop, -1)
        benign = (np.cumsum(edges[:-1]) > 0) & ~c.y
        hosts += [c.src[benign], c.dst[benign]]
        services.append(c.service[benign])
        intervals.append(c.interval_s[benign])
        rates.append(((c.stop - c.start) / c.seconds)[~c.y_G])
    if not services or not sum(map(len, services)):
        raise DataError(
            "no benign flow in any training window: controls have nothing to learn from",
            place=folder.name,
            hint="Use shorter windows, or more training data.",
        )
    seen = pl.DataFrame({"service": np.concatenate(services), "s": np.concatenate(intervals)})
    seen = seen.with_columns(s=pl.when(pl.col("s").is_finite()).then("s"))
    table = seen.group_by("service").agg(pl.col("s").median()).sort("service")
    rate = np.concatenate(rates)
    return _Known(
        hosts=np.unique(np.concatenate(hosts)),
        service_S=table["service"].to_numpy(),
        median_s_S=table["s"].fill_null(float("nan")).to_numpy(),
        rate_mean=float(rate.mean()) if len(rate) else 0.0,
        rate_sd=float(rate.std()) if len(rate) else 0.0,
    )


def _score(folder: Path, ingest: Path, known: _Known, early: float) -> dict[str, Floats]:
    """Scores of every control that looks at flows for the G windows of a store, in its order: [G] each."""
    out = {name: np.zeros(len(np.load(folder / "y.npy"))) for name in NAMES if name != "position"}
    for c in _captures(folder, ingest):
        new_host = ~np.isin(c.src, known.hosts) | ~np.isin(c.dst, known.hosts)
        at = np.minimum(np.searchsorted(known.service_S, c.service), len(known.service_S) - 1)
        familiar = known.service_S[at] == c.service
        # NaN medians compare as False: a service seen once has no interval to be early against.
        is_early = familiar & (c.interval_s < early * known.median_s_S[at])
        for name, flag in (
            ("address_whitelist", new_host),
            ("service_whitelist", ~familiar),
            ("timing", is_early),
        ):
            total = np.concatenate([[0], np.cumsum(flag)])
            out[name][c.rows] = (total[c.stop] - total[c.start]) / (c.stop - c.start)
        deviation = np.abs((c.stop - c.start) / c.seconds - known.rate_mean)
        out["volume"][c.rows] = deviation / max(known.rate_sd, 1e-6 * known.rate_mean, 1e-9)
    return out
