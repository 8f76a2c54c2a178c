from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import numpy as np

from candor.flow.process import (
    ProcessId,
    code_version,
    give_back_memory,
    peak_memory_bytes,
    reset_peak_memory,
)


def test_this_process_is_alive_and_an_ended_one_is_not() -> None:
    assert ProcessId.current().is_alive()
    script = "from candor.flow.process import ProcessId; print(ProcessId.current().model_dump_json())"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert not ProcessId.model_validate_json(told).is_alive()


def test_another_process_with_the_same_number_is_not_taken_for_it() -> None:
    assert not ProcessId.current().model_copy(update={"started": "boot:1"}).is_alive()


def test_a_process_of_another_machine_counts_as_alive() -> None:
    assert ProcessId(host="elsewhere", pid=1, started="x").is_alive()


def test_the_peak_is_that_of_the_stage_alone() -> None:
    reset_peak_memory()
    before = peak_memory_bytes()
    block = np.ones(8_000_000)  # 64 MB
    assert peak_memory_bytes() > before + 50e6
    del block
    reset_peak_memory()
    assert peak_memory_bytes() < before + 30e6


def test_the_code_version_is_a_commit_or_a_release() -> None:
    assert len(code_version().removesuffix("-dirty")) in (40, len("0.1.0"))


def test_what_a_long_task_left_behind_is_freed_and_a_short_one_costs_nothing() -> None:
    class Knot:
        """Refers to itself, as a trainer does that knows its callbacks."""

        def __init__(self) -> None:
            self.me, self.rows = self, bytearray(1000)

    def leave() -> weakref.ref[Knot]:
        return weakref.ref(Knot())

    gc.disable()
    try:
        left = leave()
        give_back_memory(0.1)
        give_back_memory(None)
        assert left() is not None
        give_back_memory(60.0)
        assert left() is None
    finally:
        gc.enable()
