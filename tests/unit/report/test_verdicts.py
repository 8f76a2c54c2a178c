from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from candor.errors import AuditFailed
from candor.report.verdicts import read_thresholds

RECORD: dict[str, Any] = {"detector": "gat", "variant": "teacher", "seed": 1, "value": 0.5}


def written(folder: Path, *records: dict[str, Any]) -> Path:
    path = folder / "thresholds.json"
    path.write_text(json.dumps(records))
    return path


def test_a_threshold_chosen_on_validation_is_read(tmp_path: Path) -> None:
    assert read_thresholds(written(tmp_path, RECORD | {"chosen_on": "val"}))[0]["value"] == 0.5


@pytest.mark.parametrize(
    ("said", "word"), [({"chosen_on": "test"}, "test"), ({}, "windows it does not name")]
)
def test_a_threshold_of_any_other_origin_is_refused(tmp_path: Path, said: dict[str, str], word: str) -> None:
    path = written(tmp_path, RECORD | {"chosen_on": "val"}, RECORD | said)
    with pytest.raises(AuditFailed, match=f"gat teacher, seed 1, was chosen on {word}"):
        read_thresholds(path)
