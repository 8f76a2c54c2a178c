"""Bringing a tracking service up to date with the records: idempotent, and restartable at any point."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from pydantic import ValidationError

from candor.config.base import Config
from candor.errors import TrackingUnavailable
from candor.flow.storage import write_atomic
from candor.tracking.alerts import Alert, AlertRules, find_alerts
from candor.tracking.tracked import Shown, Source

Mode = Literal["online", "offline", "off"]


class Tracking(Config):
    """``tracking/tracking.json`` of a run or a study: whether it is to be shown, and where."""

    mode: Mode = "offline"
    project: str = "candor"
    entity: str = ""


class Sent(Config):
    """``tracking/<name>.sent.json``: what the service is known to have of a task or trial.

    Attributes:
        destination: entity/project; what was sent to another one does not count.
        told: alerts told, as ``kind:step``.
    """

    key: str
    destination: str
    rows: int = 0
    outcome: str = ""
    told: tuple[str, ...] = ()


class Mirror(Protocol):
    """The run at the service of one task or trial; see wandb.MirroredRun."""

    def push(self, task: Shown, alerts: list[Alert]) -> int:
        """Send what is not there yet; how many rows that was."""

    def close(self) -> None:
        """Wait until everything has arrived."""


Open = Callable[[Shown], Mirror]


def tracking_of(path: Path) -> Tracking:
    """How the run or study in the folder ``path`` is tracked; offline if nobody said."""
    try:
        return Tracking.model_validate_json((path / "tracking" / "tracking.json").read_bytes())
    except (OSError, ValidationError):
        return Tracking()


def set_tracking(path: Path, tracking: Tracking) -> None:
    """Remember how the run or study in the folder ``path`` is to be tracked."""
    note = path / "tracking" / "tracking.json"
    note.parent.mkdir(exist_ok=True)
    write_atomic(note, tracking.model_dump_json(indent=2))


@dataclass
class TaskSync:
    """How far one task or trial is."""

    task: str
    state: Literal["sent", "up to date", "failed", "to send"]
    rows: int
    sent_rows: int = 0
    alerts: list[Alert] = field(default_factory=list)
    reason: str = ""


@dataclass
class Synchroniser:
    """Sends what a run or a study has and the service has not.

    Attributes:
        open_mirror: makes the connection for one task.
        destination: names the place, so that another one starts from nothing.
        clock: seconds since the epoch.
    """

    source: Source
    destination: str
    open_mirror: Open
    rules: AlertRules = field(default_factory=AlertRules)
    clock: Callable[[], float] = time.time
    _open: dict[str, Mirror] = field(default_factory=dict, repr=False)

    def pending(self) -> list[TaskSync]:
        """What a call of ``once`` would do. Sends nothing."""
        return [
            TaskSync(
                task.name,
                "up to date" if self._is_there(task, sent, alerts) else "to send",
                len(task.rows),
                sent.rows,
                alerts,
            )
            for task, sent, alerts in self._tasks()
        ]

    def once(self, *, keep_open: bool = False) -> Iterator[TaskSync]:
        """Bring every task up to date, one after the other; a failure of one is told and the next is tried.

        Args:
            keep_open: leave the connections of tasks that still run open, for the next call.
        """
        for task, sent, alerts in self._tasks():
            if self._is_there(task, sent, alerts):
                yield TaskSync(task.name, "up to date", len(task.rows), sent.rows, alerts)
                continue
            try:
                rows = self._send(task, sent, alerts, keep_open=keep_open)
            except TrackingUnavailable as e:
                self._open.pop(task.key, None)
                yield TaskSync(task.name, "failed", len(task.rows), sent.rows, alerts, str(e))
            else:
                yield TaskSync(task.name, "sent", len(task.rows), rows, alerts)

    def _send(self, task: Shown, sent: Sent, alerts: list[Alert], *, keep_open: bool) -> int:
        mirror = self._open.get(task.key) or self.open_mirror(task)
        new_alerts = [a for a in alerts if _name(a) not in sent.told]
        rows = mirror.push(task, new_alerts)
        if keep_open and not task.ended:
            self._open[task.key] = mirror
            self._remember(task, sent, new_alerts, rows=0, outcome="")
            return rows
        mirror.close()
        self._open.pop(task.key, None)
        # Only now is it certain that the service has it.
        self._remember(task, sent, new_alerts, rows=len(task.rows), outcome=task.outcome)
        return rows

    def close(self) -> None:
        """Close what is still open; the next synchronisation finds what is missing."""
        for mirror in self._open.values():
            try:
                mirror.close()
            except TrackingUnavailable:
                continue
        self._open.clear()

    def _is_there(self, task: Shown, sent: Sent, alerts: Iterable[Alert]) -> bool:
        whole = sent.rows == len(task.rows) and sent.outcome == task.outcome
        return whole and all(_name(a) in sent.told for a in alerts)

    def _tasks(self) -> Iterator[tuple[Shown, Sent, list[Alert]]]:
        for task in self.source.shown():
            yield task, self._sent(task), find_alerts(task, self.rules, self.clock())

    def _path(self, task: Shown) -> Path:
        return self.source.folder / f"{task.name}.sent.json"

    def _sent(self, task: Shown) -> Sent:
        nothing = Sent(key=task.key, destination=self.destination)
        try:
            sent = Sent.model_validate(json.loads(self._path(task).read_bytes()))
        except (OSError, ValueError):
            return nothing
        same = sent.key == nothing.key and sent.destination == nothing.destination
        return sent if same else nothing

    def _remember(self, task: Shown, sent: Sent, alerts: list[Alert], *, rows: int, outcome: str) -> None:
        told = (*sent.told, *map(_name, alerts))
        path = self._path(task)
        path.parent.mkdir(exist_ok=True)
        now = sent.model_copy(update={"rows": rows, "outcome": outcome, "told": told})
        write_atomic(path, now.model_dump_json(indent=2))


def _name(alert: Alert) -> str:
    return f"{alert.kind}:{alert.step}"
