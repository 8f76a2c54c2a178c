from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import flow_kit
import pytest
from flow_kit import Kit, one_task, stage_of, toy_plan
from toy_pipeline import NumberConfig

from candor.errors import AuditFailed, StorageFull
from candor.flow.artifact import ArtifactStore
from candor.flow.journal import Journal
from candor.flow.plan import Plan, TaskSpec, render
from candor.flow.stage import Inputs, Output, Result


def test_a_success_leaves_an_artifact_and_a_record(kit: Kit) -> None:
    plan = toy_plan()
    attempt = kit.run_task(plan, "left")
    record = attempt.record
    assert (record.outcome, record.attempt, record.summary) == (
        "succeeded",
        1,
        {"value": 1, "resumed_from": 0},
    )
    assert record.config == plan.task("left").config
    assert record.duration_s is not None
    assert record.duration_s > 0
    assert record.peak_memory_bytes is not None
    assert record.peak_memory_bytes > 1e6
    assert record.code_version
    assert record.process.pid == os.getpid()
    assert kit.artifact(plan, "left").record.summary == record.summary
    assert not kit.store.scratch_path("number", plan.task("left").key).exists()


def test_logging_and_warnings_go_to_the_attempts_log(kit: Kit) -> None:
    def body(inputs: Inputs, out: Output) -> None:
        logging.getLogger("x").info("hello from the stage")
        logging.getLogger("x").debug("too much detail")
        warnings.warn("mind the gap", stacklevel=1)

    text = kit.run_one(body).log.read_text()
    assert "hello from the stage" in text
    assert "mind the gap" in text
    assert "too much detail" not in text


def test_a_failure_keeps_reason_traceback_and_partial_metrics(kit: Kit) -> None:
    def body(inputs: Inputs, out: Output) -> None:
        out.recorder.log(0, {"loss": 0.5})
        (out.path / "half").write_text("x")
        raise ValueError("shapes\n differ")

    attempt = kit.run_one(body)
    record = attempt.record
    assert (record.outcome, record.error, record.reason, record.exit_code) == (
        "failed",
        "ValueError",
        "ValueError: shapes differ",
        6,
    )
    assert record.traceback is not None
    assert "in body" in record.traceback
    assert record.metrics == "metrics.jsonl"
    assert json.loads((attempt.path / record.metrics).read_text())["metrics"] == {"loss": 0.5}
    assert kit.store.find("stage", record.key) is None
    assert not (kit.store.cache_root / "staging" / record.key).exists()
    assert "shapes" in attempt.log.read_text()


def test_an_error_of_candors_own_keeps_its_exit_code(kit: Kit) -> None:
    def body(inputs: Inputs, out: Output) -> None:
        raise AuditFailed("windows overlap", hint="Split by base capture.")

    record = kit.run_one(body).record
    assert (record.error, record.exit_code) == ("AuditFailed", 4)
    assert record.reason == "windows overlap. Split by base capture."


@pytest.mark.parametrize("error", [SystemExit(3), MemoryError(), KeyError("x"), RecursionError("deep")])
def test_whatever_a_stage_raises_is_recorded(kit: Kit, error: BaseException) -> None:
    def body(inputs: Inputs, out: Output) -> None:
        raise error

    assert kit.run_one(body).record.outcome == "failed"


