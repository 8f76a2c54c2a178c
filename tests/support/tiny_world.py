"""A small simulated world, taken through the real stages up to graphs; models are tested on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from candor.flow.stage import Inputs, Output
from candor.ids.captures.ingest import ingest
from candor.ids.captures.synthetic.generate import generate
from candor.ids.config import (
    CalibrationTask,
    GraphConfig,
    IngestConfig,
    NodeInputConfig,
    SplitConfig,
    SyntheticConfig,
    WindowConfig,
)
from candor.ids.graphs.builder import build
from candor.ids.graphs.calibration import calibrate
from candor.ids.graphs.store import GraphStore
from candor.ids.models.blocks import NodeInput
from candor.ids.models.store import node_input
from candor.learn.batching import GraphBatch
from candor.learn.loading import GraphLoader
from candor.learn.sampling import BudgetSampler

WINDOW, SPLIT = WindowConfig(window_frames=50, stride_frames=50), SplitConfig(blocks=10, embargo_frames=50)


@dataclass
class Rows:
    """A recorder that keeps what was logged: (kind, step, metrics)."""

    rows: list[tuple[str, int, dict[str, float]]] = field(default_factory=list)

    def log(self, step: int, metrics: Mapping[str, float], *, kind: str = "epoch") -> None:
        self.rows.append((kind, step, dict(metrics)))

    def rewind(self, step: int, *, kind: str = "epoch") -> None:
        self.rows[:] = [r for r in self.rows if r[0] != kind or r[1] < step]

    def curve(self, metric: str, kind: str = "epoch") -> list[float]:
        return [m[metric] for k, _, m in self.rows if k == kind]


class Stops(Rows):
    """Interrupts a training once its third epoch is logged."""

    def log(self, step: int, metrics: Mapping[str, float], *, kind: str = "epoch") -> None:
        super().log(step, metrics, kind=kind)
        if step == 2:
            raise KeyboardInterrupt


def output(path: Path, recorder: Rows | None = None) -> Output:
    """An Output below ``path``; the scratch folder stays from call to call, as over attempts."""
    for name in ("out", "scratch"):
        (path / name).mkdir(parents=True, exist_ok=True)
    return Output(path / "out", path / "scratch", recorder or Rows(), lambda done, total, note="": None)


@dataclass(frozen=True)
class TinyWorld:
    """Folders of the published artifacts."""

    ingest: Path
    calibrate: Path
    build_train: Path
    build_test: Path

    def store(self, split: str) -> GraphStore:
        return GraphStore.open((self.build_test if split == "test" else self.build_train) / split)

    def inputs(self, config: NodeInputConfig | None = None) -> NodeInput:
        return node_input(config or NodeInputConfig(), self.build_train)

    def loader(
        self, split: str, *, only: int | None = None, shuffle: bool = False, max_nodes: int = 600
    ) -> GraphLoader:
        store = self.store(split)
        if only is not None:
            store = store.subset(store.y_G == only)
        sampler = BudgetSampler(
            store.node_counts,
            store.edge_counts,
            max_nodes=max_nodes,
            max_edges=4 * max_nodes,
            shuffle=shuffle,
            seed=0,
        )
        return GraphLoader(store, sampler)

    def batch(self, split: str, indices: list[int]) -> GraphBatch:
        return GraphBatch.of(self.store(split).gather(indices))


#: Three cars, a few seconds.
CARS = SyntheticConfig(ids_per_vehicle=12, benign_s=15, attack_s=18)


def make_world(root: Path, traffic: SyntheticConfig = CARS) -> TinyWorld:
    """Simulate traffic and take it to graphs."""
    done: dict[str, Path] = {}

    def run(name: str, stage: object, config: object, inputs: dict[str, str]) -> None:
        out = output(root / name)
        stage(config, Inputs({k: done[v] for k, v in inputs.items()}), out)  # type: ignore[operator]
        done[name] = out.path

    frames = {"ingest": "ingest", "calibrate": "calibrate"}
    run("generate", generate, traffic, {})
    run("ingest", ingest, IngestConfig(dataset="synthetic"), {"captures": "generate"})
    run("calibrate", calibrate, CalibrationTask(calibration_s=8, split=SPLIT), {"ingest": "ingest"})
    run("build_train", build, GraphConfig(splits=("train", "val"), window=WINDOW, split=SPLIT), frames)
    run("build_test", build, GraphConfig(splits=("test",), window=WINDOW, split=SPLIT), frames)
    return TinyWorld(done["ingest"], done["calibrate"], done["build_train"], done["build_test"])
