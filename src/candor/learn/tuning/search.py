"""Trials by Optuna, from one process or many, that share nothing but a file.

Workers of one study (processes here, an array job on a cluster) meet in Optuna's journal: a log that is only appended
to, under a lock that is a symbolic link. Making a symbolic link is atomic on NFS from version 2 on, which ``flock`` and
SQLite's locks are not, and an append that a crash tore is a line that readers skip, so no writer can damage what
another wrote. Every worker keeps the state by replaying the log. ``tests/unit/learn/tuning/test_search.py`` kills
writers while they write.

A trial is an ordinary run: the same cache, records and checkpoints. A trial whose worker died is tried again with the
same values, and goes on from the last epoch's checkpoint.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from candor.flow.attempt import JOB_VARIABLE
from candor.flow.process import ProcessId
from candor.learn.tuning.optuna_journal import open_optuna, optuna_module
from candor.learn.tuning.spaces import Space, Value
from candor.learn.tuning.study import Study, StudyInfo, TrialRecord

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)
_WORKER = "worker"
#: The scheduler's name of the job a worker runs in, and when the trial began, seconds since 1970.
_JOB, _BEGAN = "job", "began_s"
#: Its worker was told to stop, and gives it back.
_RELEASED = "released"
#: Of a trial whose run ended. One that failed without it does not count: its worker died and its values were queued
#: again, or there were enough trials already.
_ENDED = "ended"
#: (job, host, seconds since 1970) → whether the start of that job, which was at work on that host then, is over.
JobOver = Callable[[str, str, float], bool]
ORPHAN_S = 60.0


class TrialStopped(Exception):
    """Raised by ``report`` inside the stage that trains, so that it ends."""


@dataclass(frozen=True)
class Outcome:
    """What a trial's run came to. ``reason`` of a failure."""

    run: str
    failed: bool = False
    reason: str = ""
    out_of_memory: bool = False


class RunTrial(Protocol):
    """Runs a trial to the end of its task; never raises for a failure of the run."""

    def __call__(self, values: dict[str, Value], report: Callable[[int, float], None]) -> Outcome:
        """``report(epoch, metric)`` may raise TrialStopped."""


@dataclass
class Searcher:
    """Takes trials of a study until it has enough.

    Attributes:
        worker: number of this worker; each draws its trials from a stream of its own.
        on_trial: told of every trial that ended.
        clock: seconds.
        orphan_s, job_over: see ``revive``.
    """

    study: Study
    run_trial: RunTrial
    worker: int = 0
    on_trial: Callable[[TrialRecord], None] = lambda record: None
    clock: Callable[[], float] = time.monotonic
    orphan_s: float = ORPHAN_S
    job_over: JobOver = lambda job, host, began_s: False
    _info: StudyInfo = field(init=False)

    def __post_init__(self) -> None:
        self._info = self.study.info()

    def run(self) -> None:
        """Work until the study has its trials. Raises KeyboardInterrupt; the trial under way is tried again later."""
        optuna_study = self._open()
        revive(self.study, optuna_study, self.orphan_s, self.job_over)
        while (trial := self._claim(optuna_study)) is not None:
            self._one(optuna_study, trial)

    def _open(self) -> optuna.Study:
        return open_optuna(self.study, self._info, self.worker)

    def _claim(self, optuna_study: optuna.Study) -> optuna.Trial | None:
        """The next trial, or None if enough are done or under way.

        Workers may ask at the same time and get one too many; the number of the trial, which the journal gives out
        once, decides who stops.
        """
        if len(_counting(optuna_study)) >= self._info.trials and not _waiting(optuna_study):
            return None
        trial = optuna_study.ask(self._info.space.distributions())
        if os.environ.get(JOB_VARIABLE):
            trial.set_user_attr(_JOB, os.environ[JOB_VARIABLE])
            trial.set_user_attr(_BEGAN, time.time())
        trial.set_user_attr(_WORKER, ProcessId.current().model_dump_json())
        before = [t for t in _counting(optuna_study) if t.number < trial.number]
        if len(before) >= self._info.trials:
            optuna_study.tell(trial.number, state=optuna_module().trial.TrialState.FAIL)
            return None
        return trial

    def _one(self, optuna_study: optuna.Study, trial: optuna.Trial) -> None:
        space = self._info.space
        values = dict(trial.params)
        record = TrialRecord(number=trial.number, values=values)
        self.study.write(record)
        curve: list[tuple[int, float]] = []
        started = self.clock()

        def report(epoch: int, value: float) -> None:
            if curve and epoch <= curve[-1][0]:
                return  # A resumed training logs again what the trial has seen.
            curve.append((epoch, value))
            self.study.note(finished(record, Outcome(""), curve, space, self.clock() - started))
            trial.report(value, epoch)
            if trial.should_prune():
                raise TrialStopped(f"{space.metric} {value:.4g} at epoch {epoch} is behind the other trials")

        try:
            outcome = self.run_trial(values, report)
        except KeyboardInterrupt:
            # Who takes the search up again may be on another node, where nobody can see that this process is gone.
            trial.set_user_attr(_RELEASED, True)
            raise
        ended = finished(record, outcome, curve, space, self.clock() - started)
        self.study.write(ended)
        trial.set_user_attr(_ENDED, True)
        _tell(optuna_study, ended)
        self.on_trial(ended)


