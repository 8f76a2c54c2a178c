"""Runs a plan on Ray: every task is submitted at once, and takes the results of those it needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import ray
from ray.exceptions import (
    GetTimeoutError,
    NodeDiedError,
    OutOfMemoryError,
    RayError,
    RaySystemError,
    RayTaskError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from candor.errors import ConfigError, RayUnavailable
from candor.executors.base import Job, JobResult, Skipped
from candor.executors.display import Display, Quiet
from candor.executors.ray_cluster import largest_node
from candor.executors.ray_environment import forwarded, travelling
from candor.executors.ray_task import Board, Call, Ended, carry_out
from candor.executors.ray_workers import STOP_GRACE_S
from candor.flow.artifact import ArtifactStore
from candor.flow.attempt import Attempt
from candor.flow.execution import RecorderFactory
from candor.flow.plan import Plan, PlannedTask
from candor.flow.recording import declare_lost
from candor.flow.run import Run
from candor.flow.stage import Stage

#: How often the driver looks what is new.
_LOOK_EVERY_S = 0.2


@dataclass(eq=False)
class RayJob:
    """A task under way."""

    task_id: str
    ref: Any
    plan: Plan
    run: Run
    after: Sequence[Job]
    executor: RayExecutor
    outcome: JobResult | None = None

    def result(self) -> JobResult:
        """Wait until the task ended."""
        return self.executor.wait_for(self)


@dataclass
class RayExecutor:
    """Runs each task as a Ray task. This process must be connected to Ray (see ``ray_cluster``).

    Attributes:
        load_stages: gives the stage functions; called in the workers, which import it by name.
        display: who is told how far the run is.
        max_retries: how often a task begins again after its worker or node was lost. A stage that raises is not tried
            again: its failure is a result.
        forward: prefixes of environment variables that tasks see as this process has them, secrets apart; by default
            Candor's own, W&B's, and those that ``CANDOR_FORWARD`` names (``HF_,MY_``).
    """

    store: ArtifactStore
    load_stages: Callable[[], Mapping[str, Stage]]
    recorder_factory: RecorderFactory
    display: Display = field(default_factory=Quiet)
    max_retries: int = 3
    forward: tuple[str, ...] = field(default_factory=lambda: forwarded(os.environ))
    name: str = "ray"
    _open: dict[Any, RayJob] = field(default_factory=dict, init=False)
    _shown: set[str] = field(default_factory=set, init=False)
    _asked: Any = field(default=None, init=False)

    def submit(self, plan: Plan, run: Run, task_id: str, after: Sequence[Job]) -> RayJob:
        """Hand the task to Ray, which starts it when those in ``after`` ended and there is room.

        Raises ConfigError if no node of the cluster has the GPUs that the task asks for.
        """
        task = plan.task(task_id)
        call = Call(
            plan=_part(plan, task).model_dump_json(),
            task_id=task_id,
            run=run.path,
            cache_root=self.store.cache_root,
            load_stages=self.load_stages,
            recorder_factory=self.recorder_factory,
            environment=self._environment,
            prefixes=self.forward,
            board=self._board,
        )
        assert all(isinstance(job, RayJob) for job in after)
        before = [job.ref for job in after if isinstance(job, RayJob)]
        ref = self._remote.options(
            name=task_id, max_retries=self.max_retries, **self._reservation(task)
        ).remote(call, *before)
        job = RayJob(task_id, ref, plan, run, after, self)
        self._open[ref] = job
        return job

    def wait_for(self, job: RayJob) -> JobResult:
        """Wait for one job, and meanwhile settle and show whatever else happens.

        Raises KeyboardInterrupt if a task was interrupted by someone else than this process, such as a node that goes down.
        """
        while job.outcome is None:
            ray.wait([job.ref], timeout=_LOOK_EVERY_S, fetch_local=False)
            ended, _ = ray.wait(list(self._open), num_returns=len(self._open), timeout=0, fetch_local=False)
            self._show_news()
            for ref in ended:
                if ref in self._open:
                    self._settle(self._open[ref])
        return job.outcome

    def stop(self) -> None:
        """Interrupt what runs and wait until it said so in its record; end what does not listen."""
        refs = list(self._open)
        for ref in refs:
            ray.cancel(ref)
        if not refs or not ray.is_initialized():
            return
        _, deaf = ray.wait(refs, num_returns=len(refs), timeout=STOP_GRACE_S, fetch_local=False)
        for ref in deaf:
            ray.cancel(ref, force=True)
        self._open.clear()

    @cached_property
    def _remote(self) -> Any:
        return ray.remote(carry_out)

    @cached_property
    def _environment(self) -> dict[str, str]:
        return travelling(os.environ, self.forward)

    @cached_property
    def _board(self) -> Any:
        if isinstance(self.display, Quiet):
            return None
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        return ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()

    @cached_property
    def _largest(self) -> dict[str, float]:
        """The most of each resource that one node has."""
        return largest_node()

    def _reservation(self, task: PlannedTask) -> dict[str, Any]:
        """What Ray should keep for the task. Processors and memory are wishes: a smaller machine gives all it has."""
        wanted, most = task.resources, self._largest
        if wanted.gpus > most["GPU"]:
            raise ConfigError(
                f"{task.id} asks for {wanted.gpus:g} GPU, and no node of this Ray has more than {most['GPU']:g}",
                place="resources.gpus",
                hint="Run it on a cluster that has them, or ask for fewer.",
            )
        memory = None if wanted.memory_gb is None else int(min(wanted.memory_gb * 1e9, most["memory"]))
        return {"num_cpus": min(wanted.cpus, most["CPU"]), "num_gpus": wanted.gpus, "memory": memory}

    def _settle(self, job: RayJob) -> None:
        """Find out how a job ended, after those before it, and show it."""
        for earlier in job.after:
            if isinstance(earlier, RayJob) and earlier.outcome is None:
                self._settle(earlier)
        del self._open[job.ref]
        outcome = self._outcome(job)
        if isinstance(outcome, Attempt) and outcome.record.outcome == "interrupted":
            raise KeyboardInterrupt(f"{job.task_id} was interrupted")
        job.outcome = outcome
        self._shown.add(job.task_id)
        self.display.finished(outcome)

    def _outcome(self, job: RayJob) -> JobResult:
        try:
            ended: Ended = ray.get(job.ref)
        except RayError as error:
            # Also raised for a task that never began, because Ray lost one that it needs.
            skipped = _skipped(job)
            if skipped is None:
                return self._without_result(job, error)
            job.run.journal.append("task_skipped", task=job.task_id, cause=skipped.cause)
            return skipped
        return ended.attempt() or Skipped(ended.task_id, ended.cause or ended.task_id)

    def _without_result(self, job: RayJob, error: RayError) -> Attempt:
        """The record of a task whose worker is gone; raises what went wrong around a stage, as running it here would."""
        if isinstance(error, RayTaskError):
            cause = error.cause
            assert isinstance(cause, BaseException)
            if isinstance(cause, RaySystemError) or "failed to import" in str(cause):
                raise RayUnavailable(
                    f"a Ray worker cannot load {job.task_id}: {' '.join(str(cause).split())[:200]}",
                    hint="Every node of the cluster needs the same environment and code as this process.",
                ) from error
            raise cause from error
        return declare_lost(job.run, job.plan.task(job.task_id), self.store, self._why_lost(error))

    def _why_lost(self, error: RayError) -> str:
        again = "the same command starts it again"
        if isinstance(error, OutOfMemoryError):
            return f"Ray ended it, because its node was running out of memory: ask for more memory; {again}"
        if isinstance(error, NodeDiedError):
            return f"its node was lost {self.max_retries + 1} times; {again}"
        return f"its worker was lost {self.max_retries + 1} times (killed, or out of memory); {again}"

    def _show_news(self) -> None:
        if self._board is None:
            return
        if self._asked is None:
            self._asked = self._board.news.remote()
        try:
            news = ray.get(self._asked, timeout=_LOOK_EVERY_S)
        except GetTimeoutError:  # Its answer is awaited further: the board tells everything once.
            return
        except RayError:  # Lost: a run goes on without bars.
            self._asked = None
            return
        self._asked = None
        tasks = {job.task_id: job.plan for job in self._open.values()}
        for task_id, (began, got) in news.items():
            if began and task_id in tasks and task_id not in self._shown:
                self._shown.add(task_id)
                self.display.started(tasks[task_id].task(task_id))
            if got is not None:
                self.display.progress(task_id, *got)


def _part(plan: Plan, task: PlannedTask) -> Plan:
    """The task and those whose artifacts it reads: a plan may have ten thousand."""
    needed = [plan.task(source) for source in dict.fromkeys(task.inputs.values())]
    return plan.model_copy(update={"tasks": (*needed, task)})


def _skipped(job: RayJob) -> Skipped | None:
    """If a job before this one did not publish, Ray never started this one."""
    for earlier in job.after:
        result = earlier.result()
        if isinstance(result, Skipped):
            return Skipped(job.task_id, result.cause)
        if not result.ok:
            return Skipped(job.task_id, earlier.task_id)
    return None
