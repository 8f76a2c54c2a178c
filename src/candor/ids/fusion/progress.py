"""What a policy's training tells of itself: one row of means per episode, and what it earns on validation windows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

from candor.flow.stage import Output
from candor.ids.fusion.policy import Policy
from candor.ids.fusion.validation import VAL_REWARD, Validation

log = logging.getLogger(__name__)


class Episodes(Protocol):
    """How long a policy learns."""

    @property
    def episodes(self) -> int: ...
    @property
    def steps_per_episode(self) -> int: ...


class EpisodeLog:
    """Sums what every step reports; at the end of an episode its means go to the log, the recorder and the bar.

    Beside them stands what ``policy`` would earn on ``validation`` windows just then.
    """

    def __init__(
        self, config: Episodes, out: Output, policy: Policy, validation: Validation | None = None
    ) -> None:
        self._config, self._out, self._policy, self._validation = config, out, policy, validation
        out.recorder.rewind(0, kind="episode")  # An attempt begins anew: no policy has checkpoints.
        self._sums: dict[str, float] = {}
        self._steps = 0

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self._config.episodes * self._config.steps_per_episode

    def step(self, values: Mapping[str, float], **now: float) -> None:
        """``values`` are averaged over the episode, ``now`` is reported as it stands at its end."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1
        per_episode = self._config.steps_per_episode
        if self._steps % per_episode:
            return
        episode = self._steps // per_episode
        means = {name: total / per_episode for name, total in self._sums.items()}
        if self._validation is not None:
            now[VAL_REWARD] = self._validation.reward(self._policy)
        log.info("episode %d of %d: reward %.4f", episode, self._config.episodes, means["reward"])
        self._out.recorder.log(episode - 1, {**means, **now}, kind="episode")
        self._out.progress(episode, self._config.episodes, f"reward {means['reward']:.3f}")
        self._sums = {}
