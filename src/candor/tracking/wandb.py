"""Weights & Biases as a mirror: it is shown what the records say, and nothing is lost if it never is.

A task, or a trial of a study, is one W&B run whose ID comes from what names the work, so the same work is the same run,
uploading twice adds nothing, and what was cut off goes on where it stopped. Row *i* of a task is step *i* of its run; the clocks (epoch,
step, episode) are metrics of their own.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from candor.errors import ExtraMissing, TrackingUnavailable
from candor.tracking.alerts import Alert
from candor.tracking.tracked import Made, Shown

log = logging.getLogger(__name__)

Mode = Literal["online", "offline"]


@dataclass(frozen=True)
class Destination:
    """Where at W&B.

    Attributes:
        entity: user or team; empty for the key's own.
        timeout_s: how long any one request may take in all its retries; a mirror must not hang.
        folder: where the client keeps its own files.
    """

    project: str
    folder: Path
    entity: str = ""
    mode: Mode = "online"
    timeout_s: float = 60.0


class MirroredRun:
    """The run at W&B of one task or trial, open for more rows until ``close``.

    Raises TrackingUnavailable from every method that talks to W&B: no key, a wrong one, no network, no answer.
    """

    def __init__(self, task: Shown, to: Destination) -> None:
        self._wandb = _client()
        self._task, self._to = task, to
        with _told_plainly(to):
            self._run = self._wandb.init(
                project=to.project,
                entity=to.entity or None,
                id=task.id,
                name=task.name,
                group=task.group,
                job_type=task.job_type,
                config=task.settings,
                dir=to.folder,
                mode=to.mode,
                resume="allow",
                reinit="create_new",
                settings=_settings(self._wandb, to),
            )
            for kind in sorted({row.kind for row in task.rows}):
                self._run.define_metric(kind)
                self._run.define_metric(f"{kind}/*", step_metric=kind)
        self._next = int(self._run.starting_step)

    def push(self, task: Shown, alerts: Sequence[Alert] = ()) -> int:
        """Send the rows that are not there yet and ``alerts``; how many rows were sent."""
        new = task.rows[self._next :]
        with _told_plainly(self._to):
            for row in new:
                values = {f"{row.kind}/{name}": value for name, value in row.metrics.items()}
                self._run.log({row.kind: row.step, **values}, step=self._next)
                self._next += 1
            for alert in alerts:
                self._run.alert(title=f"{task.name}: {alert.kind.replace('_', ' ')}", text=alert.text)
        self._task = task
        return len(new)

    def close(self) -> None:
        """Say how the work stands, hand over its artifact with its sources, and wait until all is uploaded."""
        task = self._task
        with _told_plainly(self._to):
            self._run.summary.update({**_flat(task.summary), "outcome": task.outcome, "reason": task.reason})
            made = task.made
            if made is not None and self._to.mode == "online":
                for name, (stage, key) in made.sources.items():
                    self._run.use_artifact(f"{artifact_name(stage, key)}:latest", use_as=name)
                logged = self._run.log_artifact(self._artifact(made, task.summary))
                logged.wait(timeout=math.ceil(self._to.timeout_s))
            self._run.finish(exit_code=1 if task.failed else 0)
            if self._to.mode == "online":
                self._verify()

    def _verify(self) -> None:
        """Ask W&B how much it has: the client drops what it could not send, with no more than a line on the screen."""
        api = self._wandb.Api(timeout=math.ceil(self._to.timeout_s))
        there = api.run(f"{self._run.entity}/{self._to.project}/{self._task.id}")
        rows = there.lastHistoryStep + 1
        if rows < self._next:
            raise OSError(f"of {self._next} rows {rows} arrived")

    def _artifact(self, made: Made, summary: dict[str, Any]) -> Any:
        """The artifact by its manifest: digests of its files, not the files, which may be gigabytes of captures."""
        artifact = self._wandb.Artifact(
            artifact_name(made.stage, made.key), type=made.stage, metadata=_flat(summary)
        )
        artifact.add_file(str(made.manifest), name="record.json")
        return artifact


def artifact_name(stage: str, key: str) -> str:
    """Name of an artifact at W&B."""
    return f"{stage}-{key[:24]}"


def _client() -> Any:
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        import wandb
    except ImportError as e:
        raise ExtraMissing("W&B's client is not installed", hint="pip install 'candor[wandb]'.") from e
    return wandb


def _settings(wandb: Any, to: Destination) -> Any:
    """Nothing of this machine is told, and nothing retries for ever."""
    tries = 3
    return wandb.Settings(
        console="off",
        disable_code=True,
        disable_git=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
        host="candor",
        program="candor",
        init_timeout=to.timeout_s,
        finish_timeout=to.timeout_s,
        finish_timeout_raises=True,
        x_graphql_retry_max=tries,
        x_graphql_timeout_seconds=to.timeout_s / tries,
        x_graphql_retry_wait_max_seconds=to.timeout_s / 10,
        x_file_stream_retry_max=tries,
        x_file_stream_timeout_seconds=to.timeout_s / tries,
        x_file_stream_retry_wait_max_seconds=to.timeout_s / 10,
        x_file_transfer_retry_max=tries,
        x_file_transfer_timeout_seconds=to.timeout_s / tries,
        x_file_transfer_retry_wait_max_seconds=to.timeout_s / 10,
    )


@contextlib.contextmanager
def _told_plainly(to: Destination) -> Iterator[None]:
    """Whatever the client raises, as one error with the next step."""
    try:
        yield
    except Exception as e:  # The client's errors share no base.
        with contextlib.suppress(Exception):
            # It holds the run's ID after a failure, and its service may be what died; the next task gets a new one.
            _client().teardown()
        raise TrackingUnavailable(
            f"W&B did not take it: {' '.join(str(e).split())[:300] or type(e).__name__}",
            place=f"project {to.project}",
            hint="Nothing is lost: `candor track sync` sends it later. Check `wandb login` and the network.",
        ) from e


def _flat(values: dict[str, Any], at: str = "") -> dict[str, Any]:
    """Nested summaries with dotted keys, as W&B shows them best; lists stay out."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{at}{name}.")
        elif isinstance(value, int | float | str | bool):
            flat[f"{at}{name}"] = value
    return flat
