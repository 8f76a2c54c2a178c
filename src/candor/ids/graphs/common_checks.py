"""Checks that frames and flows share: they read the catalog, the events and the stores, and know no domain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from candor.ids.graphs import checks
from candor.ids.graphs.features import Feature
from candor.ids.graphs.findings import Finding, Severity
from candor.ids.graphs.store import GraphStore


def shared_captures(train: GraphStore, test: GraphStore) -> Iterator[Finding]:
    """Windows of one capture in training and in test."""
    shared = sorted(
        {c["capture"] for c in train.meta["captures"]} & {c["capture"] for c in test.meta["captures"]}
    )
    if shared:
        message = f"windows of {', '.join(shared)} are in training and in test"
        yield Finding("windows_overlap_across_splits", "error", message, {"captures": shared})


def scaler_scope(folder: Path, train: GraphStore, nodes: Sequence[Feature]) -> Iterator[Finding]:
    """The saved scaler against one fitted again on the benign windows of ``train``."""
    wrong = checks.scaler_differences(folder / "scaler.json", train, nodes)
    if wrong:
        message = "the scaler is not that of the benign training windows; it has seen other data"
        yield Finding("scaler_scope", "error", message, {"columns": wrong})


def silent_attacks(catalog: pl.DataFrame, events: pl.DataFrame, *, on_bus: bool = False) -> Iterator[Finding]:
    """Attack captures without one attack frame or flow: suppression removes frames, so events must be declared.

    Where frames are labelled, all benign, and no event is declared, a capture of an attack would be scored as benign
    traffic: an error. A release of flows may name a capture after an attack that its file lacks: a warning.
    """
    silent = catalog.filter((pl.col("attack") != "") & (pl.col("attack_frames") == 0))["capture"].to_list()
    if not silent:
        return
    declared = sorted(set(silent) & set(events["capture"]))
    bare = sorted(set(silent) - set(declared))
    message = f"attack captures without one attack frame: {', '.join(silent)}"
    message += "; their windows are labelled by declared events" if declared else ""
    message += (
        f"; no events declared either for {', '.join(bare)}: every window counts as benign" if bare else ""
    )
    wrong = catalog.filter(pl.col("capture").is_in(bare) & pl.col("labelled")).height > 0
    severity: Severity = "error" if wrong and on_bus else "warning" if bare else "info"
    if severity == "error":
        message += "; declare their intervals, or events: {kind: absence}, in the preset, or leave them out"
    evidence = {"declared_events": declared, "unlabelled": bare}
    yield Finding("attack_without_positive_labels", severity, message, evidence)


def unlabelled(catalog: pl.DataFrame) -> Iterator[Finding]:
    """Captures in which at least one row has no label, attack-free ones left out."""
    bare = catalog.filter(~pl.col("labelled") & (pl.col("attack") != ""))["capture"].to_list()
    if bare:
        message = f"captures without labels count as benign: {', '.join(bare)}"
        yield Finding("unlabelled_captures", "warning", message, {"captures": bare})


def one_class(catalog: pl.DataFrame, what: str) -> Iterator[Finding]:
    """Captures of attacks only; ``what`` they consist of."""
    whole = catalog.filter((pl.col("rows") > 0) & (pl.col("attack_frames") == pl.col("rows")))[
        "capture"
    ].to_list()
    if whole:
        message = f"every {what} is an attack in {', '.join(whole)}: which capture it is gives the label away"
        yield Finding("one_class_captures", "warning", message, {"captures": whole})


def validation(train: GraphStore, val: GraphStore) -> Iterator[Finding]:
    """Attack families that thresholds and early stopping do not see."""
    seen = checks.windows_per_family(train)
    held = checks.windows_per_family(val)
    lacking = sorted(f for f, n in seen.items() if n and not held.get(f))
    if lacking:
        message = f"no validation window of: {', '.join(lacking)}; thresholds and early stopping do not see these attacks"
        yield Finding("validation_without_attack", "warning", message, {"train": seen, "val": held})


#: Attack frames or flows of a test capture below which a share of them is an anecdote.
_FEW = 10


def few_attacks(catalog: pl.DataFrame) -> Iterator[Finding]:
    """Test captures with so few attacks that only their events mean anything."""
    few = catalog.filter((pl.col("split") == "test") & pl.col("attack_frames").is_between(1, _FEW - 1))
    if few.height:
        counts = dict(few.select("capture", "attack_frames").iter_rows())
        named = ", ".join(f"{capture} ({n})" for capture, n in counts.items())
        message = f"fewer than {_FEW} attack rows in {named}: judge by events, not by windows"
        yield Finding("few_attacks", "warning", message, {"captures": counts})


def steps_back(catalog: pl.DataFrame) -> Iterator[Finding]:
    """Rows that lie before the row above them in time."""
    back = catalog.filter(pl.col("time_reversals") > 0)
    if back.height:
        counts = dict(back.select("capture", "time_reversals").iter_rows())
        named = ", ".join(f"{capture} ({n})" for capture, n in counts.items())
        message = f"time steps back in {named}: intervals there are not those of the network"
        yield Finding("time_reversals", "info", message, {"captures": counts})
