"""Near-duplicate captures: how much of one capture's benign frames another one holds.

An attack that was injected into a recording leaves the recording's own frames in place. Without the attack frames, every
run of ``run_frames`` consecutive (ID, DLC, payload) is then found in the recording again. Runs are hashed at every offset
(rolling polynomial), and of the hashes a fixed part of the hash space is kept (FracMinHash; Irber et al. 2022), so that
shares are unbiased and a thousand captures fit into memory. Measured on hcrl_sa and set_01: two recordings of one
vehicle share not one run of 16 frames, so any share is evidence.

Legend: n benign frames, R kept runs of a capture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from candor.ids.config import AuditLimits
from candor.ids.graphs.contents import U64, window_hashes
from candor.ids.graphs.findings import Finding, Severity

#: Spreads the polynomial's values over the hash space before a part of it is kept (SplitMix64's increment).
_SPREAD = np.uint64(0x9E37_79B9_7F4A_7C15)


@dataclass(frozen=True)
class Shared:
    """Two captures with common runs. ``share_a``: of the runs of ``a``, those that ``b`` holds; ``share_b`` the reverse."""

    a: str
    b: str
    share_a: float
    share_b: float

    @property
    def larger(self) -> float:
        return max(self.share_a, self.share_b)


def sketch(benign_hash_n: U64, run_frames: int, keep_one_in: int) -> U64:
    """Distinct hashes of runs at every offset, one in ``keep_one_in`` of the hash space, ascending."""
    starts = np.arange(max(len(benign_hash_n) - run_frames + 1, 0))
    mixed = window_hashes(benign_hash_n, starts, run_frames)
    mixed ^= mixed >> np.uint64(31)
    mixed *= _SPREAD
    return np.unique(mixed[mixed <= np.uint64((1 << 64) // keep_one_in - 1)])


def shared_runs(sketches: Mapping[str, U64]) -> list[Shared]:
    """Every pair of captures with a run in common, largest share first.

    Works through one sorted list of all hashes: the cost is that of the pairs that do share, not of all pairs.
    """
    names = list(sketches)
    if not names:
        return []
    hashes = np.concatenate([sketches[name] for name in names])
    owner = np.repeat(np.arange(len(names)), [len(sketches[name]) for name in names])
    table = pl.DataFrame({"hash": hashes, "owner": owner}).filter(pl.col("hash").is_duplicated())
    pairs = table.join(table, on="hash").filter(pl.col("owner") < pl.col("owner_right"))
    counted = pairs.group_by("owner", "owner_right").len()
    found = [
        Shared(names[a], names[b], n / len(sketches[names[a]]), n / len(sketches[names[b]]))
        for a, b, n in counted.iter_rows()
    ]
    return sorted(found, key=lambda s: (-s.larger, s.a, s.b))


def near_duplicates(
    limits: AuditLimits, catalog: pl.DataFrame, sketches: Mapping[str, U64], identical: Mapping[str, str]
) -> tuple[list[Finding], list[Shared]]:
    """Findings and all measured pairs. ``identical``: capture → content digest; equal ones are reported elsewhere."""
    pairs = [p for p in shared_runs(sketches) if identical[p.a] != identical[p.b]]
    rows = {row["capture"]: row for row in catalog.iter_rows(named=True)}
    return list(_findings(limits, pairs, rows)), pairs


def _findings(
    limits: AuditLimits, pairs: list[Shared], rows: Mapping[str, dict[str, str]]
) -> Iterator[Finding]:
    across = [p for p in pairs if rows[p.a]["split"] != rows[p.b]["split"]]
    if across:
        severity: Severity = "error" if across[0].larger > limits.max_shared_runs else "warning"
        yield _finding(
            "near_duplicates_across_splits", severity, across, limits, "on both sides of the split"
        )
    within = [
        p
        for p in pairs
        if p not in across
        and p.larger > limits.max_shared_runs
        and rows[p.a]["base_capture"] != rows[p.b]["base_capture"]
    ]
    if within:
        what = "on one side, yet declared as recordings of their own (base_capture)"
        yield _finding("near_duplicates_within_split", "warning", within, limits, what)


def _finding(id_: str, severity: Severity, pairs: list[Shared], limits: AuditLimits, where: str) -> Finding:
    worst = pairs[0]
    held, holder = (worst.a, worst.b) if worst.share_a >= worst.share_b else (worst.b, worst.a)
    more = f" ({len(pairs) - 1} more such pairs)" if len(pairs) > 1 else ""
    message = (
        f"{worst.larger:.1%} of the benign runs of {limits.run_frames} frames of {held} lie in {holder} too, "
        f"{where}{more}"
    )
    evidence = {"pairs": [vars(p) for p in pairs[:50]], "run_frames": limits.run_frames, "of": len(pairs)}
    return Finding(id_, severity, message, evidence)
