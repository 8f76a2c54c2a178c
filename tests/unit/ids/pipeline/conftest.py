"""The plan of the synthetic experiment, changed as a test asks."""

from collections.abc import Callable
from pathlib import Path

import pytest
from plan_kit import config_in

from candor.flow.plan import Plan, render
from candor.ids import pipeline


@pytest.fixture
def plan_of(tmp_path: Path) -> Callable[..., Plan]:
    """``plan_of("a.b=c", seeds=[1, 2])``."""

    def make(*sets: str, seeds: list[int] | None = None) -> Plan:
        return render("kd-synthetic", pipeline.plan(config_in(tmp_path, *sets, seeds=seeds)))

    return make
