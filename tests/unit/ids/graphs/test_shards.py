"""Captures built in parallel, resumed after a kill, joined to the same bits."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from flow_world import SPLIT, WINDOW, make_flow_world
from graph_cases import bus, flood, inputs, output
from ray_slots import three_slots
from test_builder import CASES, CONFIG, prepared
from waiting import wait_while

from candor.flow.stage import Output
from candor.flow.workers import LocalWorkers
from candor.ids.captures.frames import FrameArrays
from candor.ids.config import GraphConfig
from candor.ids.graphs import flow_graphs, shards
from candor.ids.graphs.builder import build
from candor.ids.graphs.flow_builder import build_flows
from candor.ids.graphs.scaler import Moments
from candor.ids.graphs.shards import Sharing, sharing

ALL = CONFIG.model_copy(update={"splits": ("train", "val", "test"), "profiles": ("auto", "stream")})


@dataclass
class Watched:
    """Workers that remember what they were given, and stop as a killed process would after some parts."""

    stop_after: int | None = None
    given: list[str] = field(default_factory=list)
    at_most: int = 0

    def map(
        self, function: Callable[[Any], Any], items: Sequence[Any], *, at_most: int
    ) -> Iterator[tuple[int, Any]]:
        self.at_most = at_most
        for position, item in enumerate(items):
            if self.stop_after is not None and len(self.given) == self.stop_after:
                raise KeyboardInterrupt
            self.given.append(f"{item.split}/{item.row['capture']}")
            yield position, function(item)


def contents(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def attempt(out: Path, workers: Any, sources: dict[str, Path], config: GraphConfig = ALL) -> Output:
    made = replace(output(out), workers=workers)
    made.scratch.mkdir(exist_ok=True)
    build(config, inputs(**sources), made)
    return made


@pytest.fixture
def through_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is built here counts as much: parts go through the workers of the stage."""
    monkeypatch.setattr(shards, "PARALLEL_ENTRIES", 0)


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    return prepared(tmp_path, CASES)


@pytest.mark.usefixtures("through_workers")
def test_a_killed_build_redoes_only_the_missing_captures_and_gives_the_same_bits(
    tmp_path: Path, sources: dict[str, Path]
) -> None:
    whole = attempt(tmp_path / "whole", first := Watched(), sources)
    with pytest.raises(KeyboardInterrupt):
        attempt(tmp_path / "broken", Watched(stop_after=2), sources)
    resumed = attempt(tmp_path / "broken", again := Watched(), sources)
    assert again.given == first.given[2:]
    assert contents(resumed.path) == contents(whole.path)


@pytest.mark.usefixtures("through_workers")
def test_a_torn_shard_counts_as_missing_and_leaves_nothing_behind(
    tmp_path: Path, sources: dict[str, Path]
) -> None:
    whole = contents(attempt(tmp_path / "whole", Watched(), sources).path)
    with pytest.raises(KeyboardInterrupt):
        attempt(tmp_path / "torn", Watched(stop_after=2), sources)
    shard = tmp_path / "torn-scratch" / "shards" / "train"
    (shard / "free" / "x.npy").write_bytes((shard / "free" / "x.npy").read_bytes()[:600])
    (shard / ".hit.left-by-a-killed-process").mkdir()
    resumed = attempt(tmp_path / "torn", again := Watched(), sources)
    assert "train/free" in again.given
    assert "train/hit" not in again.given
    assert not list((tmp_path / "torn-scratch" / "shards").glob("*/.*"))
    assert contents(resumed.path) == whole


def test_a_shard_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    fsync, rename = os.fsync, os.rename

    def noted(fd: int) -> None:
        synced.add(os.fstat(fd).st_ino)
        fsync(fd)

    def checked(source: Path, target: Path) -> None:
        assert {p.stat().st_ino for p in (source, *source.rglob("*"))} <= synced
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "rename", checked)
    folder = tmp_path / "made-scratch" / "shards" / "train"
    attempt(tmp_path / "made", Watched(), sources)
    assert folder.stat().st_ino in synced


def test_a_shard_that_another_process_published_meanwhile_stays(tmp_path: Path) -> None:
    folder = tmp_path / "train" / "c"
    folder.parent.mkdir()
    with shards.shard_writer(folder, num_node_features=2):
        with shards.shard_writer(folder, num_node_features=2):
            pass
        theirs = folder.stat().st_ino
    assert folder.stat().st_ino == theirs
    assert list(folder.parent.iterdir()) == [folder]


def test_a_small_data_set_pays_for_no_other_process(
    tmp_path: Path, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "PARALLEL_ENTRIES", 10**9)
    attempt(tmp_path / "a", few := Watched(), sources)
    assert few.given == []
    monkeypatch.setattr(shards, "PARALLEL_ENTRIES", 100)
    attempt(tmp_path / "b", many := Watched(), sources, ALL.model_copy(update={"workers": 3}))
    assert many.at_most == 3


@pytest.mark.parametrize(
    ("cores", "given", "expected"),
    [
        (8, {}, Sharing(1, 3, 2)),
        (2, {}, Sharing(1, 2, 1)),
        (8, {"threads": 1}, Sharing(1, 1, 1)),
        (8, {"workers": 1}, Sharing(1, 1, 8)),
        (8, {"window": {"window_frames": 100, "stride_frames": 10}}, Sharing(4, 1, 2)),
        (2, {"window": {"window_frames": 100, "stride_frames": 10}}, Sharing(4, 1, 1)),
        (8, {"splits": ("test",), "window": {"window_frames": 100, "stride_frames": 10}}, Sharing(1, 1, 8)),
        (8, {"workers": 1, "window": {"window_frames": 100, "stride_frames": 10}}, Sharing(1, 1, 8)),
    ],
)
def test_processes_are_for_much_to_build_and_threads_for_the_rest(
    monkeypatch: pytest.MonkeyPatch, cores: int, given: dict[str, Any], expected: Sharing
) -> None:
    monkeypatch.setattr(shards, "PARALLEL_ENTRIES", 5000)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    catalog = pl.DataFrame({"split": ["train"] * 3 + ["test"], "rows": [200, 200, 200, 300]})
    config = GraphConfig.model_validate({"splits": ("train", "val"), **given})
    assert sharing(config, catalog) == expected