def finished(
    record: TrialRecord, outcome: Outcome, curve: list[tuple[int, float]], space: Space, duration_s: float
) -> TrialRecord:
    """A trial's record once its run ended: its value is that of the weights which the stage keeps."""
    value = space.kept([value for _, value in curve])
    stopped = outcome.failed and TrialStopped.__name__ in outcome.reason
    failed = outcome.failed or value is None
    reason = outcome.reason or ("" if value is not None else f"no {space.metric} was logged")
    return record.model_copy(
        update={
            "run": outcome.run,
            "state": "pruned" if stopped else "failed" if failed else "complete",
            "value": value,
            "curve": tuple(curve),
            "duration_s": duration_s,
            "reason": reason,
            "out_of_memory": outcome.out_of_memory,
        }
    )


def revive(
    study: Study,
    optuna_study: optuna.Study,
    orphan_s: float = ORPHAN_S,
    job_over: JobOver = lambda job, host, began_s: False,
) -> int:
    """Queue the values of trials whose worker died or gave them back; how many.

    Args:
        job_over: asks the scheduler after workers on other machines, which count as alive otherwise.
        orphan_s: a trial that has had no worker's name for so long lost it between two lines of the journal.
    """
    states = optuna_module().trial.TrialState
    revived = 0
    for frozen in optuna_study.get_trials(deepcopy=False, states=(states.RUNNING,)):
        if _has_worker(frozen, orphan_s, job_over):
            continue
        record = next((t for t in study.trials() if t.number == frozen.number), None)
        if _ENDED in frozen.user_attrs and record is not None:
            _tell(optuna_study, record)  # It died between noting that the trial ended and telling how.
            continue
        try:
            optuna_study.tell(frozen.number, state=states.FAIL)
        except (ValueError, optuna_module().exceptions.UpdateFinishedTrialError):
            continue  # Workers of an array start together; another one was first.
        (study.path / "trials" / f"{frozen.number}.json").unlink(missing_ok=True)
        if frozen.params:
            optuna_study.enqueue_trial(frozen.params)
            revived += 1
    return revived


def _has_worker(frozen: optuna.trial.FrozenTrial, orphan_s: float, job_over: JobOver) -> bool:
    attrs = frozen.user_attrs
    told = attrs.get(_WORKER)
    if told:
        process = ProcessId.model_validate_json(told)
        if attrs.get(_RELEASED) or not process.is_alive():
            return False
        return not (_JOB in attrs and job_over(attrs[_JOB], process.host, attrs[_BEGAN]))
    started = frozen.datetime_start
    return started is not None and (datetime.now() - started).total_seconds() < orphan_s


def _tell(optuna_study: optuna.Study, record: TrialRecord) -> None:
    states = optuna_module().trial.TrialState
    state = {"complete": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}[record.state]
    value = record.value if record.state == "complete" else None
    optuna_study.tell(record.number, value, state=state)


def _counting(optuna_study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    failed = optuna_module().trial.TrialState.FAIL
    trials = optuna_study.get_trials(deepcopy=False)
    return [t for t in trials if t.state != failed or _ENDED in t.user_attrs]


def _waiting(optuna_study: optuna.Study) -> bool:
    optuna = optuna_module()
    return bool(optuna_study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,)))
