"""Facts about processes and code: peak memory, whether a recorded process still lives, the code version."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import socket
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path

import candor
from candor.config.base import Config


class ProcessId(Config):
    """A process, told apart from a later one with the same number.

    Attributes:
        host: machine name.
        pid: process number.
        started: boot ID and start time in clock ticks since boot; empty where /proc is missing.
    """

    host: str
    pid: int
    started: str

    @classmethod
    def current(cls) -> ProcessId:
        """This process."""
        return cls(host=socket.gethostname(), pid=os.getpid(), started=_started(os.getpid()))

    def is_alive(self) -> bool:
        """False if the process certainly ended; a process of another machine counts as alive."""
        if self.host != socket.gethostname():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return not self.started or _started(self.pid) == self.started


def _started(pid: int) -> str:
    """Boot ID and start tick of a process; a zombie has ended and yields an empty text."""
    with suppress(OSError):
        # The name, in parentheses, may hold spaces; the state follows it, and the start time is field 22.
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return "" if stat[0] in "ZX" else f"{boot}:{stat[19]}"
    return ""


def reset_peak_memory() -> None:
    """Start the high-water mark of this process anew (Linux; elsewhere it covers the whole life)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_bytes() -> int:
    """High-water mark of this process's resident memory since the last reset, bytes."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


#: Collecting takes some tenths of a second once torch is loaded: not worth it after a task that took no longer.
_WORTH_S = 2.0


def give_back_memory(duration_s: float | None) -> None:
    """Free what a task that took ``duration_s`` has left in this process, for the next one.

    Trainers and memory-mapped stores refer to themselves, and wait for a collection that numpy's and torch's few, large
    objects hardly ever bring about; and the C library keeps what was freed. Measured on hcrl_sa, three seeds: resident
    memory grew by some 37 MB a training, from 1.1 to 1.5 GB over 18 of them; so, it is 0.7 GB after each.
    """
    if duration_s is None or duration_s < _WORTH_S:
        return
    gc.collect()
    with suppress(OSError, AttributeError):  # glibc only.
        ctypes.CDLL("libc.so.6").malloc_trim(0)


#: Names the code for processes that cannot ask its repository: set by who sends them there.
CODE_VERSION = "CANDOR_CODE_VERSION"


def code_version() -> str:
    """``CANDOR_CODE_VERSION`` if set, else the git commit of the code (``-dirty`` if it differs), else the package version."""
    return os.environ.get(CODE_VERSION) or _code_version()


@cache
def _code_version() -> str:
    package = Path(candor.__file__).parent
    git = ["git", "-C", str(package)]
    with suppress(OSError, subprocess.SubprocessError):
        # Installed into an environment inside someone else's repository, the package is no part of it.
        subprocess.run(
            [*git, "ls-files", "--error-unmatch", "__init__.py"], check=True, capture_output=True, timeout=5
        )
        told = subprocess.run(
            [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            check=True,
            capture_output=True,
            text=True,
            timeout=5,
        )
        return told.stdout.strip()
    return candor.__version__
