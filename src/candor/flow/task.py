"""Run one task of a plan: the only place where stages are called, whoever the executor is."""

from __future__ import annotations

import inspect
import json
import logging
import os
import shutil
import time
import traceback
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError

from candor.errors import CandorError, ConfigError, StageFailed
from candor.flow.artifact import Artifact, ArtifactStore
from candor.flow.attempt import (
    METRICS,
    RECORD,
    Attempt,
    AttemptRecord,
    Outcome,
    killed_reason,
    next_folder,
)
from candor.flow.logs import attempt_log
from candor.flow.plan import Plan, PlannedTask
from candor.flow.process import ProcessId, code_version, peak_memory_bytes, reset_peak_memory
from candor.flow.run import Run
from candor.flow.stage import Inputs, Output, Progress, Recorder, Result, Stage
from candor.flow.storage import chain, storage_full, write_atomic
from candor.flow.workers import LocalWorkers, Workers

log = logging.getLogger(__name__)

#: A job script names its job here, so that the scheduler can be asked later how an attempt ended.
JOB_VARIABLE = "CANDOR_JOB"
#: A job script says here how close a task's inputs are brought before it reads them: ``scratch`` or ``tmpdir``.
STAGE_IN_VARIABLE = "CANDOR_STAGE_IN"
#: A running attempt notes its duration and memory this often, so that a killed one leaves them too.
PULSE_S = 5.0


class TaskRecorder(Recorder, Protocol):
    """What the runner needs of a recorder beyond what a stage does."""

    @property
    def rows_path(self) -> Path:
        """File of the rows logged so far, inside scratch."""

    def clear(self) -> None:
        """Forget every row."""

    def publish(self, out: Path) -> None:
        """Write the rows into the artifact, if there are any."""


class StageIn(Protocol):
    """Brings what a task reads closer to it."""

    def config(self, values: dict[str, Any]) -> dict[str, Any]:
        """The planned config in which files are named where their copies lie."""

    def artifact(self, artifact: Artifact) -> Path | None:
        """Where the copy of an input artifact lies, verified against its manifest; None if it is to be read in place."""


#: (scratch folder, task ID) → recorder.
RecorderFactory = Callable[[Path, str], TaskRecorder]


def silent(done: float, total: float, note: str = "") -> None:
    """A Progress that tells nobody."""


def config_type(stage: Stage) -> Any:
    """The type that a stage declares for its first parameter, its config (a model or a union of models).

    Raises ConfigError if the stage declares none.
    """
    function = inspect.unwrap(stage)
    parameter = next(iter(inspect.signature(function).parameters.values()), None)
    if parameter is None or parameter.annotation is inspect.Parameter.empty:
        raise ConfigError(
            f"stage '{function.__name__}' declares no type for its config", place=function.__module__
        )
    # Only this one annotation is resolved: the others may be imported for type checkers alone.
    bare = types.SimpleNamespace(__annotations__={"config": parameter.annotation})
    return typing.get_type_hints(bare, globalns=function.__globals__, include_extras=True)["config"]


def load_config(stage: Stage, task: PlannedTask) -> Any:
    """The config object of a planned task. Raises ConfigError if the plan does not fit the stage's model any more."""
    try:
        return TypeAdapter(config_type(stage)).validate_json(json.dumps(task.config))
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"the plan does not fit stage '{task.stage}': {where}: {first['msg']}",
            place=f"task {task.id}",
            hint="Plan again with this version of candor.",
        ) from e


def run_task(
    plan: Plan,
    task_id: str,
    *,
    stages: Mapping[str, Stage],
    store: ArtifactStore,
    run: Run,
    recorder_factory: RecorderFactory,
    progress: Progress = silent,
    workers: Workers | None = None,
    stage_in: StageIn | None = None,
) -> Attempt:
    """Run one task, unless its artifact is there already, and leave a record however it ends.

    Only one process builds a key; others wait here and then find it published. A failure is returned, not raised: the
    attempt's record keeps reason, traceback and partial metrics.

    Raises:
        KeyboardInterrupt: the attempt was interrupted (recorded so); running it again resumes from its scratch.
        StorageFull: not even the record could be written.
    """
    task = plan.task(task_id)
    with store.lock(
        task.key, on_wait=lambda who: progress(0, 1, f"waiting for {who}, which builds the same")
    ):
        state, why = store.inspect(task.stage, task.key, verify=True)
        if state == "corrupted":
            aside = store.quarantine(task.stage, task.key)
            run.journal.append("artifact_corrupted", task=task.id, key=task.key, why=why, moved_to=str(aside))
        try:
            if state == "published":
                return record_cached(run, task)
            _bury(run, task, store)
            attempt = _begin(run, task)
            with attempt_log(attempt.log):
                return _Execution(
                    task,
                    attempt,
                    plan,
                    stages,
                    store,
                    run,
                    recorder_factory,
                    progress,
                    workers or LocalWorkers(),
                    stage_in,
                ).carry_out()
        except OSError as e:
            raise storage_full(e, run.path) or e from e
        except KeyboardInterrupt:
            _note_interruption(run, task)
            raise


