"""Parts of a stage as Ray tasks, on a real Ray of this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray_parts import Note, note, process, refuse, square
from ray_slots import three_slots

from candor.errors import DataError, StageFailed
from candor.executors.ray_workers import RayWorkers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with three_slots():
        yield


@pytest.mark.parametrize("at_most", [1, 2, 9])
def test_every_item_gives_one_result_with_its_position(at_most: int) -> None:
    assert dict(RayWorkers().map(square, [3, 1, 2], at_most=at_most)) == {0: 9, 1: 1, 2: 4}


def test_one_at_a_time_needs_no_other_process() -> None:
    assert dict(RayWorkers().map(process, [None, None], at_most=1)) == {0: os.getpid(), 1: os.getpid()}


def test_several_at_a_time_run_in_other_processes(tmp_path: Path) -> None:
    found = set(dict(RayWorkers().map(process, [tmp_path, tmp_path], at_most=2)).values())
    assert len(found) == 2
    assert os.getpid() not in found


def test_no_more_than_at_most_run_at_a_time(tmp_path: Path) -> None:
    both = ("p0.begun", "p1.begun")
    parts = [Note(tmp_path, f"p{i}", after=both, duration_s=0.2) for i in range(5)]
    list(RayWorkers().map(note, parts, at_most=2))
    spans = [
        tuple(float((tmp_path / f"{p.name}.{end}").read_text()) for end in ("begun", "ended")) for p in parts
    ]
    at_once = max(sum(begun <= moment < ended for begun, ended in spans) for moment, _ in spans)
    assert at_once == 2


def test_results_come_as_they_are_ready(tmp_path: Path) -> None:
    results = RayWorkers().map(
        note, [Note(tmp_path, "slow", after=("go",)), Note(tmp_path, "quick")], at_most=2
    )
    assert next(results) == (1, "quick")
    (tmp_path / "go").touch()
    assert list(results) == [(0, "slow")]


def test_a_failure_arrives_as_it_was() -> None:
    with pytest.raises(DataError, match="two is refused") as told:
        list(RayWorkers().map(refuse, [1, 2, 3], at_most=2))
    assert type(told.value) is DataError
    assert str(told.value) == "two is refused (here)."


def test_after_a_failure_nothing_begins_and_nothing_goes_on(tmp_path: Path) -> None:
    parts = [
        Note(tmp_path, "long", duration_s=600),
        Note(tmp_path, "bad", fail=True),
        Note(tmp_path, "later"),
    ]
    begin = time.monotonic()
    with pytest.raises(DataError):
        list(RayWorkers().map(note, parts, at_most=2))
    assert time.monotonic() - begin < 300
    assert (tmp_path / "bad.attempts").read_text().count("\n") == 1
    assert not (tmp_path / "later.begun").exists()
    assert not (tmp_path / "long.ended").exists()


def test_whoever_stops_listening_stops_the_parts(tmp_path: Path) -> None:
    parts = [Note(tmp_path, "first"), *(Note(tmp_path, f"long{i}", duration_s=600) for i in range(3))]
    results = RayWorkers().map(note, parts, at_most=3)
    assert next(iter(results)) == (0, "first")
    begin = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begin < 300
    assert not list(tmp_path.glob("long*.ended"))


def test_a_part_whose_worker_was_killed_is_done_again(tmp_path: Path) -> None:
    parts = [Note(tmp_path, "unlucky", die_before=1), Note(tmp_path, "other")]
    assert sorted(name for _, name in RayWorkers().map(note, parts, at_most=2)) == ["other", "unlucky"]
    assert (tmp_path / "unlucky.attempts").read_text().count("\n") == 2


def test_a_part_that_kills_every_worker_is_an_error_that_says_so(tmp_path: Path) -> None:
    parts = [Note(tmp_path, "deadly", die_before=99), Note(tmp_path, "other")]
    with pytest.raises(StageFailed, match="part 1 of 2 was lost 2 times"):
        list(RayWorkers(max_retries=1).map(note, parts, at_most=2))


def test_parts_find_room_while_the_task_that_waits_for_them_holds_all_processors() -> None:
    @ray.remote(num_cpus=3)
    def stage() -> dict[int, int]:
        return dict(RayWorkers().map(square, [1, 2, 3], at_most=3))

    assert ray.get(stage.remote(), timeout=300) == {0: 1, 1: 4, 2: 9}
