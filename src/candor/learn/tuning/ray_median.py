"""The median rule on Ray, as Optuna's pruner applies it without Ray.

Ray's own ``MedianStoppingRule`` pauses trials while it has too few to compare with, and starts them over later; a trial
here is a run, which has no use for that.

Rule: Golovin et al. 2017, "Google Vizier: A Service for Black-Box Optimization", section 3.2.1.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from candor.learn.tuning.spaces import Space

#: As ``search._pruner``: completed trials to compare with, and epochs before which no trial is stopped.
STARTUP_TRIALS, WARMUP_EPOCHS = 5, 2


class Median(FIFOScheduler):
    """Stops a trial whose best value so far is worse than the median of the completed ones at the same epoch.

    Args:
        completed: curves (epoch, counted from 0, → value) of trials that an earlier search completed.
    """

    def __init__(self, space: Space, completed: list[dict[int, float]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._space, self._completed = space, completed
        self._running: dict[str, dict[int, float]] = {}

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether the trial goes on."""
        if self._space.metric not in result or "epoch" not in result:
            return str(TrialScheduler.CONTINUE)
        epoch, curve = int(result["epoch"]) - 1, self._running.setdefault(trial.trial_id, {})
        curve[epoch] = float(result[self._space.metric])
        best = min(curve.values()) if self._space.mode == "min" else max(curve.values())
        others = [known[epoch] for known in self._completed if epoch in known]
        enough = len(self._completed) >= STARTUP_TRIALS and epoch >= WARMUP_EPOCHS and others
        if enough and self._space.better(median(others), best):
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)

    def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """A trial that came to its end is one to compare with."""
        self._completed.append(self._running.pop(trial.trial_id, {}))
