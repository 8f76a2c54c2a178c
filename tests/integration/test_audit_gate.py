"""A leak stops the main job; allowed by name, it is printed under the table that was made in spite of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
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
ALLOW = ("--allow", "identical_captures_across_splits", "--allow", "duplicate_windows_train_test")


def csv(seed: int, *, attack: bool) -> str:
    """Twelve seconds of six IDs with noisy payloads; every fifth frame of the middle is an attack."""
    rng = np.random.default_rng(seed)
    lines = ["timestamp,arbitration_id,data_field,attack"]
    for k, t in enumerate(np.arange(0, 12, 0.002)):
        hit = attack and 3 < t < 11 and k % 5 == 0
        payload = "0" * 16 if hit else rng.bytes(8).hex().upper()
        lines.append(f"{t:.6f},{0 if hit else 0x100 + k % 6:03X},{payload},{int(hit)}")
    return "\n".join(lines) + "\n"


def test_an_allowed_leak_is_printed_under_the_table(tmp_path: Path) -> None:
    presets, raw = tmp_path / "data" / "presets" / "datasets", tmp_path / "data" / "leaky"
    for folder in (presets, raw):
        folder.mkdir(parents=True)
    (presets / "leaky.yaml").write_text(PRESET)
    for name, text in (
        ("free", csv(0, attack=False)),
        ("hit", csv(1, attack=True)),
        ("tested", csv(1, attack=True)),
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
