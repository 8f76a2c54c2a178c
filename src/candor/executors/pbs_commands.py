"""The commands of PBS Professional and OpenPBS: the only place that starts them."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from candor.errors import SchedulerError
from candor.executors.qsub import QSUB, alone, passing
from candor.executors.scheduler import PATIENCE_S, Accounted, Queued, run_command, user
from candor.executors.scripts import Words

log = logging.getLogger(__name__)

_AWAY = re.compile(
    r"cannot connect to server|connection refused|communication failure|premature end of message|timed out|"
    r"server is busy|pbs_iff|no server",
    re.IGNORECASE,
)
#: Said of jobs that ended between two questions; the others are told of all the same.
_GONE = re.compile(r"unknown job id|has finished|request invalid for state of job", re.IGNORECASE)
_AT_ONCE = 200
_UNITS = {"b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3, "tb": 1024**4}

#: One letter of qstat(1B) → the word that is used here.
_STATES = {
    "B": "RUNNING",
    "E": "COMPLETING",
    "H": "PENDING",
    "M": "PENDING",
    "Q": "PENDING",
    "R": "RUNNING",
    "S": "SUSPENDED",
    "T": "PENDING",
    "U": "SUSPENDED",
    "W": "PENDING",
}
#: JOB_EXEC_* of OpenPBS's job.h → how the job ended. Above 256: by that signal.
_EXITS = {-29: "TIMEOUT", -27: "OUT_OF_MEMORY", -26: "OUT_OF_MEMORY", -20: "NODE_FAIL"}
_ABORTED_WITH_ITS_NODE = (-4, -5, -6)
_SIGTERM, _SIGKILL = (256 + 15, 128 + 15), (256 + 9, 128 + 9)


@dataclass(frozen=True)
class Pbs:
    """``patience_s``: for how long a server that does not answer is asked again."""

    patience_s: float = PATIENCE_S

    @property
    def words(self) -> Words:
        """See ``Scheduler``."""
        return QSUB

    def submit(self, script: Path, *, dependency: str = "", element: str = "") -> str:
        """See ``Scheduler``. Not repeated when the answer is lost: the job may be queued."""
        depend = ["-W", f"depend={_depend(dependency)}"] if dependency else []
        text = passing(script.read_text(encoding="utf-8"), os.environ)
        text = alone(text, element) if element else text
        told = self._run(["qsub", *depend], again=False, folder=script.parent, text=text)
        return _canonical(told.split()[-1]) if told.split() else ""

    def queue(self) -> list[Queued]:
        """See ``Scheduler``."""
        found = []
        for job, told in self._jobs("-t", self._run(["qselect", "-u", user()]).split()):
            state = state_of(told)
            if state in _STATES.values():
                name, start = str(told.get("Job_Name", "")), _seconds(told.get("stime"))
                found.append(Queued(job, state, _reason(told, state), name, _nodes(told), start))
        return found

    def nodes(self) -> dict[str, str]:
        """See ``Scheduler``."""
        return parse_nodes(self._run(["pbsnodes", "-a"]))

    def accounting(self, jobs: Collection[str]) -> list[Accounted]:
        """See ``Scheduler``; nothing of jobs that are older than the history that the site keeps."""
        try:
            told = list(self._jobs("-x", [_native(job) for job in sorted(jobs)]))
        except SchedulerError as e:
            log.warning("no accounts: %s", e)
            return []
        return [row for job, values in told if job in jobs for row in accounts(job, values)]

    def cancel(self, jobs: Sequence[str]) -> None:
        """See ``Scheduler``."""
        for first in range(0, len(jobs), _AT_ONCE):
            self._run(["qdel", *map(_native, jobs[first : first + _AT_ONCE])], ignored=_GONE)

    def wait_for(self, job: str, dependency: str) -> None:
        """See ``Scheduler``. What an element waits for, its whole array waits for."""
        self._run(["qalter", "-W", f"depend={_depend(dependency)}", _whole(job)])

    def state(self, job: str) -> str:
        """See ``Scheduler``."""
        rows = self.accounting([job])
        return rows[-1].state if rows else ""

    def own_request(self, job: str) -> tuple[int | None, float | None, int | None]:
        """See ``Scheduler``."""
        rows = self.accounting([job])
        return (rows[-1].memory_bytes, rows[-1].limit_s, rows[-1].cpus) if rows else (None, None, None)

    def _jobs(self, option: str, ids: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for first in range(0, len(ids), _AT_ONCE):
            some = ids[first : first + _AT_ONCE]
            text = self._run(["qstat", option, "-f", "-F", "json", *some], ignored=_GONE)
            for job, values in parse_jobs(text).items():
                if "[]" not in job:
                    yield _canonical(job), values

    def _run(
        self,
        command: Sequence[str],
        *,
        again: bool = True,
        folder: Path | None = None,
        text: str | None = None,
        ignored: re.Pattern[str] | None = None,
    ) -> str:
        patience_s = self.patience_s if again else 0.0
        return run_command(
            command, away=_AWAY, patience_s=patience_s, folder=folder, text=text, ignored=ignored
        )


def parse_jobs(text: str) -> dict[str, dict[str, Any]]:
    """Job → its attributes, from ``qstat -f -F json``. Raises SchedulerError if that is none. Pure."""
    if not text.strip():
        return {}
    try:
        # Variables of a job may hold tabs and line ends.
        told = json.loads(text, strict=False)
    except ValueError as e:
        raise SchedulerError(f"qstat's JSON cannot be read: {e}", place="qstat -f -F json") from e
    return dict(told.get("Jobs") or {}) if isinstance(told, dict) else {}


def state_of(job: Mapping[str, Any]) -> str:
    """Where a job stands, or how it ended, in the words that SLURM has for it. Pure."""
    letter = str(job.get("job_state", ""))
    if letter not in ("F", "X"):
        return _STATES.get(letter, "")
    if "stime" not in job or "Exit_status" not in job:
        return "CANCELLED"  # Deleted before it began, as is what waited for a job that failed.
    code = int(job["Exit_status"])
    asked, used = _asked(job), _used(job)
    limit_s, memory = _clock_s(asked.get("walltime")), _bytes(asked.get("mem"))
    if code == 0:
        return "COMPLETED"
    if code in _EXITS:
        return _EXITS[code]
    if code in _ABORTED_WITH_ITS_NODE:
        return "NODE_FAIL"
    if limit_s and (_clock_s(used.get("walltime")) or 0.0) >= limit_s:
        return "TIMEOUT"
    # A cgroup's limit kills just below it, and PBS looks now and then.
    if code in _SIGKILL and memory and (_bytes(used.get("mem")) or 0) >= 0.95 * memory:
        return "OUT_OF_MEMORY"
    return "CANCELLED" if code in _SIGTERM else "FAILED"


def accounts(job: str, told: Mapping[str, Any]) -> list[Accounted]:
    """What PBS knows of a job. Of a start that was not the last it knows only that there was one. Pure."""
    asked, used, state = _asked(told), _used(told), state_of(told)
    start, over = _seconds(told.get("stime")), state not in _STATES.values()
    last = Accounted(
        job=job,
        state=state,
        exit_code=int(told.get("Exit_status", 0)),
        start=start,
        end=_seconds(told.get("obittime") or told.get("mtime")) if over else None,
        elapsed_s=_clock_s(used.get("walltime")) or 0.0,
        limit_s=_clock_s(asked.get("walltime")),
        cpu_s=_clock_s(used.get("cput")) or 0.0,
        cpus=int(asked.get("ncpus", 1)),
        nodes=_nodes(told),
        memory_bytes=_bytes(asked.get("mem")),
        peak_memory_bytes=_bytes(used.get("mem")) if used else None,
    )
    queued = _seconds(told.get("qtime"))
    if int(told.get("run_count", 1)) < 2 or queued is None or start is None:
        return [last]
    before = {"state": "REQUEUED", "exit_code": 0, "start": queued, "end": start, "elapsed_s": start - queued}
    return [Accounted(**{**last.__dict__, **before, "cpu_s": 0.0, "peak_memory_bytes": None}), last]


def _reason(job: Mapping[str, Any], state: str) -> str:
    if state != "PENDING":
        return ""
    if job.get("depend") and job.get("job_state") == "H":
        return "Dependency"
    return str(job.get("comment") or ("Held" if job.get("job_state") == "H" else ""))


def _nodes(job: Mapping[str, Any]) -> str:
    """``node1/0*8+node2/0`` → ``node1,node2``."""
    return ",".join(dict.fromkeys(x.split("/")[0] for x in str(job.get("exec_host", "")).split("+")))


def parse_nodes(text: str) -> dict[str, str]:
    """Node → its state, from ``pbsnodes -a``: ``idle`` for a free one without jobs, ``down`` if it is that too. Pure."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        key, _, value = line.strip().partition(" = ")
        if line and not line[0].isspace():
            name = line.strip()
        elif key == "state":
            found[name] = "down" if "down" in value else "idle" if value == "free" else value
        elif key == "jobs" and value and found.get(name) == "idle":
            found[name] = "mixed"
    return found


