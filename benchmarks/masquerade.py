"""How well payload and frame dynamics see masquerades on cars and IDs they were not made for: simulated ones, on attack-free captures.

    python -m benchmarks.masquerade [--ids 24] [--seconds 120] [--known]

The captures are those without attacks of hcrl_sa and set_01, wherever `candor` finds them. Each is judged by its own first ten
seconds; what bytes cost is learned from the captures of all other cars. Then one ID at a time is forged, in every other stretch
of five seconds, in its bytes (the first table), in its place (moved: it keeps its period, but sends at another phase, as a unit
with a clock of its own would), or in both (the second). Length and all other IDs stay. A window of 100 frames is an attack where it
holds a frame that differs from the true one, or that moved. AUROC over the windows behind the ten seconds; means over IDs, and
their spread. With --known the car's other capture tells frame dynamics what its IDs cost on another drive; cars of one
capture are left out.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from candor.flow.stage import Inputs, Output
from candor.ids.captures.frames import Frames
from candor.ids.captures.ingest import ingest
from candor.ids.config import FrameDynamicsConfig, IngestConfig
from candor.ids.experiment import resolve
from candor.ids.graphs.stream import Stream, prepare
from candor.ids.models import frame_dynamics
from candor.ids.models import payload as dynamics
from candor.ids.models.frame_dynamics import Expected
from candor.ids.models.payload import Costs, Piece
from candor.learn.metrics import ranking_metrics
from candor.tracking.recorder import JsonlRecorder

DATASETS = ("hcrl_sa", "set_01")
CALIBRATION_S, STRETCH_S, WINDOW, PRIOR_FRAMES = 10.0, 5.0, 100, 50.0
#: Fewer attack windows than this say nothing.
_FEW = 20

FRAMES = FrameDynamicsConfig()
DETECTORS = ("payload", "frame_dynamics")

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
#: (payloads of the ID in one stretch, those of its calibration, rng) → forged payloads. [n, 8] each.
Forging = Callable[[U8, U8, np.random.Generator], U8]


def _replayed(own: U8, earlier: U8, rng: np.random.Generator) -> U8:
    return earlier[(np.arange(len(own)) + int(rng.integers(len(earlier)))) % len(earlier)]


FORGINGS: dict[str, Forging] = {
    "constant": lambda own, earlier, rng: np.full_like(own, 0xFF),
    "noise": lambda own, earlier, rng: rng.integers(0, 256, own.shape).astype(np.uint8),
    "replayed": _replayed,
    "frozen": lambda own, earlier, rng: np.repeat(own[:1], len(own), axis=0),
    # Where a byte varies, by an eighth of its range.
    "shifted": lambda own, earlier, rng: np.where(np.ptp(earlier, axis=0) > 0, own + np.uint8(32), own),
}


#: True bytes: only moved frames are forged.
TRUE = "true"
#: What is forged with the frames in their place, and moved.
PLACES = {"kept": tuple(FORGINGS), "moved": (*FORGINGS, TRUE)}


@dataclass(frozen=True)
class Car:
    """One attack-free capture."""

    vehicle: str
    capture: str
    stream: Stream


def cars(seconds: float) -> Iterator[Car]:
    """The attack-free captures, cut to their first ``seconds``."""
    for dataset in DATASETS:
        config, _ = resolve("kd", dataset)
        assert isinstance(config.ingest, IngestConfig)
        sources = tuple(s for s in config.ingest.sources if not s.attack)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for part in ("out", "scratch"):
                (folder / part).mkdir()
            out = Output(
                folder / "out",
                folder / "scratch",
                JsonlRecorder(folder / "scratch", "ingest"),
                lambda done, total, note="": None,
            )
            ingest(config.ingest.model_copy(update={"sources": sources}), Inputs({}), out)
            for source in sources:
                frames = Frames.arrays(out.path / "frames" / f"{source.capture}.parquet")
                stop = int(np.searchsorted(prepare(frames).t_n, seconds))
                yield Car(source.vehicle, source.capture, prepare(frames, 0, stop))


def moved(
    stream: Stream, own_n: NDArray[np.bool_], forged: list[I64], rng: np.random.Generator
) -> tuple[Stream, I64]:
    """The ID's frames of each stretch at another phase of its period, which wanders a little. Also: where each frame came from."""
    t_n = stream.t_n.copy()
    period = float(np.median(np.diff(t_n[own_n])))
    for at in forged:
        t_n[at] += period * rng.uniform(0.2, 0.8) + rng.normal(0, 0.02 * period, len(at))
    order = np.argsort(t_n, kind="stable")
    columns = ("code_n", "word_n", "dlc_n", "flags_n", "y_n", "attack_n", "dt_n", "change_n")
    return replace(stream, t_n=t_n[order], **{c: getattr(stream, c)[order] for c in columns}), order


