"""SIGTERM ends a task like Ctrl-C does: recorded, resumable."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: An interruption that nobody heard comes again after so long.
_AGAIN_S = 0.05


@contextmanager
def stop_on_sigterm() -> Iterator[None]:
    """Turn SIGTERM into KeyboardInterrupt while inside; the old handlers are back afterwards.

    A second SIGTERM is ignored: a scheduler sends it to the script and to every process, and it would end the writing of
    the record. The handler for SIGINT is put back too, since Lightning ignores SIGINT for good once it has seen one. Only the
    main thread may set handlers; elsewhere this does nothing.

    Python drops what is raised while an object is finalised or in a callback of the garbage collector, and training has many
    of those: an interruption that fell into one comes again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()
    dropping = False

    def stop(signum: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # A forked worker inherited this handler; for it SIGTERM just means the end.
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            return
        if dropping:  # In the hook below it would be dropped too.
            threading.Timer(_AGAIN_S, _interrupt).start()
            return
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt("SIGTERM")

    def unheard(dropped: sys.UnraisableHookArgs) -> None:
        nonlocal dropping
        here = os.getpid() == owner and threading.current_thread() is threading.main_thread()
        if dropped.exc_type is KeyboardInterrupt and here:
            dropping = True
            signal.signal(signal.SIGTERM, stop)
            threading.Timer(_AGAIN_S, _interrupt).start()
            dropping = False
        else:
            old_hook(dropped)

    old_term, old_int = signal.signal(signal.SIGTERM, stop), signal.getsignal(signal.SIGINT)
    old_hook, sys.unraisablehook = sys.unraisablehook, unheard
    try:
        yield
    finally:
        sys.unraisablehook = old_hook
        signal.signal(signal.SIGTERM, old_term)
        signal.signal(signal.SIGINT, old_int)


def _interrupt() -> None:
    """Send the main thread a signal, unless nobody catches it any more.

    Not ``_thread.interrupt_main``, which only leaves a note: a thread that waits, for a lock, a process or a time, would not
    look at it before it has what it waits for.
    """
    main = threading.main_thread().ident
    if main is not None and callable(signal.getsignal(signal.SIGTERM)):
        signal.pthread_kill(main, signal.SIGTERM)
