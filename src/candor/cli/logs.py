"""``candor logs``: what an attempt at a task said, and how it ended."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from candor.cli import output
from candor.cli.session import Session, session
from candor.errors import NotFound

if TYPE_CHECKING:
    from candor.executors.silence import Silence
    from candor.flow.attempt import Attempt
    from candor.flow.plan import PlannedTask
    from candor.flow.run import Run

_FOLLOW_S = 0.3
#: The queue of a cluster is everybody's: it is asked less often than a file of our own.
_FOLLOW_QUEUE_S = 5.0


def logs(
    ctx: typer.Context,
    task_id: Annotated[str, typer.Argument(metavar="TASK", help="ID of the task.", show_default=False)],
    run_name: Annotated[str | None, typer.Option("--run", help="The run; the latest by default.")] = None,
    number: Annotated[
        int | None, typer.Option("--attempt", min=1, help="The attempt; the last by default.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep printing until the attempt ends.")
    ] = False,
) -> None:
    """Print what an attempt at a task logged, and how it ended."""
    from candor.flow.run import find_run

    state = session(ctx)
    run = find_run(state.settings.run_root, run_name)
    if follow and number is None:
        _await_start(run, task_id)
    attempt = _find_attempt(state, run, task_id, number)
    output.note(f"{attempt.record.run}, {task_id}, attempt {attempt.record.attempt}: {attempt.log}")
    follower = _Follower(run, run.plan().task(task_id)) if follow else None
    _print_log(attempt, follower)
    ended = _again(attempt)
    reason = f": {ended.record.reason}" if ended.record.reason else ""
    if follower is not None and follower.gone and ended.record.outcome == "running":
        reason = f", it says; but job {ended.record.job} left the queue, and no account says how it ended"
    output.note(f"{ended.record.outcome}{reason}")


def _await_start(run: Run, task_id: str) -> None:
    """While the task's job waits in the queue, say so once and wait with it; if it leaves without an attempt, note why."""
    from candor.executors.queue_status import QueueView, queue_word

    told = ""
    while True:
        view = QueueView()
        queued = view.live(run).get(task_id)
        if queued is None:
            if not view.trouble:
                _note_untried(run, task_id)
            return
        if any(a.record.outcome == "running" for a in run.attempts(task_id) if a.record.job == queued.job):
            return
        word, why = queue_word(queued)
        if word != told:
            output.note(f"{task_id} is {word}: {why}")
        told = word
        time.sleep(_FOLLOW_QUEUE_S)


def _note_untried(run: Run, task_id: str) -> None:
    """If the task's job ended before it began an attempt, record what the scheduler says of that."""
    from candor.executors import ledger
    from candor.executors.scheduler import scheduler_here
    from candor.executors.settling import settle

    job = ledger.jobs_of(run).get(task_id)
    if job is not None and not any(a.ok or a.record.job == job for a in run.attempts(task_id)):
        settle(run, run.plan().task(task_id), job, scheduler_here(_FOLLOW_QUEUE_S))


def _find_attempt(state: Session, run: Run, task_id: str, number: int | None) -> Attempt:
    """The attempt asked for; if this run found the artifact published, the attempt that made it."""
    from candor.flow.run import list_runs

    task = run.plan().task(task_id)
    attempts = run.attempts(task_id)
    if number is not None:
        for attempt in attempts:
            if attempt.record.attempt == number:
                return attempt
        known = ", ".join(str(a.record.attempt) for a in attempts) or "none"
        raise NotFound(f"{task_id} has no attempt {number}", place=run.id, hint=f"Attempts: {known}.")
    if attempts:
        return attempts[-1]
    for other, _ in list_runs(state.settings.run_root):
        made = [a for a in other.attempts(task_id) if a.record.key == task.key]
        if made:
            return made[-1]
    raise NotFound(f"{task_id} was not tried yet", place=run.id)


def _again(attempt: Attempt) -> Attempt:
    """The attempt as its record reads now."""
    from candor.flow.attempt import read_attempts

    return next((a for a in read_attempts(attempt.path.parent) if a.path == attempt.path), attempt)


@dataclass
class _Follower:
    """Whether an attempt still runs; one on a node that died never says that it ended, so its job is asked after too.

    ``gone``: its job left the queue.
    """

    run: Run
    task: PlannedTask
    gone: bool = False
    _asked: float = 0.0
    _told: bool = False

    def running(self, attempt: Attempt) -> bool:
        from candor.executors.queue_status import QueueView
        from candor.executors.settling import settle

        now = _again(attempt)
        if now.record.outcome != "running" or now.record.job is None:
            return now.record.outcome == "running"
        if time.monotonic() - self._asked >= _FOLLOW_QUEUE_S:
            self._asked, view = time.monotonic(), QueueView()
            live = {entry.job for entry in view.live(self.run).values()}
            self._tell_silence(view.silent(self.run).get(now.record.job))
            if not view.trouble and now.record.job not in live:
                # The queue knows at once that a job is gone, accounts some seconds later how it ended.
                settle(self.run, self.task, now.record.job, view.scheduler)
                self.gone = True
        return not self.gone

    def _tell_silence(self, silence: Silence | None) -> None:
        from candor.executors.queue_status import silent_word

        if silence is not None and not self._told:
            output.note(f"{self.task.id} is silent: {silent_word(silence, self.run.id)[1]}")
        self._told = silence is not None


def _print_log(attempt: Attempt, follower: _Follower | None) -> None:
    if not attempt.log.exists() and follower is None:
        return
    while not attempt.log.exists() and follower is not None and follower.running(attempt):
        time.sleep(_FOLLOW_S)
    if not attempt.log.exists():
        return
    with attempt.log.open(encoding="utf-8", errors="replace") as f:
        while True:
            # Look before reading: what was written before the end must still be printed.
            running = follower is not None and follower.running(attempt)
            sys.stdout.write(f.read())
            sys.stdout.flush()
            if not running:
                return
            time.sleep(_FOLLOW_S)
