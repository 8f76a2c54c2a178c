from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from waiting import LIMIT_S

from candor.flow.locks import is_free, key_lock, remove_lock

HOLDER = """
import os, sys, time
from pathlib import Path
from candor.flow.locks import key_lock
with key_lock(Path(sys.argv[1])):
    worker = os.fork()
    if worker == 0:
        os.setsid()
        time.sleep(600)
        os._exit(0)
    print(worker, flush=True)
    time.sleep(600)
"""
#: Holds the lock until its standard input ends.
PATIENT = """
import sys
from pathlib import Path
from candor.flow.locks import key_lock
with key_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_is_free_after_it_was_held(tmp_path: Path) -> None:
    path = tmp_path / "a b/k.lock"
    assert is_free(path)
    with key_lock(path):
        assert not is_free(path)
        assert str(os.getpid()) in path.read_text()
    assert is_free(path)


def test_a_second_process_waits_and_is_told_who_holds(tmp_path: Path) -> None:
    path, told = tmp_path / "k.lock", []
    with subprocess.Popen(
        [sys.executable, "-c", PATIENT, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()

        def let_go(who: str) -> None:
            told.append(who)
            holder.stdin.close()  # type: ignore[union-attr]

        with key_lock(path, on_wait=let_go):
            assert holder.wait(LIMIT_S) == 0
    assert told == [f"process {holder.pid}"]


def test_a_killed_holder_frees_the_lock_though_its_forked_worker_lives_on(tmp_path: Path) -> None:
    path = tmp_path / "k.lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        worker = int(holder.stdout.readline())
        assert not is_free(path)
        holder.send_signal(signal.SIGKILL)
        holder.stdout.close()
        holder.wait(LIMIT_S)
        with key_lock(path):
            os.kill(worker, signal.SIGKILL)  # It was there still, or this would raise.


def test_a_lock_that_is_held_cannot_be_removed(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with key_lock(path):
        assert not remove_lock(path)
    assert remove_lock(path)
    assert not remove_lock(path)


def test_whoever_waited_for_a_lock_file_that_was_removed_holds_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    waits, entered, seen = (threading.Event() for _ in range(3))

    def wait() -> None:
        with key_lock(path, on_wait=lambda _: waits.set()):
            entered.set()
            seen.wait(LIMIT_S)

    with key_lock(path):
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert waits.wait(LIMIT_S)
        path.unlink()  # As a clean-up of another version might.
    assert entered.wait(LIMIT_S)
    assert not is_free(path)
    seen.set()
    waiting.join()
