"""Training-free detectors, one line each, relative to the profile of the capture's own vehicle or stream.

    novelty   share of the window's frames whose ID is new to the profile
    early     share of its frames that come under 1/e of their ID's own median interval
    payload   highest deviation over its IDs of the payload change from the ID's own rate, either way
    absence   longest silence, up to the window's end, of an ID that sends in cycles, over the longest one in the profile

They learn from no training window and no label. Novelty, early and payload are columns of the graphs
(`candor.ids.graphs.features`), so what they see is what the models see. The OR of all of them is formed where thresholds
are chosen (`candor.ids.evaluation.union`).

Legend: n frames, G windows, P IDs of the profile.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from candor.flow.stage import Inputs, Output, Result
from candor.ids.captures.frames import Frames
from candor.ids.config import SpecialistsConfig
from candor.ids.graphs.calibration import load_assignment
from candor.ids.graphs.features import NODE_NAMES
from candor.ids.graphs.profile import Profile
from candor.ids.graphs.stream import Stream, prepare
from candor.ids.scoring import score_frame, window_rows

F64 = npt.NDArray[np.float64]

NAMES: Final = ("novelty", "early", "payload", "absence")
VARIANT: Final = "specialist"


def specialists(config: SpecialistsConfig, inputs: Inputs, out: Output) -> Result:
    """Stage: scores of every specialist on validation and test windows, ``scores.parquet``.

    Inputs: ``ingest`` (frames/), ``calibrate`` (profiles/), ``build_train`` (val/), ``build_test`` (test/).
    """
    tables, cycles = [], 0
    folders = {"val": inputs.path("build_train") / "val", "test": inputs.path("build_test") / "test"}
    for done, (split, folder) in enumerate(folders.items()):
        out.progress(done, 2, f"specialists on {split} windows")
        rows = window_rows(folder, split)
        scores = from_graphs(folder)
        scores["absence"], seen = absence(folder, inputs.path("ingest"), inputs.path("calibrate"), config)
        cycles = max(cycles, seen)
        tables += [score_frame(rows, scores[name], detector=name, variant=VARIANT) for name in NAMES]
    pl.concat(tables).write_parquet(out.path / "scores.parquet", compression="zstd")
    return Result({"specialists": list(NAMES), "ids_that_can_be_missed": cycles})


def from_graphs(folder: Path) -> dict[str, F64]:
    """Novelty, early and payload of the G windows of a GraphStore folder: [G] each."""
    ptr = np.load(folder / "node_ptr.npy")
    x_ND = np.load(folder / "x.npy", mmap_mode="r")
    first = ptr[:-1]
    if not len(first):
        return {name: np.zeros(0) for name in NAMES[:3]}
    deviation_N = np.abs(x_ND[:, NODE_NAMES.index("payload_change")].astype(np.float64))
    return {
        "novelty": x_ND[first, NODE_NAMES.index("window_novel_share")].astype(np.float64),
        "early": x_ND[first, NODE_NAMES.index("window_early_share")].astype(np.float64),
        "payload": np.maximum.reduceat(deviation_N, first),
    }


def absence(folder: Path, ingest: Path, calibrate: Path, config: SpecialistsConfig) -> tuple[F64, int]:
    """Absence of the G windows of a GraphStore folder, in its order, and how many IDs can be missed at most."""
    assignment = load_assignment(calibrate)
    meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
    window = np.load(folder / "window.npy")
    score_G, most = np.zeros(len(window)), 0
    for capture, kind, rows in _parts(meta, window):
        profile = Profile.load(calibrate / "profiles", assignment[capture].name(kind))
        stream = prepare(Frames.arrays(ingest / "frames" / f"{capture}.parquet"))
        mine = window[rows]
        score_G[rows], seen = silence(stream, mine["t0"], mine["t1"], profile, config)
        most = max(most, seen)
    return score_G, most


def _parts(
    meta: dict[str, Any], window: npt.NDArray[Any]
) -> Iterator[tuple[str, Any, npt.NDArray[np.int64]]]:
    """(capture, profile choice, rows) of a store."""
    for number, about in enumerate(meta["captures"]):
        for index, kind in enumerate(meta["profiles"]):
            rows = np.flatnonzero((window["capture"] == number) & (window["profile"] == index))
            if len(rows):
                yield about["capture"], kind, rows


def silence(
    stream: Stream, t0_G: F64, t1_G: F64, profile: Profile, config: SpecialistsConfig
) -> tuple[F64, int]:
    """Longest silence over allowed silence, over the IDs that send in cycles: [G], and the number of those IDs.

    Silences count that are running when the window ends or that end inside it. An ID that was never heard is silent since
    the capture's first frame. An ID's allowed silence is the longest in the profile; it saw fewer of a slow ID, and the
    longest of n intervals is exceeded once in n, so 1/n of it is granted on top.
    """
    cyclic = (profile.count_P >= config.min_frames) & (profile.log_spread_P <= config.max_log_spread)
    allowed_P = profile.longest_interval_s_P * (1 + 1 / np.maximum(profile.count_P - 1, 1))
    score_G = np.zeros(len(t0_G))
    order = np.argsort(stream.code_n, kind="stable")
    begin = np.searchsorted(stream.code_n[order], np.arange(len(stream.key_U) + 1))
    begin_s = float(stream.t_n[0]) if len(stream) else 0.0
    at_U = np.searchsorted(stream.key_U, profile.key_P)
    for p in np.flatnonzero(cyclic):
        u = at_U[p]
        heard = u < len(stream.key_U) and stream.key_U[u] == profile.key_P[p]
        t = stream.t_n[order[begin[u] : begin[u + 1]]] if heard else np.zeros(0)
        # A leading mark stands for the capture's start, a trailing one for frames still to come.
        marks = np.maximum.accumulate(np.concatenate([[begin_s], t]))
        last = np.searchsorted(marks, t1_G, side="right") - 1
        running_G = t1_G - marks[np.maximum(last, 0)]
        before = np.searchsorted(marks, t0_G, side="right") - 1
        ended_G = _longest_between(marks, np.maximum(before, 0), np.maximum(last, 0))
        np.maximum(score_G, np.maximum(running_G, ended_G) / allowed_P[p], out=score_G)
    return score_G, int(cyclic.sum())


def _longest_between(marks: F64, first_G: npt.NDArray[np.int64], last_G: npt.NDArray[np.int64]) -> F64:
    """Longest step between neighbouring marks ``first`` ... ``last`` of every window; 0 where there is none."""
    steps = np.diff(marks, append=marks[-1:])
    longest = np.zeros(len(first_G))
    some = last_G > first_G
    if some.any():
        pairs = np.stack([first_G[some], last_G[some]], axis=1).ravel()
        # reduceat over [first, last) and the unwanted [last, next first) in turn.
        longest[some] = np.maximum.reduceat(np.append(steps, 0.0), pairs)[::2]
    return longest
