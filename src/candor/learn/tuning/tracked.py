"""Trials of a study as a tracking service sees them, read from their records: whoever runs them, and wherever.

Searches on Ray, in jobs and in this process all write the same records, a trial's after every epoch. So none of them
needs a callback of its own, and none waits for a service.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from candor.config.fingerprint import digest
from candor.learn.tuning.study import Study, StudyInfo, TrialRecord
from candor.tracking.tracked import Made, Row


@dataclass(frozen=True)
class TrackedTrial:
    """One trial. ``written_s``: when its record was written, seconds since 1970."""

    info: StudyInfo
    record: TrialRecord
    written_s: float

    @property
    def id(self) -> str:
        """The start of ``key``."""
        return self.key[:24]

    @property
    def key(self) -> str:
        """Of what is searched and the trial's values.

        Without its number: values that are tried again, after their worker was killed, go on in the same run. Without
        the epoch whose weights are kept, which follows from the stage.
        """
        searched = self.info.model_dump(mode="json", exclude={"trials": True, "space": {"keeps"}})
        return digest({"study": searched, "values": self.record.values})

    @property
    def name(self) -> str:
        """``trial-7``."""
        return f"trial-{self.record.number}"

    @property
    def group(self) -> str:
        """The study."""
        return self.info.study

    @property
    def job_type(self) -> str:
        """``trial``."""
        return "trial"

    @property
    def settings(self) -> dict[str, Any]:
        """The values that were searched, and in which study."""
        told = self.info.model_dump(
            mode="json", include={"study", "experiment", "dataset", "variant", "seed"}
        )
        return {**self.record.values, "candor": {**told, "trial": self.record.number}}

    @property
    def rows(self) -> list[Row]:
        """The metric that counts, by epoch."""
        return [Row("epoch", epoch, {self.info.space.metric: value}) for epoch, value in self.record.curve]

    @property
    def summary(self) -> dict[str, Any]:
        """The trial's value, which is the best of its metric, and which run it was."""
        kept = self.record.model_dump(include={"value", "duration_s", "out_of_memory", "run"})
        return {name: value for name, value in kept.items() if value is not None}

    @property
    def outcome(self) -> str:
        """running, complete, pruned or failed."""
        return self.record.state

    @property
    def reason(self) -> str:
        """Why it failed or was pruned."""
        return self.record.reason

    @property
    def ended(self) -> bool:
        """Whether its run ended."""
        return self.record.state != "running"

    @property
    def failed(self) -> bool:
        """A pruned trial did not fail: it was no use going on."""
        return self.record.state == "failed"

    @property
    def started_s(self) -> float | None:
        """Its last sign of life less how long it had taken then."""
        return None if self.record.duration_s is None else self.written_s - self.record.duration_s

    @property
    def last_row_s(self) -> float | None:
        """When its last epoch was noted."""
        return self.written_s if self.record.curve else None

    @property
    def made(self) -> Made | None:
        """None: what a trial makes are the artifacts of its run's tasks."""
        return None


@dataclass(frozen=True)
class TrackedStudy:
    """A study as a source."""

    study: Study

    @property
    def folder(self) -> Path:
        """``tracking`` in the study's folder."""
        return self.study.path / "tracking"

    def shown(self) -> Iterator[TrackedTrial]:
        """Its trials; of several with the same values, which are one run at the service, the last."""
        info, trials = self.study.info(), {}
        for record in self.study.trials():
            try:
                written_s = (self.study.path / "trials" / f"{record.number}.json").stat().st_mtime
            except FileNotFoundError:  # Its worker died, and its values were queued again.
                continue
            trial = TrackedTrial(info, record, written_s)
            trials[trial.key] = trial
        yield from trials.values()