def test_captures_built_in_threads_are_those_built_one_after_the_other(
    tmp_path: Path, sources: dict[str, Path]
) -> None:
    one, four = (
        attempt(tmp_path / f"by{n}", LocalWorkers(), sources, ALL.model_copy(update={"threads": n}))
        for n in (1, 4)
    )
    assert contents(four.path) == contents(one.path)


def test_two_processes_build_what_one_builds(
    tmp_path: Path, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = attempt(tmp_path / "one", LocalWorkers(), sources)
    monkeypatch.setattr(shards, "PARALLEL_ENTRIES", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    two = attempt(tmp_path / "two", LocalWorkers(), sources)
    assert contents(two.path) == contents(one.path)


@pytest.mark.slow
@pytest.mark.usefixtures("through_workers")
def test_a_build_killed_without_a_word_goes_on_where_it_was(tmp_path: Path) -> None:
    cases = [replace(CASES[0], name=f"c{i}", frames=_long(i)) for i in range(6)]
    ready = prepared(tmp_path, cases)
    whole = contents(attempt(tmp_path / "whole", Watched(), ready, CONFIG).path)
    script = (
        "import sys, pathlib; sys.path[:0] = sys.argv[1].split(':')\n"
        "from test_shards import attempt, CONFIG\n"
        "from candor.flow.workers import LocalWorkers\n"
        "root = pathlib.Path(sys.argv[2])\n"
        "attempt(root / 'dead', LocalWorkers(), {n: root / n for n in ('ingest', 'calibrate')}, CONFIG)\n"
    )
    here = Path(__file__).parent
    path = f"{here}:{here.parents[2] / 'support'}"
    folder = tmp_path / "dead-scratch" / "shards" / "train"
    with subprocess.Popen([sys.executable, "-c", script, path, str(tmp_path)]) as process:
        wait_while(process, lambda: len(list(folder.glob("c*"))) >= 2, "two captures")
        process.kill()
    built = {f"train/{p.name}" for p in folder.glob("c*")}
    resumed = attempt(tmp_path / "dead", again := Watched(), ready, CONFIG)
    assert len(built) >= 2
    assert not built & set(again.given)
    assert contents(resumed.path) == whole


def _long(seed: int) -> FrameArrays:
    return flood(bus(40.0, seed=seed), 5.0, 6.0)


def test_moments_merged_block_by_block_are_those_of_adding_the_blocks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    blocks = [rng.normal(3, 2, (n, 4)).astype(np.float32) for n in (7, 0, 300, 1)]
    added, merged = Moments(4), Moments(4)
    for block in blocks:
        added.add(block)
        merged.merge(Moments.of(block))
    assert merged.count == added.count == 308
    assert merged.mean.tolist() == added.mean.tolist()
    assert merged.squares.tolist() == added.squares.tolist()


@pytest.mark.usefixtures("through_workers")
def test_captures_are_joined_in_the_order_of_the_catalog_whoever_finishes_first(tmp_path: Path) -> None:
    class Backwards(Watched):
        def map(
            self, function: Callable[[Any], Any], items: Sequence[Any], *, at_most: int
        ) -> Iterator[tuple[int, Any]]:
            yield from ((k, function(items[k])) for k in reversed(range(len(items))))

    ready = prepared(tmp_path, CASES)
    forwards = attempt(tmp_path / "f", Watched(), ready)
    assert contents(attempt(tmp_path / "b", Backwards(), ready).path) == contents(forwards.path)


def test_a_build_without_captures_of_a_split_gives_an_empty_store(tmp_path: Path) -> None:
    ready = prepared(tmp_path, CASES[:2])
    made = attempt(tmp_path / "x", Watched(), ready, ALL.model_copy(update={"splits": ("test",)}))
    assert (made.path / "test" / "meta.json").is_file()


def test_flows_too_are_built_by_two_processes_as_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_flow_world(tmp_path)
    monkeypatch.setattr(shards, "PARALLEL_ENTRIES", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    config = GraphConfig(splits=("train", "val"), window=WINDOW, split=SPLIT)
    assert contents(world.run("again", build_flows, config, "ingest")) == contents(world.done["build_train"])


def test_flow_windows_are_the_same_for_any_number_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_graphs, "BLOCK_ENTRIES", 200)
    world = make_flow_world(tmp_path)
    config = GraphConfig(splits=("train", "val"), window=WINDOW, split=SPLIT)
    made = [
        contents(world.run(f"by{n}", build_flows, config.model_copy(update={"threads": n}), "ingest"))
        for n in (1, 3)
    ]
    assert made[0] == made[1] == contents(world.done["build_train"])


@pytest.mark.slow
@pytest.mark.usefixtures("through_workers")
def test_ray_tasks_build_what_one_process_builds(tmp_path: Path, sources: dict[str, Path]) -> None:
    from candor.executors.ray_workers import RayWorkers

    one = attempt(tmp_path / "one", Watched(), sources)
    with three_slots():
        many = attempt(tmp_path / "many", RayWorkers(), sources, ALL.model_copy(update={"workers": 2}))
    assert contents(many.path) == contents(one.path)
