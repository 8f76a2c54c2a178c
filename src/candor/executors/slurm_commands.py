"""The commands of SLURM: the only place that starts them."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from candor.errors import SchedulerError
from candor.executors.sbatch import SBATCH
from candor.executors.scheduler import PATIENCE_S, Accounted, Queued, run_command, user
from candor.executors.scripts import Words

log = logging.getLogger(__name__)

#: What SLURM says when it is the controller, and not the request, that is in trouble.
_AWAY = re.compile(
    r"unable to contact slurm controller|connection refused|timed out|socket|slurm_load_jobs error: Zero Bytes|"
    r"not responding|DBD_|temporarily unable|could not connect|unexpected message",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Slurm:
    """``patience_s``: for how long a controller that does not answer is asked again."""

    patience_s: float = PATIENCE_S

    @property
    def words(self) -> Words:
        """See ``Scheduler``."""
        return SBATCH

    def submit(self, script: Path, *, dependency: str = "", element: str = "") -> str:
        """See ``Scheduler``. Not repeated when the answer is lost: the job may be queued."""
        more = [f"--dependency={dependency}"] if dependency else []
        more += [f"--array={element}"] if element else []
        told = self._run(
            ["sbatch", "--parsable", f"--chdir={script.parent}", *more, str(script)], again=False
        )
        job = told.strip().split(";")[0]
        return f"{job}_{element}" if element else job

    def queue(self) -> list[Queued]:
        """Every job of this user that waits or runs, arrays by element."""
        told = self._run(
            ["squeue", "--noheader", "--array", f"--user={user()}", "--format=%i|%T|%r|%N|%S|%j"]
        )
        found = []
        for line in told.splitlines():
            job, state, reason, nodes, start, name = line.split("|", 5)
            found.append(Queued(job, state, reason, name, nodes, _seconds(start)))
        return found

    def nodes(self) -> dict[str, str]:
        """See ``Scheduler``."""
        told = self._run(["sinfo", "--all", "--noheader", "--Node", "--format=%N|%T"])
        return dict(line.strip().split("|", 1) for line in told.splitlines() if "|" in line)

    def accounting(self, jobs: Collection[str]) -> list[Accounted]:
        """What is known of jobs that ended or run, each job's incarnations in order; nothing where a site keeps no accounts."""
        if not jobs:
            return []
        # A whole array is asked for at once: an element that never began has no row of its own.
        ids = sorted({job.split("_")[0] for job in jobs})
        try:
            told = self._run(
                [
                    "sacct",
                    "--noheader",
                    "--parsable2",
                    "--duplicates",
                    f"--jobs={','.join(ids)}",
                    f"--format={_FIELDS}",
                ]
            )
        except SchedulerError as e:
            log.warning("no accounts: %s", e)
            return []
        return parse_accounts(told, jobs)

    def cancel(self, jobs: Sequence[str]) -> None:
        """End jobs, whatever their state."""
        for first in range(0, len(jobs), 200):
            self._run(["scancel", *jobs[first : first + 200]])

    def wait_for(self, job: str, dependency: str) -> None:
        """Let a waiting job wait for something else; for nothing if ``dependency`` is empty."""
        self._run(["scontrol", "update", f"JobId={job}", f"Dependency={dependency}"])

    def state(self, job: str) -> str:
        """State of a job by the controller's memory, which lasts minutes; empty if it forgot it."""
        try:
            told = self._run(["scontrol", "--oneliner", "show", "job", job])
        except SchedulerError:
            return ""
        found = re.search(r"\bJobState=(\w+)", told)
        return found[1] if found else ""

    def own_request(self, job: str) -> tuple[int | None, float | None, int | None]:
        """What the job that this process runs in reserved: memory on this node in bytes, time in s, processors."""
        cpus = int(os.environ.get("SLURM_CPUS_ON_NODE", "0")) or None
        per_node, per_cpu = (os.environ.get(f"SLURM_MEM_PER_{what}", "") for what in ("NODE", "CPU"))
        memory = _bytes(per_node + "M") or ((_bytes(per_cpu + "M") or 0) * (cpus or 0) or None)
        try:
            limit = self._run(["squeue", "--noheader", f"--jobs={job}", "--format=%l"]).strip()
        except SchedulerError:
            limit = ""
        return memory, _clock_s(limit) if re.fullmatch(r"[\d:-]+", limit) else None, cpus

    def _run(self, command: Sequence[str], *, again: bool = True) -> str:
        return run_command(
            command,
            away=_AWAY,
            patience_s=self.patience_s if again else 0.0,
            environment={"SLURM_TIME_FORMAT": "%s"},
        )


_FIELDS = (
    "JobID,State,ExitCode,Start,End,ElapsedRaw,TimelimitRaw,CPUTimeRAW,NCPUS,NodeList,ReqMem,MaxRSS,TotalCPU"
)
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def parse_accounts(text: str, jobs: Collection[str]) -> list[Accounted]:
    """``sacct``'s rows of ``jobs``; the memory of a job is that of its largest step. Pure."""
    found: list[Accounted] = []
    latest: dict[str, int] = {}
    wanted = set(jobs)
    for line in text.splitlines():
        row = dict(zip(_FIELDS.split(","), line.split("|"), strict=True))
        job, _, step = row["JobID"].partition(".")
        if job not in wanted:
            continue
        if step:
            # Steps follow their job; with duplicates, those of one incarnation begin no earlier than it.
            at, peak = latest.get(job), _bytes(row["MaxRSS"])
            if at is not None and peak:
                before = found[at]
                more = max(peak, before.peak_memory_bytes or 0)
                found[at] = Accounted(**{**before.__dict__, "peak_memory_bytes": more})
            continue
        cpus = int(row["NCPUS"] or 1)
        limit = row["TimelimitRaw"]
        found.append(
            Accounted(
                job=job,
                state=row["State"].split(" ")[0],
                exit_code=int(row["ExitCode"].split(":")[0] or 0),
                start=_seconds(row["Start"]),
                end=_seconds(row["End"]),
                elapsed_s=float(row["ElapsedRaw"] or 0),
                limit_s=60.0 * int(limit) if limit.isdigit() else None,
                cpu_s=_clock_s(row["TotalCPU"]),
                cpus=cpus,
                nodes=row["NodeList"],
                memory_bytes=_asked(row["ReqMem"], cpus),
                peak_memory_bytes=None,
            )
        )
        latest[job] = len(found) - 1
    return found


def _seconds(text: str) -> float | None:
    return float(text) if text.isdigit() else None


def _clock_s(text: str) -> float:
    """``1-02:03:04``, ``02:03.456`` → s."""
    days, _, clock = text.rpartition("-")
    total = 0.0
    for part in clock.split(":"):
        total = 60 * total + float(part or 0)
    return total + 86400 * int(days or 0)


def _bytes(text: str) -> int | None:
    found = re.fullmatch(r"([0-9.]+)([KMGT]?)", text)
    return round(float(found[1]) * _UNITS[found[2]]) if found else None


def _asked(text: str, cpus: int) -> int | None:
    """``4000M``; older versions add ``c`` (per processor) or ``n`` (per node)."""
    per_cpu = text.endswith("c")
    amount = _bytes(text.rstrip("cn"))
    return amount * cpus if amount and per_cpu else amount
