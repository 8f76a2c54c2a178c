from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest
from waiting import LIMIT_S

from candor.executors.signals import stop_on_sigterm


def test_sigterm_interrupts_and_the_old_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    def work() -> None:
        with stop_on_sigterm():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # As Lightning leaves it.
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


class _Finalised:
    """A signal comes while it is finalised."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self.number)
        for _ in range(1000):  # The handler runs between two instructions.
            pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interruption_that_python_drops_comes_again(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("candor.executors.signals._AGAIN_S", 1.0)  # Time enough to go on.
    hook = sys.unraisablehook
    went_on = []

    def work() -> None:
        with stop_on_sigterm():
            _Finalised(number)
            went_on.append(True)
            time.sleep(LIMIT_S)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        work()
    assert went_on
    assert time.monotonic() - began < LIMIT_S / 2  # It did not wait for the end of the sleep.
    assert sys.unraisablehook is hook


def test_an_interruption_that_comes_again_while_the_first_is_dropped_comes_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Slow(threading.Timer):
        """The second is there before the first is dealt with."""

        def start(self) -> None:
            super().start()
            if not begun:
                begun.append(True)
                time.sleep(0.2)

    begun: list[bool] = []
    monkeypatch.setattr(threading, "Timer", Slow)

    def work() -> None:
        with stop_on_sigterm():
            _Finalised(signal.SIGINT)
            time.sleep(10)

    with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        work()
    assert begun


def test_a_forked_worker_simply_ends() -> None:
    with stop_on_sigterm():
        pid = os.fork()
        if pid == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGTERM


def test_other_threads_are_left_alone() -> None:
    seen: list[object] = []

    def work() -> None:
        with stop_on_sigterm():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
