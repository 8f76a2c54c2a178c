"""Thresholds as evaluate recorded them, taken only if they say that they come from validation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from candor.errors import AuditFailed

#: What a record must say of the windows that its threshold was chosen on.
CHOSEN_ON: Final = "val"


def read_thresholds(path: Path) -> list[dict[str, Any]]:
    """Records of a thresholds.json. Raises AuditFailed for one that does not name validation as its source."""
    records: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    for record in records:
        if record.get("chosen_on") != CHOSEN_ON:
            raise AuditFailed(
                f"the threshold of {record['detector']} {record['variant']}, seed {record['seed']}, was chosen on "
                f"{record.get('chosen_on') or 'windows it does not name'}",
                place=str(path),
                hint="Thresholds come from validation alone: run evaluate again.",
            )
    return records
