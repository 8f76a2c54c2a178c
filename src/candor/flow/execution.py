"""One attempt under way: the only place where a stage is called, and its artifact published or its failure recorded."""

from __future__ import annotations

import inspect
import json
import logging
import shutil
import time
import traceback
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError

from candor.errors import CandorError, ConfigError, StageFailed
from candor.flow.artifact import Artifact, ArtifactStore
from candor.flow.attempt import METRICS, Attempt
from candor.flow.plan import Plan, PlannedTask
from candor.flow.process import peak_memory_bytes, reset_peak_memory
from candor.flow.recording import INTERRUPTED, Told
from candor.flow.run import Run
from candor.flow.stage import Inputs, Output, Progress, Recorder, Result, Stage
from candor.flow.storage import chain, storage_full
from candor.flow.workers import Workers

log = logging.getLogger(__name__)

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


@dataclass
class Execution:
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

    def _explained(self, error: BaseException, *, interrupted: bool) -> Told:
        if interrupted:
            return INTERRUPTED
        known = error if isinstance(error, CandorError) else storage_full(error, self.store.cache_root)
        if known is not None:
            return Told(type(known).__name__, known.exit_code, str(known))
        words = " ".join(str(error).split())
        reason = f"{type(error).__name__}: {words}" if words else type(error).__name__
        return Told(type(error).__name__, StageFailed.exit_code, reason[:1000])

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


def _plain(result: Result) -> dict[str, Any]:
    """The summary as JSON; numpy scalars become numbers."""
    plain = json.loads(json.dumps(result.summary, default=lambda v: v.item()))
    assert isinstance(plain, dict)
    return plain
