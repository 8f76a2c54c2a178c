from __future__ import annotations

import pytest

from candor.errors import ConfigError
from candor.ids.experiment import resolve
from candor.ids.graphs.findings import CHECKS, Finding, refuse_unknown


def test_a_word_that_names_no_finding_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as error:
        refuse_unknown(["scaler_scope", "near_duplicate_across_split"])
    assert "the audit has no finding 'near_duplicate_across_split' (--allow)" in str(error.value)
    assert "Did you mean 'near_duplicates_across_splits'?" in str(error.value)
    assert all(name in str(error.value) for name in CHECKS)


@pytest.mark.parametrize(
    "how", [{"allow": ["flows_without_tim"]}, {"sets": ["audit_allow=[flows_without_tim]"]}]
)
def test_no_way_of_allowing_takes_a_word_that_names_no_finding(how: dict[str, list[str]]) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'flows_without_time'"):
        resolve("kd", "synthetic", **how)  # type: ignore[arg-type]


def test_a_check_nobody_could_allow_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="not listed in CHECKS"):
        Finding("made_up", "error", "x")
