"""Parts of a stage in parallel."""

from __future__ import annotations

import os
import threading

import pytest
from waiting import LIMIT_S

from candor.errors import DataError
from candor.flow.workers import LocalWorkers, ThreadWorkers, Workers


def square(number: int) -> int:
    return number * number


def process(_: int) -> int:
    return os.getpid()


def refuse(number: int) -> int:
    if number == 2:
        raise DataError("two is refused", place="here")
    return number


KINDS: list[Workers] = [LocalWorkers(), ThreadWorkers()]


@pytest.mark.parametrize("workers", KINDS)
@pytest.mark.parametrize("at_most", [1, 2])
def test_every_item_gives_one_result_with_its_position(workers: Workers, at_most: int) -> None:
    assert dict(workers.map(square, [3, 1, 2], at_most=at_most)) == {0: 9, 1: 1, 2: 4}


def test_one_at_a_time_needs_no_other_process() -> None:
    assert dict(LocalWorkers().map(process, [0, 0], at_most=1)) == {0: os.getpid(), 1: os.getpid()}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_several_at_a_time_run_in_other_processes() -> None:
    found = dict(LocalWorkers().map(process, [0, 0], at_most=2)).values()
    assert os.getpid() not in found


def test_threads_run_at_once_in_this_process() -> None:
    met = threading.Barrier(2, timeout=LIMIT_S)

    def meet(_: int) -> int:
        met.wait()
        return os.getpid()

    assert dict(ThreadWorkers().map(meet, [0, 0], at_most=2)) == {0: os.getpid(), 1: os.getpid()}


@pytest.mark.parametrize("workers", KINDS)
@pytest.mark.parametrize("at_most", [1, 2])
def test_a_failure_arrives_as_it_was(workers: Workers, at_most: int) -> None:
    with pytest.raises(DataError, match="two is refused"):
        list(workers.map(refuse, [1, 2, 3], at_most=at_most))


@pytest.mark.parametrize("workers", KINDS)
def test_no_items_give_no_results(workers: Workers) -> None:
    assert list(workers.map(square, [], at_most=2)) == []
