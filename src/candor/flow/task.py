"""Run one task of a plan, whoever the executor is."""

from __future__ import annotations

from collections.abc import Mapping

from candor.flow.artifact import ArtifactStore
from candor.flow.attempt import Attempt
from candor.flow.execution import Execution, RecorderFactory, StageIn
from candor.flow.logs import attempt_log
from candor.flow.plan import Plan
from candor.flow.recording import begin, bury, note_interruption, record_cached
from candor.flow.run import Run
from candor.flow.stage import Progress, Stage
from candor.flow.storage import storage_full
from candor.flow.workers import LocalWorkers, Workers

#: A job script says here how close a task's inputs are brought before it reads them: ``scratch`` or ``tmpdir``.
STAGE_IN_VARIABLE = "CANDOR_STAGE_IN"


def silent(done: float, total: float, note: str = "") -> None:
    """A Progress that tells nobody."""


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
            bury(run, task, store)
            attempt = begin(run, task)
            with attempt_log(attempt.log):
                return Execution(
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
            note_interruption(run, task)
            raise
