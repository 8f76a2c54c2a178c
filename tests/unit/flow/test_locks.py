from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from candor.flow.locks import is_free, key_lock, remove_lock

HOLDER = """
import os, sys, time
from pathlib import Path
from candor.flow.locks import key_lock
with key_lock(Path(sys.argv[1])):
    if os.fork() == 0:
        os.setsid()
        time.sleep(float(sys.argv[2]))
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
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
    script = "import sys,time\nfrom pathlib import Path\nfrom candor.flow.locks import key_lock\nwith key_lock(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(0.5)"
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with key_lock(path, on_wait=told.append):
            assert holder.wait(5) == 0
    assert told == [f"process {holder.pid}"]


def test_a_killed_holder_frees_the_lock_though_its_forked_worker_lives_on(tmp_path: Path) -> None:
    path = tmp_path / "k.lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path), "5"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert not is_free(path)
        holder.send_signal(signal.SIGKILL)
        holder.stdout.close()
        holder.wait(5)
        since = time.monotonic()
        with key_lock(path):
            assert time.monotonic() - since < 2


def test_a_lock_that_is_held_cannot_be_removed(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with key_lock(path):
        assert not remove_lock(path)
    assert remove_lock(path)
    assert not remove_lock(path)


def test_whoever_waited_for_a_lock_file_that_was_removed_holds_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    entered = threading.Event()

    def wait() -> None:
        with key_lock(path):
            entered.set()
            time.sleep(0.3)

    with key_lock(path):
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.2)
        path.unlink()  # As a clean-up of another version might.
    assert entered.wait(5)
    assert not is_free(path)
    waiting.join()
