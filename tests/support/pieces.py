"""What a worker of pytest-xdist takes as one piece, and which pieces come first.

A file is one piece: its tests share what was set up for them. Tests that wait for SLURM and tests that compute take turns,
so that processors neither stand idle nor are fought over, and what is quick fills the gaps at the end. (Of xdist's own
ways, ``worksteal`` sets the same thing up in every worker, and ``loadgroup`` of version 3.8 does nothing under pytest 9.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain, zip_longest

import pytest
from xdist.scheduler import LoadScopeScheduling

#: One process computes for minutes, or nobody else can use the cluster meanwhile.
_FIRST = (
    "integration/test_kill_slurm.py",
    "integration/test_real_captures.py",
    "integration/test_kd.py",
)
#: So many pieces that compute come before the first that waits beside those of ``_FIRST``.
_HEAD_START = 4


def piece(nodeid: str) -> str:
    """The piece that a test belongs to: its file; in the conformance suite, which starts one platform after the other, one of
    them."""
    file, _, name = nodeid.partition("::")
    platform = re.search(r"\[(inline|ray|slurm(-one-node)?)\b", name) if "/conformance/" in file else None
    return f"{file} {platform[1]}" if platform else file


def arranged(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """The tests, piece by piece."""
    pieces: dict[str, list[pytest.Item]] = {}
    for item in items:
        pieces.setdefault(piece(item.nodeid), []).append(item)
    first, waiting, computing, quick = [], [], [], []
    for name, members in pieces.items():
        if name.endswith(_FIRST):
            first.append(members)
        elif any(map(_uses_slurm, members)):
            waiting.append(members)
        elif any(item.get_closest_marker("slow") for item in members):
            computing.append(members)
        else:
            quick.append(members)
    start, rest = computing[:_HEAD_START], computing[_HEAD_START:]
    turns = [members for pair in zip_longest(waiting, rest, fillvalue=[]) for members in pair]
    return list(chain.from_iterable([*first, *start, *turns, *quick]))


def _uses_slurm(item: pytest.Item) -> bool:
    return "slurm" in getattr(item, "fixturenames", ()) or piece(item.nodeid).partition(" ")[2][:5] == "slurm"


class Pieces(LoadScopeScheduling):
    """Hands a worker that is nearly done the next piece."""

    def _split_scope(self, nodeid: str) -> str:
        return piece(nodeid)
