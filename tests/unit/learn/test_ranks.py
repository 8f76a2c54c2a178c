"""Processes that train together: one artifact, one set of values, nobody left behind."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from rank_stages import agrees, fails_in_the_first, fails_in_the_second
from tiny_world import output
from waiting import wait_until

from candor.errors import ConfigError, StageFailed
from candor.flow.stage import Inputs, Result, Stage
from candor.learn.ranks import Rank, added_up, agreed, rank, together


def run(stage: Stage, folder: Path, processes: int, device: str = "cpu") -> Result:
    return together(stage, None, Inputs({}), output(folder), processes=processes, device=device)


def test_alone_nothing_is_started_and_nothing_changes(tmp_path: Path) -> None:
    values = np.arange(3.0)
    assert agreed(values) is values
    assert added_up(torch.tensor(2.0)).item() == 2.0
    assert run(lambda config, inputs, out: Result({"of": rank().of}), tmp_path, 1).summary == {"of": 1}


def test_more_devices_than_there_are_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"2 processes, and this machine shows 1 CUDA devices"):
        run(agrees, tmp_path, 2, "cuda")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_all_take_the_values_of_the_first_which_alone_writes_the_artifact(tmp_path: Path) -> None:
    assert run(agrees, tmp_path, 3).summary == {"of": 3}
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["written"]
    assert (tmp_path / "out" / "written").read_text() == "0"
    assert rank() == Rank(0, 1)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_another_process_died_of_is_told(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=r"process 1 of 2 .* only the second process sees is full"):
        run(fails_in_the_second, tmp_path, 2)
    assert rank() == Rank(0, 1)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_another_process_died_of_is_told_also_where_the_first_had_not_joined_it_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    join = torch.distributed.init_process_group

    def late(*args: object, store: torch.distributed.Store, **more: object) -> None:
        join(*args, store=store, **more)
        wait_until((Path(store.path).parent / "1.err").exists, "the end of the second")
        torch.distributed.destroy_process_group()
        raise RuntimeError("connection refused")

    monkeypatch.setattr(torch.distributed, "init_process_group", late)
    with pytest.raises(StageFailed, match=r"process 1 of 2 .* only the second process sees is full"):
        run(fails_in_the_second, tmp_path, 2)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_error_of_the_first_is_its_own_and_ends_the_others(tmp_path: Path) -> None:
    before = multiprocessing.active_children()  # Of other tests that this process ran.
    with pytest.raises(ValueError, match="no idea"):
        run(fails_in_the_first, tmp_path, 2)
    assert set(multiprocessing.active_children()) <= set(before)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_group_forms_after_another_that_broke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed.distributed_c10d, "_group_count", 3)
    assert run(agrees, tmp_path, 2).summary == {"of": 2}