def _asked(job: Mapping[str, Any]) -> Mapping[str, Any]:
    return dict(job.get("Resource_List") or {})


def _used(job: Mapping[str, Any]) -> Mapping[str, Any]:
    return dict(job.get("resources_used") or {})


def _canonical(job: str) -> str:
    """``123[4].server`` → ``123_4``, ``123[].server`` → ``123``."""
    return job.split(".")[0].replace("[]", "").replace("[", "_").rstrip("]")


def _native(job: str) -> str:
    """``123_4`` → ``123[4]``."""
    number, _, element = job.partition("_")
    return f"{number}[{element}]" if element else number


def _whole(job: str) -> str:
    """``123_4`` → ``123[]``: nothing can be said of one element."""
    number, _, element = job.partition("_")
    return f"{number}[]" if element else number


def _depend(dependency: str) -> str:
    kind, *jobs = dependency.split(":")
    return ":".join([kind, *dict.fromkeys(_whole(job) for job in jobs)])


def _seconds(told: object) -> float | None:
    """``Sun Nov 22 14:50:23 2026``, in the time zone of here."""
    text = str(told or "")
    if text.isdigit():
        return float(text)
    try:
        return time.mktime(time.strptime(text, "%a %b %d %H:%M:%S %Y"))
    except ValueError:
        return None


def _clock_s(told: object) -> float | None:
    """``26:27:42``, or seconds."""
    text = str(told if told is not None else "")
    if not re.fullmatch(r"[\d:.]+", text):
        return None
    total = 0.0
    for part in text.split(":"):
        total = 60 * total + float(part or 0)
    return total


def _bytes(told: object) -> int | None:
    """``105132944kb``, or bytes."""
    found = re.fullmatch(r"(\d+)(b|kb|mb|gb|tb)?", str(told if told is not None else "").lower())
    return int(found[1]) * _UNITS[found[2] or "b"] if found else None
