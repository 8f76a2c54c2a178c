"""Parts of a stage in parallel."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from waiting import LIMIT_S, wait_until, wait_while

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


#: Four parts, of which two at a time note their process and stay.
KILLED = """
import os, sys, time
from pathlib import Path
from candor.flow.workers import LocalWorkers

def stay(name):
    (Path(sys.argv[1]) / f"{name}.part").write_text(str(os.getpid()))
    os.rename(Path(sys.argv[1]) / f"{name}.part", Path(sys.argv[1]) / f"{name}.pid")
    time.sleep(600)

if __name__ == "__main__":
    list(LocalWorkers().map(stay, ["a", "b", "c", "d"], at_most=2))
"""


def has_ended(pid: int) -> bool:
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        )  # Whom nobody waits for.
    except OSError:
        return True


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_processes_end_with_the_one_that_started_them_though_it_was_killed(tmp_path: Path) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    with subprocess.Popen([sys.executable, tmp_path / "killed.py", tmp_path]) as parent:
        wait_while(parent, lambda: len(list(tmp_path.glob("*.pid"))) == 2, "two parts")
        parent.kill()
    workers = [int(path.read_text()) for path in tmp_path.glob("*.pid")]
    wait_until(lambda: all(map(has_ended, workers)), "the end of both")
    assert len(list(tmp_path.glob("*.pid"))) == 2


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