def _begin(run: Run, task: PlannedTask) -> Attempt:
    number, path = next_folder(run.task_dir(task.id))
    record = AttemptRecord(
        run=run.id,
        task=task.id,
        stage=task.stage,
        version=task.version,
        key=task.key,
        attempt=number,
        config=task.config,
        inputs=task.input_keys,
        code_version=code_version(),
        process=ProcessId.current(),
        job=os.environ.get(JOB_VARIABLE),
        started=datetime.now(UTC).isoformat(),
    )
    # Not forced to the disk: after a power cut, an attempt that had just begun has nothing to tell.
    write_atomic(path / RECORD, record.model_dump_json(indent=2), durable=False)
    run.journal.append("task_started", task=task.id, attempt=number, key=task.key)
    return Attempt(path, record)


def _note_interruption(run: Run, task: PlannedTask) -> None:
    """The attempt of this process says that it was interrupted, also where that came while it began or after it had published."""
    for attempt in run.attempts(task.id)[-1:]:
        record = attempt.record
        if record.outcome == "running" and record.process == ProcessId.current():
            attempt.updated({"outcome": "interrupted", **_INTERRUPTED.__dict__})
            run.journal.append(
                "task_finished",
                task=task.id,
                attempt=record.attempt,
                outcome="interrupted",
                reason=_INTERRUPTED.reason,
            )


def declare_lost(
    run: Run, task: PlannedTask, store: ArtifactStore, reason: str, *, error: str = "WorkerLost"
) -> Attempt:
    """Record that the process of a task is gone for good, as only an executor can know of another machine.

    Only when nothing builds the task any more, as far as anybody can see: its executor has given it up.
    """
    known = [a for a in run.attempts(task.id) if a.record.key == task.key]
    last = known[-1] if known and not known[-1].ok else _begin(run, task)
    rows = store.scratch_path(task.stage, task.key) / METRICS
    changes: dict[str, Any] = {
        "outcome": "killed",
        "error": error,
        "exit_code": StageFailed.exit_code,
        "reason": reason,
    }
    if rows.is_file():
        shutil.copyfile(rows, last.path / METRICS)
        changes["metrics"] = METRICS
    run.journal.append(
        "task_finished", task=task.id, attempt=last.record.attempt, outcome="killed", reason=reason
    )
    return last.updated(changes)


def record_cached(run: Run, task: PlannedTask) -> Attempt:
    """Record that someone else published the artifact; an attempt of this run that says it is there is enough."""
    known = [a for a in run.attempts(task.id) if a.ok and a.record.key == task.key]
    if known:
        return known[-1]
    return _begin(run, task).updated({"outcome": "cached", "duration_s": 0.0})


def record_untried(
    run: Run, task: PlannedTask, *, outcome: Outcome, error: str, reason: str, job: str | None
) -> Attempt:
    """Record an attempt that ended before its process began: cancelled in the queue, or lost with its machine."""
    told = {"outcome": outcome, "error": error, "reason": reason, "job": job, "duration_s": 0.0}
    attempt = _begin(run, task).updated(told)
    run.journal.append(
        "task_finished", task=task.id, attempt=attempt.record.attempt, outcome=outcome, reason=reason
    )
    return attempt


def _bury(run: Run, task: PlannedTask, store: ArtifactStore) -> None:
    """Give attempts that were killed their final record, with the metrics they had logged.

    Whoever holds the key's lock is its only builder: an attempt that says running is dead, on whatever machine.
    """
    rows = store.scratch_path(task.stage, task.key) / METRICS
    for attempt in run.attempts(task.id):
        final = attempt.path / RECORD
        lost = attempt.record.outcome == "running" and attempt.record.key == task.key
        if lost or (attempt.record.outcome == "killed" and '"running"' in final.read_text(encoding="utf-8")):
            kept = rows.is_file() and attempt.record.key == task.key
            if kept:
                shutil.copyfile(rows, attempt.path / METRICS)
            told = {"outcome": "killed", "reason": killed_reason(attempt.record)} if lost else {}
            attempt.updated({**told, "metrics": METRICS if kept else None})
            run.journal.append(
                "task_finished", task=task.id, attempt=attempt.record.attempt, outcome="killed"
            )


