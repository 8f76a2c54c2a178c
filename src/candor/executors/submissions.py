"""What the scheduler gets for one batch of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from candor.executors.batches import Batch


@dataclass(frozen=True)
class Submission:
    """A script, and what its job waits for."""

    batch: Batch
    script: str
    #: IDs of tasks and heads of batches stand where job IDs will.
    after: tuple[str, ...]
    paired: tuple[str, ...]

    def dependency(self, jobs: Mapping[str, str], arrays: Mapping[str, str]) -> str:
        """``afterok:1:2_3,aftercorr:4``."""
        parts = []
        if self.after:
            parts.append("afterok:" + ":".join(jobs[task_id] for task_id in self.after if task_id in jobs))
        parts += [f"aftercorr:{arrays[head]}" for head in self.paired]
        return ",".join(part for part in parts if not part.endswith(":"))
