from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field

import pytest
from flow_kit import Kit, toy_plan

from candor.executors.base import execute


@dataclass
class Stopped:
    """An executor, and each of its jobs, that SIGTERM reaches while it waits, and again while it stops."""

    name: str = "stopped"
    heard: list[str] = field(default_factory=list)

    def submit(self, *job: object) -> Stopped:
        del job
        return self

    def result(self) -> None:
        self._told("waiting")

    def stop(self) -> None:
        self._told("stopping")
        self.heard.append("stopped")

    def _told(self, what: str) -> None:
        self.heard.append(what)
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_second_sigterm_does_not_keep_a_run_from_stopping_in_order(kit: Kit) -> None:
    plan, executor = toy_plan(), Stopped()
    run = kit.open(plan)
    with pytest.raises(KeyboardInterrupt):
        execute(executor, plan, run, ["left"])  # type: ignore[arg-type]
    assert executor.heard == ["waiting", "stopping", "stopped"]
    assert run.journal.read()[-1]["outcome"] == "interrupted"
