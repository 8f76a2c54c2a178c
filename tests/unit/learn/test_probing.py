"""Steps tried in a process that a real shortage of memory may end."""

from __future__ import annotations

import errno

import pytest
import torch
from probe_steps import allocating, broken_before_the_first_step, crashing, failing, killed

from candor.errors import StageFailed
from candor.learn.budget import Range, find_budget
from candor.learn.probing import IsolatedProbe, is_shortage

MB = 1_000_000
LIMIT = 1500 * MB


def probe(prepare, spec: int, limit: int = LIMIT) -> IsolatedProbe:
    return IsolatedProbe(prepare, spec, limit_bytes=limit, device="cpu")


def test_a_real_shortage_is_survived_and_the_next_budget_is_tried_in_a_new_process() -> None:
    with probe(allocating, MB) as tried:
        few, many, few_again = tried(10, 1), tried(4000, 1), tried(10, 1)
    assert few.fits
    assert few.peak_bytes is not None
    assert 10 * MB < few.peak_bytes < LIMIT
    assert not many.fits
    assert "allocate" in many.why
    assert few_again.fits


def test_the_budget_found_leaves_the_peak_below_the_limit() -> None:
    within = Range(least_nodes=1, least_edges=1, most_nodes=4000, edges_per_node=1.0)
    with probe(allocating, MB) as tried:
        found = find_budget(tried, within, safety=1.0, tolerance=0.1)
    assert not found.whole
    assert found.largest.peak_bytes is not None
    assert 0.6 * LIMIT < found.largest.peak_bytes <= LIMIT


def test_a_process_that_the_kernel_killed_means_that_it_did_not_fit() -> None:
    with probe(killed, 100) as tried:
        outcomes = [tried(50, 1).fits, tried(100, 1).fits, tried(50, 1).fits]
    assert outcomes == [True, False, True]


def test_an_error_of_another_kind_is_told_as_such_and_logged_with_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with probe(failing, 100) as tried:
        assert tried(50, 1).fits
        with pytest.raises(StageFailed, match="not for want of memory: ValueError: shapes do not match"):
            tried(100, 1)
    assert "probe_steps.py" in caplog.text


def test_a_crash_is_no_shortage() -> None:
    with probe(crashing, 100) as tried, pytest.raises(StageFailed, match="SIGABRT"):
        tried(100, 1)


def test_a_model_that_cannot_be_built_is_an_error_at_the_first_budget() -> None:
    with probe(broken_before_the_first_step, 0) as tried, pytest.raises(StageFailed, match="no such model"):
        tried(1, 1)


def test_a_limit_below_what_the_process_takes_before_any_batch_does_not_fit() -> None:
    with probe(allocating, MB, limit=50 * MB) as tried:
        outcome = tried(1, 1)
    assert not outcome.fits
    assert "before its first batch" in outcome.why


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_a_shortage_is_told_from_other_errors(error: BaseException, expected: bool) -> None:
    assert is_shortage(error) == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_the_allocator_is_given_the_limit() -> None:
    from probe_steps import allocating_on_cuda

    with IsolatedProbe(allocating_on_cuda, MB, limit_bytes=2000 * MB, device="cuda") as tried:
        few, many, again = tried(100, 1), tried(4000, 1), tried(100, 1)
    assert [few.fits, many.fits, again.fits] == [True, False, True]
    assert few.peak_bytes is not None
    assert 100 * MB <= few.peak_bytes <= 2000 * MB
