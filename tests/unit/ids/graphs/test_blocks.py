from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from graph_cases import bus, flood

from candor.ids.captures.frame_file import FrameArray
from candor.ids.graphs import blocks
from candor.ids.graphs.calibration import measure
from candor.ids.graphs.kernels import build_windows
from candor.ids.graphs.packed import PackedGraphs
from candor.ids.graphs.stream import prepare, relate

WIDTH = 20


@pytest.fixture(params=[1, 2])
def both(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[Iterator[PackedGraphs], PackedGraphs]:
    """Many small blocks of a capture, and the same windows in one piece."""
    monkeypatch.setattr(blocks, "BLOCK_ENTRIES", 100)
    frames = flood(bus(2.0), 0.3, 0.9)
    stream = prepare(frames)
    profile = measure([prepare(bus(2.0, seed=9))], kind="attack_free", vehicle="v", source=["c"])
    relative = relate(stream, profile)
    start = np.arange(0, len(stream) - WIDTH, WIDTH)
    made = blocks.build_blocks(FrameArray(frames), profile, (start, start + WIDTH), threads=request.param)
    return (graphs for _, graphs in made), build_windows(stream, relative, start, window_frames=WIDTH)


def _joined(name: str, kept: list[PackedGraphs]) -> npt.NDArray[Any]:
    return np.concatenate([getattr(graphs, name) for graphs in kept], axis=int(name == "edge_index_2E"))


def test_blocks_that_are_kept_are_not_overwritten_by_later_ones(
    both: tuple[Iterator[PackedGraphs], PackedGraphs],
) -> None:
    kept, whole = list(both[0]), both[1]
    assert len(kept) > 10
    for field in fields(PackedGraphs):
        joined = _joined(field.name, kept)
        np.testing.assert_array_equal(joined, getattr(whole, field.name), err_msg=field.name)


def test_blocks_that_are_let_go_leave_their_memory_to_later_ones(
    both: tuple[Iterator[PackedGraphs], PackedGraphs],
) -> None:
    blocks_made, whole = both
    used, seen, nodes = [], 0, 0
    for graphs in blocks_made:
        used.append(graphs.x_ND.ctypes.data)
        here = slice(nodes, nodes + len(graphs.x_ND))
        np.testing.assert_array_equal(graphs.x_ND, whole.x_ND[here])
        seen, nodes = seen + len(graphs), nodes + len(graphs.x_ND)
    assert seen == len(whole)
    assert len(set(used)) < len(used) / 2
