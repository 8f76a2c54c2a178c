"""What the executor asks of a cluster's scheduler, whichever it is, and how a command of one is run."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from candor.errors import SchedulerError
from candor.executors.scripts import Words

#: A busy controller answers late; a restarted one not at all for a while.
_COMMAND_TIMEOUT_S = 60.0
PATIENCE_S = 600.0
#: Names the scheduler where both have commands; job scripts set it.
SCHEDULER_VARIABLE = "CANDOR_SCHEDULER"


@dataclass(frozen=True)
class Queued:
    """A job, or one element of an array, that has not ended.

    Attributes:
        reason: why it waits, in the scheduler's words.
        nodes: where it runs, maybe abbreviated as SLURM does. start: when it began to, seconds since 1970.
    """

    job: str
    state: str
    reason: str
    name: str
    nodes: str = ""
    start: float | None = None


@dataclass(frozen=True)
class Accounted:
    """One incarnation of a job as the accounting knows it; a requeued job has several. Times in seconds since 1970.

    Attributes:
        memory_bytes: asked for; peak_memory_bytes: of its largest step, as the scheduler sampled it.
    """

    job: str
    state: str
    exit_code: int
    start: float | None
    end: float | None
    elapsed_s: float
    limit_s: float | None
    cpu_s: float
    cpus: int
    nodes: str
    memory_bytes: int | None
    peak_memory_bytes: int | None


class Scheduler(Protocol):
    """The jobs of this user. A job is ``123``, an element of an array ``123_4``, whatever the scheduler writes.

    Every method raises SchedulerError if the scheduler refuses, or does not answer for too long.
    """

    @property
    def words(self) -> Words:
        """What it calls things in scripts."""

    def submit(self, script: Path, *, dependency: str = "", element: str = "") -> str:
        """Queue a script, its output beside it; the job's ID.

        Args:
            dependency: ``afterok:1:2_3``; ``aftercorr:4`` where ``words.pairs``.
            element: submit only this element of the script's array.
        """

    def queue(self) -> list[Queued]:
        """Every job of this user that waits or runs, arrays by element."""

    def nodes(self) -> dict[str, str]:
        """Node → its state in SLURM's words, e.g. ``mixed*``; the star: it does not respond."""

    def accounting(self, jobs: Collection[str]) -> list[Accounted]:
        """What is known of jobs that ended or run, each job's incarnations in order."""

    def cancel(self, jobs: Sequence[str]) -> None:
        """End jobs, whatever their state."""

    def wait_for(self, job: str, dependency: str) -> None:
        """Let a waiting job wait for something else; for nothing if ``dependency`` is empty."""

    def state(self, job: str) -> str:
        """State of a job that may have ended a moment ago; empty if nobody remembers it."""

    def own_request(self, job: str) -> tuple[int | None, float | None, int | None]:
        """What the job that this process runs in reserved: memory on this node in bytes, time in s, processors."""


def scheduler_here(patience_s: float = PATIENCE_S) -> Scheduler:
    """The scheduler whose commands are here, for whoever is not told one: SLURM if in doubt."""
    from candor.executors.pbs_commands import Pbs
    from candor.executors.slurm_commands import Slurm

    told = os.environ.get(SCHEDULER_VARIABLE)
    pbs = told == "pbs" if told else not shutil.which("sbatch") and bool(shutil.which("qstat"))
    return Pbs(patience_s) if pbs else Slurm(patience_s)


def scheduler_named(name: str) -> Scheduler:
    """``slurm`` or ``pbs``."""
    from candor.executors.pbs_commands import Pbs
    from candor.executors.slurm_commands import Slurm

    return Pbs() if name == "pbs" else Slurm()


def run_command(
    command: Sequence[str],
    *,
    away: re.Pattern[str],
    patience_s: float,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    text: str | None = None,
    ignored: re.Pattern[str] | None = None,
) -> str:
    """What a command of a scheduler prints.

    Args:
        away: what it says when it is the scheduler, and not the request, that is in trouble.
        patience_s: for how long such a scheduler is asked again; 0: never.
        folder: where it runs. text: what it reads.
        ignored: complaints with which what it printed counts all the same.

    Raises SchedulerError if it is not there, refuses, or does not answer.
    """
    until, pause_s = time.monotonic() + patience_s, 1.0
    while True:
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=_COMMAND_TIMEOUT_S,
                env={**os.environ, **(environment or {}), "LC_ALL": "C.UTF-8"},
                cwd=folder,
                input=text,
            )
        except FileNotFoundError as e:
            raise SchedulerError(
                f"there is no command '{command[0]}' here",
                hint="Submit from a login node of the cluster, or use `--on inline` or `--on ray`.",
            ) from e
        except subprocess.TimeoutExpired:
            fact = f"no answer within {_COMMAND_TIMEOUT_S:.0f} s"
        else:
            fact = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
            if done.returncode == 0 or (ignored and ignored.search(fact)):
                return done.stdout
            if not away.search(fact):
                raise SchedulerError(f"{command[0]}: {fact.rstrip('.')}", place=" ".join(command))
        if time.monotonic() + pause_s > until:
            raise SchedulerError(f"the scheduler does not answer: {fact.rstrip('.')}", place=command[0])
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 30.0)


def user() -> str:
    """Name of who submits."""
    return getpass.getuser()
