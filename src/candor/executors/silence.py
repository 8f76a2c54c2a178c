"""Jobs that SLURM calls running and of which nothing is heard: their node died, or SLURM lost their end.

The script of every job adds a sample of its node's use to a file in the run's folder every 15 s
(``scripts.SAMPLER``). That file is a sign of life which needs neither SLURM nor the stage. A file that has not grown says
little alone, since the disk may be full or slow; together with SLURM's own word on the node it is enough to do the task
elsewhere. The other way round it holds too: a node that SLURM cannot reach, and whose jobs still write, is left alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from candor.errors import SchedulerError
from candor.executors import ledger
from candor.executors.job_ends import hosts
from candor.executors.resubmit import resubmit
from candor.executors.scheduler import Queued, Scheduler
from candor.executors.scripts import does_task
from candor.executors.settling import lacks_word
from candor.flow.artifact import ArtifactStore
from candor.flow.plan import Plan
from candor.flow.recording import declare_lost
from candor.flow.run import Run

log = logging.getLogger(__name__)

#: ``candor status`` tells of a silence this long: some samples of 15 s, and the minute for which NFS keeps attributes.
TOLD_S = 120.0
#: How often somebody who waits looks for silent jobs: a file per running job.
_LOOK_S = 15.0


@dataclass(frozen=True)
class Silence:
    """A job called running that gives no sign of life.

    Attributes:
        since: its last sign of life, seconds since 1970.
        word: what SLURM says of its nodes that bears it out; empty if it calls them well.
    """

    job: str
    nodes: str
    since: float
    word: str

    def told(self) -> str:
        """One line: what is known, from where, since when."""
        clock = datetime.fromtimestamp(self.since, UTC).strftime("%Y-%m-%d %H:%M:%S")
        word = f"the scheduler says that {self.word}" if self.word else "the scheduler calls the node well"
        return f"job {self.job} on {self.nodes or 'its node'} has not been heard of since {clock} UTC; {word}"


def samples_of(logs: Path, job: str) -> Path:
    """The file that the script of ``job`` adds to while it runs."""
    return logs / f"job-{job}.samples"


def last_heard(entry: Queued, logs: Path) -> float | None:
    """When a running job gave its last sign of life, seconds since 1970; None if it does not run, or began at no known time.

    A job that was started again counts from its start, not from what its first start wrote.
    """
    if entry.state != "RUNNING" or entry.start is None:
        return None
    try:
        return max(entry.start, samples_of(logs, entry.job).stat().st_mtime)
    except OSError:
        return entry.start


def find_silent(
    entries: Collection[Queued], logs: Path, scheduler: Scheduler, *, after_s: float, now: float
) -> dict[str, Silence]:
    """Job → its silence, for jobs not heard of for ``after_s``. SLURM is asked only if there are any.

    Raises SchedulerError if it does not answer.
    """
    since = {e.job: heard for e in entries if (heard := last_heard(e, logs)) is not None}
    silent = {e.job: e for e in entries if e.job in since and now - since[e.job] >= after_s}
    if not silent:
        return {}
    states = scheduler.nodes()
    return {
        job: Silence(job, entry.nodes, since[job], _word(entry.nodes, states))
        for job, entry in silent.items()
    }


def _word(nodes: str, states: Mapping[str, str]) -> str:
    """What SLURM says of ``nodes`` that no running job fits with; empty if nothing. Pure."""
    for name in sorted(hosts(nodes)):
        state = states.get(name, "")
        if state.startswith(("down", "fail")):
            return f"{name} is down"
        if state.endswith("*"):
            return f"{name} does not respond"
        if state.rstrip("~#$@^!%+-") == "idle":
            return f"{name} is idle"
    return ""


@dataclass
class Silences:
    """Looks after the jobs of those who wait: what is silent, and SLURM bears it out, is submitted anew.

    A twin is harmless, should the first job live after all: one of them holds the key's lock, and publishing is one
    rename.

    Attributes:
        after_s: silence from which on a job is replaced; 0 never replaces.
    """

    scheduler: Scheduler
    store: ArtifactStore
    after_s: float
    _looked: float = field(default=float("-inf"))

    def replace(self, plan: Plan, run: Run, jobs: Mapping[str, str], live: Mapping[str, Queued]) -> bool:
        """Submit the tasks of silent jobs again, and cancel these; whether there were any. Ask at every poll.

        Args:
            jobs: task ID → job. live: job → its entry in the queue.
        """
        mine = {jobs[t.id]: t.id for t in plan.tasks if jobs.get(t.id) in live}
        found = self.look(run, [live[job] for job in mine])
        replaced = [s.job for s in found if self._anew(plan, run, mine[s.job], s)]
        return bool(replaced)

    def look(self, run: Run, entries: Collection[Queued]) -> list[Silence]:
        """Jobs among ``entries`` that are silent, and that SLURM bears out; none if that was asked just now."""
        if self.after_s <= 0 or time.monotonic() - self._looked < min(_LOOK_S, self.after_s / 4):
            return []
        self._looked = time.monotonic()
        logs = run.path / self.scheduler.words.scheduler
        try:
            found = find_silent(entries, logs, self.scheduler, after_s=self.after_s, now=time.time())
        except SchedulerError as e:
            log.warning("cannot ask after the nodes of silent jobs: %s", e)
            return []
        return [silence for silence in found.values() if silence.word]

    def cancel(self, silence: Silence) -> None:
        """Take a job that was replaced off the queue."""
        try:
            self.scheduler.cancel([silence.job])
        except SchedulerError as e:  # It has left the queue meanwhile.
            log.warning("job %s is not cancelled: %s", silence.job, e)

    def _anew(self, plan: Plan, run: Run, task_id: str, silence: Silence) -> bool:
        task = plan.task(task_id)
        if self.store.find(task.stage, task.key) is not None:
            return False
        script = run.path / self.scheduler.words.scheduler / f"{ledger.head_of(run, task_id)}.sh"
        number = silence.job.partition("_")[2]
        try:
            if not does_task(script, task_id, number):
                raise SchedulerError(f"{script.name} was written anew without {task_id}")
            fresh = resubmit(
                plan, run, task_id, script, self.scheduler, number=number, instead_of=silence.job
            )
        except SchedulerError as e:
            log.warning("%s; and it cannot be submitted anew: %s", silence.told(), e)
            return False
        if fresh is None:  # Another process that waits was first.
            return False
        last = run.attempts(task_id)[-1:]
        if last and last[0].record.job == silence.job and lacks_word(last[0].record):
            declare_lost(
                run, task, self.store, f"{silence.told()}; it goes on as job {fresh}", error="Silent"
            )
        run.journal.append("jobs_replaced", task=task_id, job=silence.job, by=fresh, why=silence.told())
        log.warning("%s: %s; submitted anew as job %s", task_id, silence.told(), fresh)
        self.cancel(silence)
        return True