@dataclass
class _Execution:
    """One attempt under way; holds the key's lock."""

    task: PlannedTask
    attempt: Attempt
    plan: Plan
    stages: Mapping[str, Stage]
    store: ArtifactStore
    run: Run
    recorder_factory: RecorderFactory
    progress: Progress
    workers: Workers
    stage_in: StageIn | None = None
    _since: float = field(default_factory=time.monotonic)
    _last_pulse: float = field(default_factory=time.monotonic)

    def carry_out(self) -> Attempt:
        """Call the stage and publish, or record why not."""
        reset_peak_memory()
        try:
            artifact = self._call_and_publish()
        except BaseException as e:  # Recorded below, whatever it is; an interruption goes on upwards.
            return self._record_failure(e)
        self.store.drop_scratch(self.task.stage, self.task.key)
        return self._finish({"outcome": "succeeded", "summary": artifact.record.summary})

    def _call_and_publish(self) -> Artifact:
        task, store = self.task, self.store
        if task.stage not in self.stages:
            raise ConfigError(f"there is no stage called '{task.stage}'", place=f"task {task.id}")
        stage = self.stages[task.stage]
        near = self.stage_in
        moved = task if near is None else task.model_copy(update={"config": near.config(task.config)})
        config = load_config(stage, moved)
        sources = {name: self.plan.task(source) for name, source in task.inputs.items()}
        inputs = Inputs({name: self._input(source) for name, source in sources.items()})
        staging, scratch = store.staging(task.key), store.scratch(task.stage, task.key)
        log.info("%s, attempt %d; what survives it lies in %s", task.id, self.attempt.record.attempt, scratch)
        recorder = self.recorder_factory(scratch, task.id)
        if all(p == recorder.rows_path for p in scratch.iterdir()):
            recorder.clear()  # No checkpoint to resume from: the stage starts over, and logs every step again.
        result = stage(config, inputs, Output(staging, scratch, recorder, self._pulse, self.workers))
        recorder.publish(staging)
        return store.publish(
            staging,
            key=task.key,
            stage=task.stage,
            version=task.version,
            science=task.science,
            inputs=task.input_keys,
            summary=_plain(result),
            code_version=self.attempt.record.code_version,
            duration_s=time.monotonic() - self._since,
        )

    def _input(self, source: PlannedTask) -> Path:
        if self.stage_in is not None:
            # Staging verifies every file as it copies it: a second reading from a slow disk would tell nothing new.
            copy = self.stage_in.artifact(self.store.open(source.stage, source.key, verify=False))
            if copy is not None:
                return copy
        return self.store.open(source.stage, source.key).path

    def _measured(self) -> dict[str, Any]:
        return {"duration_s": time.monotonic() - self._since, "peak_memory_bytes": peak_memory_bytes()}

    def _pulse(self, done: float, total: float, note: str = "") -> None:
        self.progress(done, total, note)
        if time.monotonic() - self._last_pulse >= PULSE_S:
            self._last_pulse = time.monotonic()
            try:
                self.attempt.updated(self._measured(), durable=False)
            except OSError as e:
                log.warning("could not note the attempt's progress: %s", e)

    def _record_failure(self, error: BaseException) -> Attempt:
        interrupted = any(isinstance(e, KeyboardInterrupt) for e in chain(error))
        told = self._explained(error, interrupted=interrupted)
        staging = self.store.cache_root / "staging" / self.task.key
        if not interrupted:
            # After the explanation, which asks how full the disk is; before the record, which needs space.
            self.store.discard(staging)
        log.log(
            logging.WARNING if interrupted else logging.ERROR,
            told.reason,
            exc_info=None if interrupted else error,
        )
        rows = self.store.scratch_path(self.task.stage, self.task.key) / METRICS
        changes: dict[str, Any] = {
            "outcome": "interrupted" if interrupted else "failed",
            "error": told.error,
            "exit_code": told.exit_code,
            "reason": told.reason,
            "traceback": "".join(traceback.format_exception(error)),
        }
        if rows.is_file():
            shutil.copyfile(rows, self.attempt.path / METRICS)
            changes["metrics"] = METRICS
        attempt = self._finish(changes)
        if interrupted:
            # Behind the record: on a slow disk, what stopped it may not wait so long before it kills.
            self.store.discard(staging)
            raise error if isinstance(error, KeyboardInterrupt) else KeyboardInterrupt from error
        return attempt

    def _explained(self, error: BaseException, *, interrupted: bool) -> _Told:
        if interrupted:
            return _INTERRUPTED
        known = error if isinstance(error, CandorError) else storage_full(error, self.store.cache_root)
        if known is not None:
            return _Told(type(known).__name__, known.exit_code, str(known))
        words = " ".join(str(error).split())
        reason = f"{type(error).__name__}: {words}" if words else type(error).__name__
        return _Told(type(error).__name__, StageFailed.exit_code, reason[:1000])

    def _finish(self, changes: dict[str, Any]) -> Attempt:
        try:
            # A failure has nothing but this record; a success has its artifact, which is on the disk by now.
            durable = changes["outcome"] != "succeeded"
            attempt = self.attempt.updated({**self._measured(), **changes}, durable=durable)
            facts = {
                "task": self.task.id,
                "attempt": attempt.record.attempt,
                "outcome": attempt.record.outcome,
            }
            self.run.journal.append("task_finished", **facts, reason=attempt.record.reason)
        except OSError as e:
            raise storage_full(e, self.run.path) or e from e
        return attempt


@dataclass(frozen=True)
class _Told:
    """An error in the words of an attempt record."""

    error: str
    exit_code: int
    reason: str


_INTERRUPTED = _Told("KeyboardInterrupt", 130, "stopped by hand or by SIGTERM; the same command resumes it")


def _plain(result: Result) -> dict[str, Any]:
    """The summary as JSON; numpy scalars become numbers."""
    plain = json.loads(json.dumps(result.summary, default=lambda v: v.item()))
    assert isinstance(plain, dict)
    return plain
