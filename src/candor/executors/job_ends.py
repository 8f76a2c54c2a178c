"""Whether the job of an attempt is over for certain, as far as the scheduler that answers here knows."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from candor.errors import SchedulerError
from candor.executors.endings import ENDED
from candor.executors.scheduler import Accounted, Queued, Scheduler, scheduler_here
from candor.executors.settling import incarnation_at
from candor.flow.attempt import AttemptRecord, iso_seconds

#: Clocks of node and controller may differ by so much.
_SLACK_S = 120.0


@dataclass
class JobEnds:
    """``ends(record)`` is true only on evidence: silence, or a job of the same number on another cluster, is none.

    Attributes:
        trouble: why the scheduler could not be asked; empty if it could, or nobody had to.
    """

    scheduler: Scheduler = field(default_factory=lambda: scheduler_here(5.0))
    trouble: str = ""
    _queue: dict[str, Queued] | None = None

    def __call__(self, record: AttemptRecord) -> bool:
        """Whether the job of an attempt ended, or began anew since."""
        return record.job is not None and self.over(
            record.job, record.process.host, iso_seconds(record.started)
        )

    def over(self, job: str, host: str, began_s: float) -> bool:
        """Whether the start of ``job`` that did something on ``host`` at ``began_s`` (since 1970) is over."""
        if self.trouble:
            return False
        try:
            if self._queue is None:
                self._queue = {entry.job: entry for entry in self.scheduler.queue()}
            rows = self.scheduler.accounting([job])
        except SchedulerError as e:
            self.trouble = str(e)
            return False
        row = incarnation_at(job, began_s, rows)
        if row is None or not _is_of(host, began_s, row):
            return False
        if job not in self._queue:
            return row.state in ENDED
        # Requeued: the job lives, this start of it does not.
        return row.state in (*ENDED, "REQUEUED") and row is not rows[-1]


def _is_of(host: str, began: float, row: Accounted) -> bool:
    """Whether it can have happened in this start of the job: by the clock, and by the node."""
    if (
        row.start is None
        or began < row.start - _SLACK_S
        or (row.end is not None and began > row.end + _SLACK_S)
    ):
        return False
    return host.partition(".")[0] in hosts(row.nodes)


def hosts(text: str) -> set[str]:
    """``node[1-3,07],login`` → names. Pure."""
    found: set[str] = set()
    for part in re.findall(r"[^,\[]+(?:\[[^\]]*\][^,\[]*)*", text):
        names = [""]
        for plain, inside in re.findall(r"([^\[\]]+)|\[([^\]]*)\]", part):
            names = [name + tail for name in names for tail in ([plain] if plain else _numbers(inside))]
        found |= set(names)
    return found


def _numbers(text: str) -> list[str]:
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += [str(n).zfill(len(first)) for n in range(int(first), int(last or first) + 1)]
    return found
