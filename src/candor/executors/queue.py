"""Runs a plan as jobs of a cluster: one per task, chained by ``afterok``, arrays where tasks are alike."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from candor.errors import ConfigError
from candor.executors import ledger
from candor.executors.base import Job, JobResult, Skipped
from candor.executors.batches import batches, without_pairs
from candor.executors.cancelling import cancel
from candor.executors.display import Display, Quiet
from candor.executors.scheduler import Queued, Scheduler
from candor.executors.scripts import ScriptContext, render
from candor.executors.settling import explain_all, settle
from candor.executors.silence import Silences
from candor.executors.site import SiteConfig, refuse_secrets
from candor.executors.slurm_commands import Slurm
from candor.executors.stuck import Stuck
from candor.executors.submissions import Submission
from candor.flow.artifact import ArtifactStore
from candor.flow.attempt import Attempt
from candor.flow.locks import key_lock
from candor.flow.plan import Plan, PlannedTask
from candor.flow.recording import record_cached, record_untried
from candor.flow.run import Run
from candor.flow.storage import write_atomic

log = logging.getLogger(__name__)

#: A record written on a node is seen here at the latest after so long (NFS keeps attributes for a while).
_VISIBLE_S = 60.0


@dataclass
class QueueJob:
    """A task in the queue, or about to enter it."""

    executor: QueueExecutor
    plan: Plan
    run: Run
    task_id: str
    after: Sequence[Job]
    _result: JobResult | None = None

    def result(self) -> JobResult:
        """Wait until its job left the queue for good."""
        if self._result is None:
            self._result = self.executor.wait(self)
        return self._result


@dataclass
class QueueExecutor:
    """Collects what is submitted, and hands it to the scheduler in as few arrays as possible when the first result is asked for.

    Attributes:
        roots: the ``CANDOR_*_ROOT`` variables of the jobs.
        candor: words that call candor on a node.
        venv: environment to activate there, unless the site names one.
    """

    store: ArtifactStore
    site: SiteConfig
    roots: Mapping[str, str]
    candor: Sequence[str] = ("candor",)
    venv: str = ""
    display: Display = field(default_factory=Quiet)
    scheduler: Scheduler = field(default_factory=Slurm)
    _pending: list[QueueJob] = field(default_factory=list)
    _runs: set[Path] = field(default_factory=set)
    _told: set[str] = field(default_factory=set)
    _queue: tuple[float, dict[str, Queued]] | None = None
    _ledgers: dict[Path, ledger.Jobs] = field(default_factory=dict)
    _stuck: Stuck = field(init=False)
    silences: Silences = field(init=False)

    def __post_init__(self) -> None:
        self._stuck = Stuck(self.scheduler)
        self.silences = Silences(self.scheduler, self.store, 60.0 * self.site.silent_min)

    @property
    def name(self) -> str:
        """``slurm`` or ``pbs``."""
        return self.scheduler.words.scheduler

    def folder(self, run: Run) -> Path:
        """Scripts and logs of the jobs of ``run``."""
        return run.path / self.name

    def submit(self, plan: Plan, run: Run, task_id: str, after: Sequence[Job]) -> QueueJob:
        """Note the task; ``flush`` submits it."""
        job = QueueJob(self, plan, run, task_id, after)
        self._pending.append(job)
        return job

    def stop(self) -> None:
        """Waiting was interrupted. The jobs go on, unless the site says cancel: then wait until they have ended."""
        self._pending.clear()
        if self.site.on_stop == "leave":
            return
        for path in self._runs:
            run = Run(path)
            while cancel(run, self.scheduler):
                time.sleep(self.site.poll_s)
            for task in run.plan().tasks:
                explain_all(run, task, run.attempts(task.id), self.scheduler)

    def scripts(self, plan: Plan, run: Run, todo: Sequence[str]) -> Iterator[Submission]:
        """What would be submitted if nothing was in the queue. Pure but for the environment it looks for secrets in."""
        yield from self._submissions(plan, run, todo, [])

    def flush(self) -> dict[str, str]:
        """Submit what is pending and not in the queue already; task ID → job, of joined ones too."""
        pending, self._pending = self._pending, []
        found: dict[str, str] = {}
        for run, plan in {job.run.path: (job.run, job.plan) for job in pending}.values():
            todo = [job.task_id for job in pending if job.run.path == run.path]
            self._runs.add(run.path)
            found |= self._submit_run(plan, run, todo)
            self._queue = None
            if self.silences.replace(plan, run, found, self._snapshot()):
                found |= {task: job for task, job in self._jobs(run).items() if task in found}
        self._queue = None
        return found

    def _submit_run(self, plan: Plan, run: Run, todo: Sequence[str]) -> dict[str, str]:
        folder = self.folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        with key_lock(folder / "submit.lock"):
            queue = self.scheduler.queue()
            ledger.recover(run, queue)
            queued = ledger.live_jobs(run, queue)
            # What has failed only writes its epilog now, and what was cancelled its checkpoint.
            dying = ledger.cancelled_jobs(run)
            over = {t for t, entry in queued.items() if entry.job in dying or _failed(run, t, entry.job)}
            live = self._joinable(plan, todo, {t: e for t, e in queued.items() if t not in over})
            if live:
                run.journal.append("jobs_joined", jobs=live)
            fresh = []
            for task_id in (t for t in todo if t not in live):
                if self.published(plan, task_id):  # By another run since this one looked: no job will say so.
                    record_cached(run, plan.task(task_id))
                else:
                    fresh.append(task_id)
            jobs = dict(live)
            arrays: dict[str, str] = {}
            self._check_room(len(queue), len(fresh))
            for submission in self._submissions(plan, run, fresh, list(live)):
                batch = submission.batch
                path = folder / f"{batch.head}.sh"
                write_atomic(path, submission.script)
                ledger.note_intent(run, batch)
                job = self.scheduler.submit(path, dependency=submission.dependency(jobs, arrays))
                jobs |= ledger.note_submitted(run, batch, job)
                arrays[batch.head] = job
        return jobs

    def _check_room(self, there: int, more: int) -> None:
        """Raise ConfigError if the site does not let a user have so many jobs: a chain that breaks off in the middle is no use."""
        most = self.site.max_jobs
        if most is not None and there + more > most:
            raise ConfigError(
                f"{more} jobs beside {there} in the queue are more than the {most} that the site allows a user",
                place="site preset (max_jobs)",
                hint="`--with-ray` does all tasks in one job; `--until` and fewer seeds make fewer of them.",
            )

    def _joinable(self, plan: Plan, todo: Sequence[str], queued: Mapping[str, Queued]) -> dict[str, str]:
        """Jobs that can still do their tasks; a job that waits for one that failed cannot, and is taken off the queue."""
        joinable: dict[str, str] = {}
        doomed = []
        for task in plan.tasks:
            entry = queued.get(task.id)
            if entry is None or task.id not in todo:
                continue
            ready = all(
                s in joinable or s not in todo or self.published(plan, s) for s in task.inputs.values()
            )
            if entry.state != "PENDING" or ready:
                joinable[task.id] = entry.job
            else:
                doomed.append(entry.job)
        if doomed:
            self.scheduler.cancel(doomed)
        return joinable

    def published(self, plan: Plan, task_id: str) -> bool:
        """Whether the artifact of a task is there, whoever made it."""
        task = plan.task(task_id)
        return self.store.find(task.stage, task.key) is not None

    def context(self, run: Run) -> ScriptContext:
        """What the scripts of ``run`` share."""
        venv = self.site.venv or self.venv
        return ScriptContext(
            run.path, run.path / "plan.json", self.folder(run), self.roots, self.candor, venv
        )

    def _submissions(
        self, plan: Plan, run: Run, todo: Sequence[str], queued: Sequence[str]
    ) -> Iterator[Submission]:
        context = self.context(run)
        by_id = {task.id: task for task in plan.tasks}
        words = self.scheduler.words
        found = batches(plan, todo, alike=self.site.request, queued=queued)
        for batch in found if words.pairs else without_pairs(found, plan, todo, queued):
            request = self.site.request(by_id[batch.head])
            script = render(context, self.site, request, batch.elements, words=words)
            refuse_secrets(script, os.environ, batch.head)
            yield Submission(batch, script, batch.after, batch.paired)

    def wait(self, job: QueueJob) -> JobResult:
        """How the task of ``job`` ended: after what it needs, and after its record or the scheduler says so.

        A published artifact counts whatever the scheduler says: SLURM calls a job running that ended on a node it cannot reach.
        """
        self.flush()
        cause = _failed_cause(job.after)
        if cause is not None:
            skipped = Skipped(job.task_id, cause)
            job.run.journal.append("task_skipped", task=job.task_id, cause=cause)
            self.display.finished(skipped)
            return skipped
        while True:
            told = self._jobs(job.run).get(job.task_id)
            if told and (
                self.succeeded(job.plan, job.run, job.task_id) or _failed(job.run, job.task_id, told)
            ):
                break
            entry = self._snapshot().get(told) if told else None
            if entry is None:
                # Between looking at the queue and here, the job may have submitted its own successor.
                if self._jobs(job.run).get(job.task_id) == told:
                    break
                self._queue = None
                continue
            if entry.state == "RUNNING" and job.task_id not in self._told:
                self._told.add(job.task_id)
                self.display.started(job.plan.task(job.task_id))
            if self._stuck.holds(entry):
                jobs, live = self._jobs(job.run), self._snapshot()
                self._stuck.free(job.plan, job.run, jobs, live, partial(self.published, job.plan))
                self._queue = None
            if self.silences.replace(job.plan, job.run, self._jobs(job.run), self._snapshot()):
                self._queue = None
            time.sleep(self.site.poll_s)
        attempt = self._ended(job, told)
        self.display.finished(attempt)
        return attempt

    def _jobs(self, run: Run) -> Mapping[str, str]:
        return self._ledgers.setdefault(run.path, ledger.Jobs(run)).now()

    def succeeded(self, plan: Plan, run: Run, task_id: str) -> bool:
        """Whether the artifact is there, and an attempt of this run says so."""
        key = plan.task(task_id).key
        return self.published(plan, task_id) and any(
            a.ok and a.record.key == key for a in run.attempts(task_id)
        )

    def _snapshot(self) -> dict[str, Queued]:
        if self._queue is None or time.monotonic() - self._queue[0] >= self.site.poll_s:
            self._queue = (time.monotonic(), {entry.job: entry for entry in self.scheduler.queue()})
        return self._queue[1]

    def _ended(self, job: QueueJob, told: str | None) -> Attempt:
        """The attempt that the job left, with the scheduler's word where it could not write its own end."""
        task, until = job.plan.task(job.task_id), time.monotonic() + _VISIBLE_S
        while True:
            attempts = [a for a in job.run.attempts(task.id) if a.record.key == task.key]
            if attempts and (attempts[-1].ok or told is None):
                explain_all(job.run, task, attempts[:-1], self.scheduler)
                return attempts[-1]
            if attempts and attempts[-1].record.job == told and attempts[-1].record.outcome == "failed":
                return attempts[-1]
            settled = settle(job.run, task, told, self.scheduler) if told else None
            if settled is not None:
                return settled
            if time.monotonic() > until:
                break
            time.sleep(min(1.0, self.site.poll_s))
        return self.lost(job.run, task, told)

    def lost(self, run: Run, task: PlannedTask, job: str | None) -> Attempt:
        """Record that a job left neither a record nor an account."""
        return record_untried(
            run,
            task,
            outcome="killed",
            error="Lost",
            reason=f"job {job or 'of this task'} left the queue and no trace; read {self.folder(run)}",
            job=job,
        )


def _failed(run: Run, task_id: str, job: str) -> bool:
    """Whether ``job`` has recorded a failure: it will not try again, whatever the scheduler says of it."""
    return any(a.record.job == job and a.record.outcome == "failed" for a in run.attempts(task_id))


def _failed_cause(after: Sequence[Job]) -> str | None:
    """The failed task behind the first job that did not succeed; None if all did."""
    for job in after:
        result = job.result()
        if isinstance(result, Skipped):
            return result.cause
        if not result.ok:
            return job.task_id
    return None
