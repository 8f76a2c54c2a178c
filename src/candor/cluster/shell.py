"""Runs a script of bash here or on another machine: the only thing that the checks of ``candor cluster doctor`` need."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

#: What ssh itself ends with when it does not get through.
SSH_FAILED = 255
TIMED_OUT = 124


@dataclass(frozen=True)
class Ran:
    """How a script ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """The last line it printed, of its errors if there are any."""
        lines = [line.strip() for line in (self.err.strip() or self.out.strip()).splitlines() if line.strip()]
        return lines[-1] if lines else f"exit code {self.code}"


class Shell(Protocol):
    """Runs scripts."""

    def __call__(self, script: str, *, timeout_s: float = 60.0) -> Ran:
        """Run ``script``; one that takes too long ends with TIMED_OUT."""


@dataclass(frozen=True)
class LocalShell:
    """bash of this machine."""

    argv: Sequence[str] = field(default=("bash", "-s"))

    def __call__(self, script: str, *, timeout_s: float = 60.0) -> Ran:
        """See Shell."""
        try:
            process = subprocess.Popen(
                self.argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except FileNotFoundError:
            return Ran(127, "", f"there is no command '{self.argv[0]}' here")
        with process:
            try:
                out, err = process.communicate(script, timeout=timeout_s)
            except subprocess.TimeoutExpired:
                # What the script started hangs on to the pipes, and must go with it.
                os.killpg(process.pid, signal.SIGKILL)
                out, err = process.communicate()
                return Ran(TIMED_OUT, out, f"{err.strip()}\nno answer within {timeout_s:.0f} s".strip())
        return Ran(process.returncode, out, err)


def ssh_options(*, connect_timeout_s: int = 15) -> list[str]:
    """Words after ``ssh``: never ask a question, and notice when the other end is gone."""
    alive = ["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"]
    return ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={connect_timeout_s}", *alive]


def ssh_shell(host: str, command: str = "ssh") -> LocalShell:
    """A login shell on ``host``, as ssh's own configuration knows it.

    Args:
        command: ssh with options of the person's own, e.g. ``ssh -p 2222``.
    """
    return LocalShell((*shlex.split(command), *ssh_options(), "--", host, "bash -l -s"))
