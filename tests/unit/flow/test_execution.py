"""How a stage gets its config; what becomes of an attempt is in test_task.py."""

from __future__ import annotations

import pytest
from toy_pipeline import STAGES, NumberConfig

from candor.errors import ConfigError
from candor.flow.execution import config_type
from candor.flow.stage import Result


def test_stages_resolve_their_config_even_if_other_annotations_are_for_checkers_only() -> None:
    def stage(config: NumberConfig, inputs: NotImported, out: NotImported) -> Result:  # type: ignore[name-defined]  # noqa: F821
        return Result()

    assert config_type(stage) is NumberConfig
    assert config_type(STAGES["number"]) is NumberConfig


def test_a_stage_without_a_config_type_is_refused() -> None:
    def stage(config, inputs, out):  # type: ignore[no-untyped-def]
        return Result()

    with pytest.raises(ConfigError, match="declares no type"):
        config_type(stage)
