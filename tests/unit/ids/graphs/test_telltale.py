from __future__ import annotations

from dataclasses import replace

import numpy as np
from graph_cases import bus, flood

from candor.ids.graphs.telltale import telltales


def test_the_byte_that_an_attack_forges_is_named_with_its_id() -> None:
    f = bus(4.0, seed=3)
    own = np.flatnonzero(f.id == 0x102)
    hit = own[len(own) // 3 :: 2]
    data, y = f.data.copy(), np.zeros_like(f.y)
    data[hit, 3], y[hit] = 0xEE, 1
    (found,) = telltales("c", replace(f, data=data, y=y))
    assert (found.id, found.byte) == (0x102, 3)
    assert found.auroc is not None
    assert found.auroc > 0.99
    assert (found.attack_frames, found.attack_frames + found.benign_frames) == (len(hit), len(own))


def test_an_id_of_attacks_only_needs_no_byte() -> None:
    (found,) = telltales("c", flood(bus(2.0), 0.5, 1.0))
    assert (found.benign_frames, found.byte, found.auroc) == (0, None, None)


def test_a_capture_without_attacks_tells_nothing() -> None:
    assert telltales("c", bus(1.0)) == []
