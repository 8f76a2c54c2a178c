"""How well payload dynamics see masquerades on cars and IDs they were not made for: simulated ones, on attack-free captures.

    python -m benchmarks.masquerade [--ids 24] [--seconds 120]

The captures are those without attacks of hcrl_sa and set_01, wherever `candor` finds them. Each is judged by its own first ten
seconds; what bytes cost is learned from the captures of all other cars. Then one ID at a time is forged, in every other stretch
of five seconds: timing, length and all other IDs stay. A window of 100 frames is an attack where a forged frame differs from the
true one. AUROC over the windows behind the ten seconds; means over IDs, and their spread.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from candor.flow.stage import Inputs, Output
from candor.ids.captures.frames import Frames
from candor.ids.captures.ingest import ingest
from candor.ids.config import IngestConfig
from candor.ids.experiment import resolve
from candor.ids.graphs.stream import Stream, prepare
from candor.ids.models import payload as dynamics
from candor.ids.models.payload import Costs, Piece
from candor.learn.metrics import ranking_metrics
from candor.tracking.recorder import JsonlRecorder

DATASETS = ("hcrl_sa", "set_01")
CALIBRATION_S, STRETCH_S, WINDOW, PRIOR_FRAMES = 10.0, 5.0, 100, 50.0
#: Fewer attack windows than this say nothing.
_FEW = 20

U8 = NDArray[np.uint8]
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


def judge(car: Car, costs: Costs, ids: int, seed: int) -> dict[str, list[float]]:
    """AUROC of every forging, one for each of up to ``ids`` IDs that send often enough."""
    stream, rng = car.stream, np.random.default_rng(seed)
    begin = int(np.searchsorted(stream.t_n, CALIBRATION_S))
    model = dynamics.fit([Piece(stream, np.arange(begin))], costs, prior_frames=PRIOR_FRAMES)
    start_G = np.arange(begin, len(stream) - WINDOW + 1, WINDOW)
    stretch_n = ((stream.t_n - CALIBRATION_S) // STRETCH_S).astype(np.int64)
    often = [u for u in range(len(stream.key_U)) if (stream.code_n[:begin] == u).sum() >= _FEW]
    found: dict[str, list[float]] = {name: [] for name in FORGINGS}
    for u in rng.permutation(often)[:ids].tolist():
        own_n = stream.code_n == u
        earlier = stream.data_n8[:begin][own_n[:begin]]
        for name, forge in FORGINGS.items():
            data_n8 = stream.data_n8.copy()
            for k in range(1, int(stretch_n.max()) + 1, 2):
                at = np.flatnonzero(own_n & (stretch_n == k) & (stream.t_n >= CALIBRATION_S))
                if len(at):
                    data_n8[at] = forge(stream.data_n8[at], earlier, rng)
            data_n8[np.arange(8) >= stream.size_n[:, None]] = 0
            changed_n = (data_n8 != stream.data_n8).any(axis=1)
            y_G = np.add.reduceat(changed_n[begin:], start_G - begin)[: len(start_G)] > 0
            if _FEW <= y_G.sum() <= len(y_G) - _FEW:
                forged = replace(stream, word_n=data_n8.view(np.uint64)[:, 0])
                z_nQ = model.surprise(Piece(forged, np.arange(len(forged))))
                score_G = dynamics.window_scores(forged, z_nQ, start_G, start_G + WINDOW).score_G
                found[name].append(float(ranking_metrics(y_G.astype(np.uint8), score_G)["auroc"][0]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ids", type=int, default=24, help="IDs of each capture")
    parser.add_argument("--seconds", type=float, default=120.0, help="of each capture")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    fleet = list(cars(given.seconds))
    print("| car, capture | " + " | ".join(FORGINGS) + " |")
    print("|---" * (1 + len(FORGINGS)) + "|")
    everything: dict[str, list[float]] = {name: [] for name in FORGINGS}
    for car in fleet:
        others = [Piece(c.stream, np.arange(len(c.stream))) for c in fleet if c.vehicle != car.vehicle]
        found = judge(car, dynamics.learn_costs(others, CALIBRATION_S), given.ids, given.seed)
        for name, values in found.items():
            everything[name] += values
        print(_row(f"{car.vehicle}, {car.capture}", found), flush=True)
    print(_row("all", everything))


def _row(title: str, found: dict[str, list[float]]) -> str:
    cells = [f"{np.mean(v):.2f} ± {np.std(v):.2f} ({len(v)} IDs)" if v else "none" for v in found.values()]
    return f"| {title} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
