"""Which job of the queue does which task: kept in the run's journal, so that a second `candor run` joins the first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from candor.executors.batches import Batch
from candor.executors.scheduler import Queued
from candor.executors.scripts import job_name
from candor.flow.journal import JournalTail
from candor.flow.run import Run

#: Written before ``sbatch`` is called: if the answer is lost, the job is found again by its name.
SUBMITTING = "jobs_submitting"
SUBMITTED = "jobs_submitted"
CANCELLED = "jobs_cancelled"
#: How a job came to be: handed a task, or all of them, by another one that was near its time limit or silent.
RESUBMITTED = "resubmitted"
_SHARED, _SHARED_ON = "one allocation", "one allocation, continued"


def note_intent(run: Run, batch: Batch) -> None:
    """Say what is about to be submitted."""
    run.journal.append(SUBMITTING, head=batch.head, elements=_by_text(batch.elements))


def note_submitted(run: Run, batch: Batch, job: str, *, how: str = "") -> dict[str, str]:
    """Say which job it became; task ID → job."""
    jobs = element_jobs(job, batch.elements)
    run.journal.append(SUBMITTED, head=batch.head, jobs=jobs, **({"how": how} if how else {}))
    return jobs


def note_shared(run: Run, head: str, tasks: Iterable[str], job: str, *, continued: bool = False) -> None:
    """Say that one job does many tasks, ``continued`` from another one that could not go on."""
    how = _SHARED_ON if continued else _SHARED
    run.journal.append(SUBMITTED, head=head, jobs=dict.fromkeys([head, *tasks], job), how=how)


def element_jobs(job: str, elements: Mapping[int, str]) -> dict[str, str]:
    """Task ID → its job: ``123``, or ``123_4`` in an array."""
    if len(elements) == 1:
        return dict.fromkeys(elements.values(), job)
    return {task_id: f"{job}_{number}" for number, task_id in elements.items()}


@dataclass
class Jobs:
    """Which job each task of a run was last submitted as, for who asks again and again: only new lines are read."""

    run: Run
    _jobs: dict[str, str] = field(default_factory=dict)
    _tail: JournalTail = field(init=False)

    def __post_init__(self) -> None:
        self._tail = JournalTail(self.run.journal)

    def now(self) -> Mapping[str, str]:
        """Task ID → job."""
        events, anew = self._tail.read()
        if anew:
            self._jobs.clear()
        for event in events:
            if event["event"] == SUBMITTED:
                self._jobs |= event["jobs"]
        return self._jobs


def was_queued(run: Run) -> bool:
    """Whether anything of a run was handed to a scheduler, as far as somebody noted, or was about to."""
    return any(e["event"] in (SUBMITTING, SUBMITTED) for e in run.journal.read())


def jobs_of(run: Run) -> Mapping[str, str]:
    """Task ID → the job it was last submitted as."""
    return Jobs(run).now()


def continuations_of(run: Run, task_id: str) -> int:
    """How often a job handed the task on to a successor since a person submitted it last."""
    found = 0
    for event in run.journal.read():
        if event["event"] == SUBMITTED and task_id in event["jobs"]:
            found = found + 1 if event.get("how") in (RESUBMITTED, _SHARED_ON) else 0
    return found


def head_of(run: Run, task_id: str) -> str:
    """Head of the batch that a task was last submitted in, which names its script; empty if it never was.

    A job that was submitted again for one task alone runs the script of its predecessor.
    """
    events = [e for e in run.journal.read() if e["event"] == SUBMITTED and task_id in e["jobs"]]
    return next((str(e["head"]) for e in reversed(events) if e.get("how") != RESUBMITTED), "")


def allocation_of(run: Run, job: str) -> str:
    """Head of the allocation that ``job`` was, which names its request at the site; empty if it did one task."""
    events = (
        e for e in run.journal.read() if e["event"] == SUBMITTED and e.get("how") in (_SHARED, _SHARED_ON)
    )
    return next((str(e["head"]) for e in events if job in e["jobs"].values()), "")


def cancelled_jobs(run: Run) -> set[str]:
    """Jobs that `candor cancel` took off the queue: they may linger there, and will not do their tasks."""
    events = (e for e in run.journal.read() if e["event"] == CANCELLED)
    return {job for e in events for job in e["jobs"].values()}


def recover(run: Run, queue: Iterable[Queued]) -> dict[str, str]:
    """Jobs that are in the queue though their submitter died before it could note their IDs; they are noted now."""
    intents: dict[str, dict[int, str]] = {}
    for event in run.journal.read():
        if event["event"] == SUBMITTING:
            intents[event["head"]] = {int(number): task for number, task in event["elements"].items()}
        elif event["event"] == SUBMITTED:
            intents.pop(event["head"], None)
    found: dict[str, str] = {}
    for head, elements in intents.items():
        name = job_name(run.path, head)
        ids = {entry.job.partition("_")[0]: "_" in entry.job for entry in queue if entry.name == name}
        if ids:
            job = max(ids, key=int)
            jobs = {task: f"{job}_{number}" if ids[job] else job for number, task in elements.items()}
            run.journal.append(SUBMITTED, head=head, jobs=jobs, how="found in the queue")
            found |= jobs
    return found


def live_jobs(run: Run, queue: Collection[Queued]) -> dict[str, Queued]:
    """Task ID → its job, for tasks whose job waits or runs.

    By number and name: clusters that share a run root (OSC's do), and one that begins to count anew, give a number twice,
    and `candor cancel` must not end another run's job.
    """
    by_id = {entry.job: entry for entry in queue if _may_be_of(run, entry)}
    return {task: by_id[job] for task, job in jobs_of(run).items() if job in by_id}


def _may_be_of(run: Run, entry: Queued) -> bool:
    # Without the root's digest, which another spelling of the same root changes.
    return not entry.name or entry.name.startswith(f"candor.{run.path.name}.")


def _by_text(elements: Mapping[int, str]) -> dict[str, str]:
    return {str(number): task for number, task in elements.items()}
