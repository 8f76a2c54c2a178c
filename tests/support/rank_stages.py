"""Stages for processes that train together: found by name in those that are spawned."""

from __future__ import annotations

import numpy as np

from candor.flow.stage import Inputs, Output, Result
from candor.learn.ranks import agreed, rank


def fails_in_the_second(config: object, inputs: Inputs, out: Output) -> Result:
    if rank().number == 1:
        raise ValueError("a disk that only the second process sees is full")
    agreed(np.zeros(3))
    return Result({})


def fails_in_the_first(config: object, inputs: Inputs, out: Output) -> Result:
    if rank().number == 0:
        raise ValueError("the first one has no idea")
    agreed(np.zeros(3))
    return Result({})


def agrees(config: object, inputs: Inputs, out: Output) -> Result:
    assert agreed(np.full(2, rank().number + 5.0)).tolist() == [5.0, 5.0]
    (out.path / "written").write_text(str(rank().number))
    return Result({"of": rank().of})
