"""Jobs that SLURM keeps waiting for others that will not end.

Seen with SLURM 22.05: jobs that were requeued because their node was declared down, and started there again right
after it came back, ran to their end, but the controller took no notice. It called them running, on a node that it
called idle, until their time limit; the node's next failure did not wake it. Their tasks are published, and what
depends on them by ``afterok`` would never start.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from candor.errors import SchedulerError
from candor.executors.scheduler import Queued, Scheduler
from candor.flow.plan import Plan
from candor.flow.run import Run

log = logging.getLogger(__name__)

#: After a task, its job writes its epilog and SLURM hears of its end. What still waits for it then waits in vain.
STUCK_S = 60.0


@dataclass
class Stuck:
    """Remembers since when jobs wait although all that their tasks need is published."""

    scheduler: Scheduler
    _since: dict[str, float] = field(default_factory=dict)

    def holds(self, entry: Queued) -> bool:
        """Whether ``entry``, whose task could start, has waited for other jobs for too long. Ask at every poll."""
        if not _waits(entry):
            return False
        now = time.monotonic()
        return now - self._since.setdefault(entry.job, now) >= STUCK_S

    def free(
        self,
        plan: Plan,
        run: Run,
        jobs: Mapping[str, str],
        live: Mapping[str, Queued],
        published: Callable[[str], bool],
    ) -> None:
        """Let every waiting job start whose task has all it needs.

        Args:
            jobs: task ID → job. live: job → its entry in the queue.
            published: whether a task, by its ID, is.
        """
        for task in plan.tasks:
            entry = live.get(jobs.get(task.id, ""))
            if entry is None or not _waits(entry) or not all(map(published, task.inputs.values())):
                continue
            self._since[entry.job] = time.monotonic()
            try:
                self.scheduler.wait_for(entry.job, "")
            except SchedulerError as e:  # It started meanwhile, or the site forbids it.
                log.warning("job %s waits for a job that is done: %s", entry.job, e)
            else:
                run.journal.append("jobs_freed", task=task.id, job=entry.job)


def _waits(entry: Queued) -> bool:
    return entry.state == "PENDING" and entry.reason == "Dependency"