def test_the_next_attempt_resumes_from_scratch(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = toy_plan()
    monkeypatch.setenv("TOY_FAIL", "number")
    assert kit.run_task(plan, "left").record.outcome == "failed"
    monkeypatch.delenv("TOY_FAIL")
    second = kit.run_task(plan, "left").record
    assert (second.attempt, second.summary) == (2, {"value": 1, "resumed_from": 2})
    metrics = kit.artifact(plan, "left").path / "metrics.parquet"
    import polars as pl

    # Rows of the first attempt are kept, and none is there twice.
    assert pl.read_parquet(metrics)["step"].to_list() == [0, 1, 2]


def test_a_stage_that_starts_over_logs_into_an_empty_table(kit: Kit) -> None:
    fail = True

    def body(inputs: Inputs, out: Output) -> None:
        out.recorder.log(0, {"loss": 1.0})
        if fail:
            raise ValueError

    kit.run_one(body)
    fail = False
    kit.run_one(body)
    import polars as pl

    assert len(pl.read_parquet(kit.artifact(one_task(), "only").path / "metrics.parquet")) == 1


def test_an_interruption_is_recorded_and_goes_on_upwards(kit: Kit) -> None:
    def body(inputs: Inputs, out: Output) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kit.run_one(body)
    record = kit.open(one_task()).attempts("only")[-1].record
    assert (record.outcome, record.exit_code) == ("interrupted", 130)


@pytest.mark.parametrize(
    "moment",
    [
        "journal",
        "candor.flow.task.attempt_log",
        "candor.flow.execution.reset_peak_memory",
        "candor.flow.artifact.ArtifactStore.drop_scratch",
    ],
)
def test_an_interruption_outside_the_stage_is_recorded_too(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def interrupt(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "journal":  # Its first line says that the attempt begins.
            patch.setattr("candor.flow.journal.Journal.append", interrupt_once(Journal.append))
        else:
            patch.setattr(moment, interrupt)
        with pytest.raises(KeyboardInterrupt):
            kit.run_one(lambda inputs, out: None)
    (attempt,) = kit.open(one_task()).attempts("only")
    assert (attempt.record.outcome, attempt.record.exit_code) == ("interrupted", 130)
    assert "the same command resumes it" in str(attempt.record.reason)
    assert kit.run_one(lambda inputs, out: None).ok


def interrupt_once(append: Callable[..., None]) -> Callable[..., None]:
    """Ctrl-C while the first line is written."""
    calls = iter([True])

    def interrupted(self: Journal, *args: object, **more: object) -> None:
        append(self, *args, **more)
        if next(calls, False):
            raise KeyboardInterrupt

    return interrupted


def test_an_interruption_is_recorded_before_what_was_written_is_removed(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow disk that takes longer than a scheduler waits until it kills."""
    outcomes: list[str] = []

    def discard(self: ArtifactStore, path: Path) -> None:
        outcomes.append(kit.open(one_task()).attempts("only")[-1].record.outcome)
        whole(self, path)

    def body(inputs: Inputs, out: Output) -> None:
        (out.path / "large.bin").write_bytes(bytes(1000))
        raise KeyboardInterrupt

    whole = ArtifactStore.discard
    monkeypatch.setattr(ArtifactStore, "discard", discard)
    with pytest.raises(KeyboardInterrupt):
        kit.run_one(body)
    assert outcomes == ["interrupted"]
    assert not (kit.store.cache_root / "staging" / one_task().task("only").key).exists()


def test_an_exit_that_hides_an_interruption_counts_as_one(kit: Kit) -> None:
    # Lightning turns Ctrl-C into exit(1).
    def body(inputs: Inputs, out: Output) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    with pytest.raises(KeyboardInterrupt):
        kit.run_one(body)
    assert kit.open(one_task()).attempts("only")[-1].record.outcome == "interrupted"


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from flow_kit import Kit

def body(inputs, out):
    out.recorder.log(0, {"loss": 0.25})
    os.kill(os.getpid(), signal.SIGKILL)

Kit(Path(sys.argv[2])).run_one(body)
"""


def test_a_killed_attempt_is_told_as_killed_and_keeps_its_metrics(kit: Kit) -> None:
    # Not forked: a lock that another thread of this process holds would be held in the child for ever.
    support = Path(flow_kit.__file__).parent
    done = subprocess.run([sys.executable, "-c", KILLED, support, kit.root], check=False)
    assert done.returncode == -signal.SIGKILL
    run = kit.open(one_task())
    first = run.attempts("only")[0].record
    assert first.outcome == "killed"
    assert "ended without a word" in (first.reason or "")

    assert kit.run_one(lambda inputs, out: None).record.outcome == "succeeded"
    first_again, second = run.attempts("only")
    assert '"killed"' in (first_again.path / "record.json").read_text()
    assert "0.25" in (first_again.path / "metrics.jsonl").read_text()
    assert second.record.attempt == 2


def test_a_task_published_elsewhere_is_recorded_as_cached_once(kit: Kit) -> None:
    kit.run_task(toy_plan(), "left")
    other = toy_plan(right__value=5)
    assert kit.run_task(other, "left").record.outcome == "cached"
    assert kit.run_task(other, "left").record.attempt == 1
    assert kit.run_task(toy_plan(), "left").record.outcome == "succeeded"


def test_a_missing_input_is_a_failure_that_names_it(kit: Kit) -> None:
    record = kit.run_task(toy_plan(), "total").record
    assert (record.outcome, record.error) == ("failed", "ArtifactMissing")


def test_a_corrupted_input_is_never_read(kit: Kit) -> None:
    plan = toy_plan()
    kit.run_task(plan, "left")
    kit.run_task(plan, "right")
    (kit.artifact(plan, "left").path / "value.json").write_text("7")
    kit.fresh_store()
    record = kit.run_task(plan, "total").record
    assert (record.outcome, record.error) == ("failed", "ArtifactCorrupted")


def test_an_unknown_stage_is_a_failure(kit: Kit) -> None:
    assert kit.run_task(toy_plan(), "left", {}).record.error == "ConfigError"


def test_a_plan_of_another_version_is_a_failure_that_says_so(kit: Kit) -> None:
    plan = toy_plan()
    task = plan.task("left").model_copy(update={"config": {"value": 1, "gone": 2}})
    record = kit.run_task(Plan(pipeline="p", tasks=(task,)), "left").record
    assert record.error == "ConfigError"
    assert "gone" in (record.reason or "")


def full(*args: object, **named: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_names_the_place_and_leaves_earlier_artifacts_alone(kit: Kit) -> None:
    plan = toy_plan()
    kit.run_task(plan, "right")
    record = kit.run_task(plan, "left", {"number": stage_of(full)}).record
    assert (record.error, record.exit_code) == ("StorageFull", 7)
    assert str(kit.store.cache_root) in (record.reason or "")
    assert "CANDOR_CACHE_ROOT" in (record.reason or "")
    assert kit.states(plan)["right"] == "cached"
    assert kit.run_task(plan, "left").record.outcome == "succeeded"


def test_a_full_disk_while_recording_is_told_too(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("candor.flow.attempt.write_atomic", full)
    with pytest.raises(StorageFull):
        kit.run_one(lambda inputs, out: None)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tiny disk needs root")
def test_a_disk_that_really_fills_up_is_survived(kit: Kit, tmp_path: Path) -> None:
    cache = kit.store.cache_root
    cache.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(cache)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount: {mounted.stderr.decode()}")
    try:
        import numpy as np

        def body(inputs: Inputs, out: Output) -> None:
            np.save(out.path / "big.npy", np.zeros(1_000_000))

        plan = toy_plan()
        assert kit.run_task(plan, "right").record.outcome == "succeeded"
        assert kit.run_task(plan, "left", {"number": stage_of(body)}).record.error == "StorageFull"
        assert kit.states(plan)["right"] == "cached"
        # What the failed attempt wrote is gone, so there is room again.
        assert kit.run_task(plan, "left").record.outcome == "succeeded"
    finally:
        subprocess.run(["umount", str(cache)], check=True)


def test_numpy_scalars_in_a_summary_become_numbers(kit: Kit) -> None:
    import numpy as np

    record = kit.run_one(lambda i, o: Result({"a": np.float32(0.5), "b": np.int64(3)})).record  # type: ignore[dict-item]
    assert record.summary == {"a": 0.5, "b": 3}


def test_progress_reaches_the_display_and_notes_a_sign_of_life(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("candor.flow.execution.PULSE_S", 0.0)
    noted: list[float | None] = []

    def body(inputs: Inputs, out: Output) -> None:
        out.progress(1, 2)
        noted.append(kit.open(one_task()).attempts("only")[-1].record.duration_s)

    kit.run_one(body)
    assert noted[0] is not None


def test_two_tasks_with_the_same_science_share_one_artifact(kit: Kit) -> None:
    plan = render(
        "p", [TaskSpec("a", "number", 1, NumberConfig()), TaskSpec("b", "number", 1, NumberConfig())]
    )
    assert [r.record.outcome for r in kit.run_all(plan).results.values()] == ["succeeded", "cached"]  # type: ignore[union-attr]