@dataclass(frozen=True)
class Judges:
    """Both detectors, calibrated on the first seconds of a capture."""

    bytes: dynamics.PayloadModel
    frames: frame_dynamics.FrameModel

    @classmethod
    def of(cls, car: Car, costs: Costs, known: Expected | None) -> Judges:
        begin = int(np.searchsorted(car.stream.t_n, CALIBRATION_S))
        seconds = Piece(car.stream, np.arange(begin))
        how = {
            "order": FRAMES.ngram_order,
            "smoothing": FRAMES.smoothing,
            "prior_frames": FRAMES.prior_frames,
        }
        return cls(
            dynamics.fit([seconds], costs, prior_frames=PRIOR_FRAMES),
            frame_dynamics.fit(seconds, costs, known=known, known_share=FRAMES.vehicle_share, **how),
        )

    def scores(self, stream: Stream, start_G: I64) -> dict[str, NDArray[np.float64]]:
        z_nQ = self.bytes.surprise(Piece(stream, np.arange(len(stream))))
        stop_G = start_G + WINDOW
        return {
            "payload": dynamics.window_scores(stream, z_nQ, start_G, stop_G).score_G,
            "frame_dynamics": frame_dynamics.window_scores(
                stream, self.frames.surprise(stream), start_G, stop_G
            ).score_G,
        }


#: (place, forging, detector) → AUROC of each ID.
Found = dict[tuple[str, str, str], list[float]]


def judge(car: Car, judges: Judges, ids: int, seed: int) -> Found:
    """Every forging, kept in its place and moved, one for each of up to ``ids`` IDs that send often enough."""
    stream, rng = car.stream, np.random.default_rng(seed)
    begin = int(np.searchsorted(stream.t_n, CALIBRATION_S))
    start_G = np.arange(begin, len(stream) - WINDOW + 1, WINDOW)
    stretch_n = ((stream.t_n - CALIBRATION_S) // STRETCH_S).astype(np.int64)
    often = [u for u in range(len(stream.key_U)) if (stream.code_n[:begin] == u).sum() >= _FEW]
    found: Found = {(p, f, d): [] for p in PLACES for f in (*FORGINGS, TRUE) for d in DETECTORS}
    # Draws of their own, so that the first table stays what it was without the second.
    shifts = np.random.default_rng(seed + 1)
    for u in rng.permutation(often)[:ids].tolist():
        own_n = stream.code_n == u
        earlier = stream.data_n8[:begin][own_n[:begin]]
        odd = [
            np.flatnonzero(own_n & (stretch_n == k) & (stream.t_n >= CALIBRATION_S))
            for k in range(1, int(stretch_n.max()) + 1, 2)
        ]
        forged = [at for at in odd if len(at)]
        for name in (*FORGINGS, TRUE):
            data_n8 = stream.data_n8.copy()
            for at in forged if name != TRUE else ():
                data_n8[at] = FORGINGS[name](stream.data_n8[at], earlier, rng)
            data_n8[np.arange(8) >= stream.size_n[:, None]] = 0
            changed_n = (data_n8 != stream.data_n8).any(axis=1)
            given = replace(stream, word_n=data_n8.view(np.uint64)[:, 0])
            displaced, came_from = moved(given, own_n, forged, shifts)
            differs_n = np.isin(came_from, np.concatenate(forged)) if forged else changed_n
            for place, judged, y_n in (("kept", given, changed_n), ("moved", displaced, differs_n)):
                y_G = np.add.reduceat(y_n[begin:], start_G - begin)[: len(start_G)] > 0
                if _FEW <= y_G.sum() <= len(y_G) - _FEW:
                    for detector, score_G in judges.scores(judged, start_G).items():
                        auroc = ranking_metrics(y_G.astype(np.uint8), score_G)["auroc"][0]
                        found[place, name, detector].append(float(auroc))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ids", type=int, default=24, help="IDs of each capture")
    parser.add_argument("--seconds", type=float, default=120.0, help="of each capture")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--known", action="store_true", help="another drive of the car is known")
    given = parser.parse_args()
    fleet = list(cars(given.seconds))
    everything: dict[str, Found] = {}
    for car in fleet:
        others = [_whole(c) for c in fleet if c.vehicle != car.vehicle]
        same = [_whole(c) for c in fleet if c.vehicle == car.vehicle and c.capture != car.capture]
        if given.known and not same:
            continue
        known = None
        if given.known:
            how = {"order": FRAMES.ngram_order, "smoothing": FRAMES.smoothing}
            known = frame_dynamics.expected_later(same, calibration_s=CALIBRATION_S, **how)
        judges = Judges.of(car, dynamics.learn_costs(others, CALIBRATION_S), known)
        everything[f"{car.vehicle}, {car.capture}"] = judge(car, judges, given.ids, given.seed)
    for place, forgings in PLACES.items():
        print(f"\n| {place}: car, capture | detector | " + " | ".join(forgings) + " |")
        print("|---" * (2 + len(forgings)) + "|")
        for title, found in (*everything.items(), ("all", _together(everything.values()))):
            for detector in DETECTORS:
                cells = [_cell(found[place, forging, detector]) for forging in forgings]
                print(f"| {title} | {detector} | " + " | ".join(cells) + " |")


def _whole(car: Car) -> Piece:
    return Piece(car.stream, np.arange(len(car.stream)))


def _together(parts: Iterable[Found]) -> Found:
    found: Found = {}
    for part in parts:
        for key, values in part.items():
            found[key] = found.get(key, []) + values
    return found


def _cell(values: list[float]) -> str:
    return f"{np.mean(values):.2f} ± {np.std(values):.2f} ({len(values)} IDs)" if values else "none"


if __name__ == "__main__":
    main()
