"""Specialists see what their one line says, and silence is measured as a plain loop would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tiny_world import TinyWorld, output

from candor.flow.stage import Inputs
from candor.ids.baselines.specialists import NAMES, VARIANT, from_graphs, silence, specialists
from candor.ids.captures.frames import FrameArrays
from candor.ids.config import SpecialistsConfig
from candor.ids.graphs.calibration import measure
from candor.ids.graphs.features import NODE_NAMES
from candor.ids.graphs.stream import Stream, prepare

CONFIG = SpecialistsConfig()


def cyclic(seconds: float, silent: tuple[float, float] | None = None) -> Stream:
    """IDs 1 and 2 every 10 and 25 ms; ID 1 says nothing inside ``silent``."""
    rows = [(k * 0.01, 1) for k in range(int(seconds * 100))]
    rows = [r for r in rows if silent is None or not silent[0] <= r[0] < silent[1]]
    rows = sorted(rows + [(k * 0.025 + 0.001, 2) for k in range(int(seconds * 40))])
    n = len(rows)
    return prepare(
        FrameArrays(
            t=np.array([r[0] for r in rows]),
            id=np.array([r[1] for r in rows], np.uint32),
            data=np.zeros((n, 8), np.uint8),
            dlc=np.full(n, 8, np.uint8),
            y=np.zeros(n, np.uint8),
            attack_code=np.full(n, -1, np.int16),
            attack_names=[],
            flags=np.zeros(n, np.uint8),
        )
    )


def scored(stream: Stream, width_s: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    profile = measure([cyclic(5.0)], kind="stream", vehicle="v", source=["c"])
    t0 = np.arange(0.0, float(stream.t_n[-1]) - width_s, width_s)
    score, number = silence(stream, t0, t0 + width_s, profile, CONFIG)
    assert number == 2
    return t0, t0 + width_s, score


def test_traffic_in_its_rhythm_is_not_missed() -> None:
    assert scored(cyclic(3.0))[2].max() < 1.01


def test_a_suppressed_id_is_missed_while_it_is_silent_and_when_it_returns() -> None:
    t0, t1, score = scored(cyclic(3.0, silent=(1.0, 1.5)))
    inside = (t0 >= 1.1) & (t1 <= 1.45)
    assert (score[inside] > 5).all()
    assert score[(t0 < 1.5) & (t1 >= 1.5)].max() == pytest.approx(0.51 / (0.01 * (1 + 1 / 499)), rel=0.03)
    assert score[(t1 < 0.95) | (t0 > 1.55)].max() < 1.01


def test_an_id_that_never_speaks_is_missed_from_the_start() -> None:
    _, t1, score = scored(cyclic(1.0, silent=(0.0, 9.0)))
    assert score[-1] == pytest.approx((t1[-1] - 0.001) / (0.01 * (1 + 1 / 499)), rel=0.02)


def test_an_id_that_sends_by_event_is_never_missed() -> None:
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0, 5, 40))
    stream = prepare(
        FrameArrays(
            t=times,
            id=np.full(40, 7, np.uint32),
            data=np.zeros((40, 8), np.uint8),
            dlc=np.full(40, 8, np.uint8),
            y=np.zeros(40, np.uint8),
            attack_code=np.full(40, -1, np.int16),
            attack_names=[],
            flags=np.zeros(40, np.uint8),
        )
    )
    profile = measure([stream], kind="stream", vehicle="v", source=["c"])
    score, number = silence(cyclic(1.0), np.array([0.0]), np.array([0.9]), profile, CONFIG)
    assert (score.tolist(), number) == ([0.0], 0)


def test_columns_of_the_graphs_are_read_window_by_window(world: TinyWorld) -> None:
    store, got = world.store("test"), from_graphs(world.build_test / "test")
    for i in (0, len(store) // 2, len(store) - 1):
        x = store.gather([i]).x_ND
        assert got["novelty"][i] == x[0, NODE_NAMES.index("window_novel_share")]
        assert got["early"][i] == x[0, NODE_NAMES.index("window_early_share")]
        assert got["payload"][i] == np.abs(x[:, NODE_NAMES.index("payload_change")]).max()


def test_the_stage_scores_both_splits_and_sees_what_each_specialist_is_for(
    world: TinyWorld, tmp_path: Path
) -> None:
    out = output(tmp_path)
    paths = {n: getattr(world, n) for n in ("ingest", "calibrate", "build_train", "build_test")}
    specialists(CONFIG, Inputs(paths), out)
    scores = pl.read_parquet(out.path / "scores.parquet")
    assert set(scores["detector"]) == set(NAMES)
    assert scores["variant"].unique().to_list() == [VARIANT]
    assert set(scores["split"]) == {"val", "test"}

    def separates(detector: str, family: str) -> bool:
        rows = scores.filter(pl.col("split") == "test", pl.col("detector") == detector)
        attack = rows.filter(attack=family)["score"].median()
        benign = rows.filter(y=0)["score"].median()
        return attack > benign + 1e-9  # type: ignore[operator]

    assert separates("novelty", "flooding")
    assert separates("early", "spoofing_gear")
    assert separates("absence", "suppress")
    assert not separates("novelty", "suppress")
