"""A leak stops the main job; allowed by name, it is printed under the table that was made in spite of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from data_roots import traffic
from kd_run import TINY, Candor

pytestmark = pytest.mark.slow

PRESET = """\
name: leaky
title: Made for a test
domain: can
licence: none
citation: none
obtain: Nothing.
captures:
  - {capture: free, path: free, split: train, vehicle: v}
  - {capture: hit, path: hit, split: train, vehicle: v, attack: dos}
  - {capture: tested, path: tested, split: test, scenario: known, vehicle: v, attack: dos}
"""
#: Long enough to train on.
LONG: dict[str, Any] = {"seconds": 12.0, "between_s": (3.0, 11.0)}
ALLOW = ("--allow", "identical_captures_across_splits", "--allow", "duplicate_windows_train_test")


def test_an_allowed_leak_is_printed_under_the_table(tmp_path: Path) -> None:
    presets, raw = tmp_path / "data" / "presets" / "datasets", tmp_path / "data" / "leaky"
    for folder in (presets, raw):
        folder.mkdir(parents=True)
    (presets / "leaky.yaml").write_text(PRESET)
    for name, text in (
        ("free", traffic(0, attack=False, **LONG)),
        ("hit", traffic(1, attack=True, **LONG)),
        ("tested", traffic(1, attack=True, **LONG)),
    ):
        (raw / f"{name}.csv").write_text(text)
    candor = Candor(tmp_path)
    tiny = [v for v in TINY if not v.startswith("synthetic.")] + [
        "training.max_epochs=1",
        "fusion.episodes=2",
    ]
    job = ["run", "kd", "--dataset", "leaky", *(part for value in tiny for part in ("--set", value))]
    stopped = candor(*job, code=4)
    assert "identical_captures_across_splits" in stopped.stderr
    done = candor(*job, *ALLOW)
    for name in ALLOW[1::2]:
        assert f"The audit's error '{name}' was allowed" in done.stdout
    page = (candor.artifact("report") / "index.html").read_text()
    assert "was allowed: hit, tested have identical frames on both sides of the split" in page
    assert (candor.artifact("profile") / "profile.json").is_file()
