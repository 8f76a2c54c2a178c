"""What thresholds may be chosen from: windows of the validation graphs, and no others.

The audit looks at scalers and vocabulary before anything is trained; thresholds exist only here, so here they are checked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

from candor.errors import AuditFailed, SourceMissing
from candor.ids.scoring import window_rows

_WINDOW: Final = ("capture", "window", "t0", "t1", "y")


def validation_windows(build_train: Path) -> pl.DataFrame:
    """Windows of the validation graphs. Raises SourceMissing without them."""
    folder = build_train / "val"
    if not (folder / "meta.json").is_file():
        raise SourceMissing("the build_train artifact has no validation graphs", hint="Run the build again.")
    return window_rows(folder, "val").select(_WINDOW)


def refuse_foreign(scored: pl.DataFrame, validation: pl.DataFrame, place: str) -> None:
    """Raise AuditFailed if rows that a detector calls validation are no windows of the validation graphs."""
    foreign = scored.select(_WINDOW).join(validation, on=_WINDOW, how="anti")
    if foreign.height:
        first = foreign.row(0, named=True)
        raise AuditFailed(
            f"{foreign.height} of {scored.height} windows that were scored as validation are none of the validation "
            f"graphs (first: capture {first['capture']}, window {first['window']}); thresholds would come from other data",
            place=place,
            hint="Score the val split of build_train, and nothing else, as validation.",
        )
