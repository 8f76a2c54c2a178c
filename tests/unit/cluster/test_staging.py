"""Copies closer to the nodes: whole, verified, and made once."""

from __future__ import annotations

import errno
import json
import multiprocessing
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
from flow_kit import Kit, toy_plan
from toy_pipeline import STAGES

from candor.cluster import staging
from candor.cluster.staging import StageIn, Tree, raw_files, staged_in
from candor.config.base import Config
from candor.errors import ArtifactCorrupted, DataError, StorageFull
from candor.flow.plan import TaskSpec, render
from candor.flow.stage import Inputs, Output, Result
from candor.flow.task import run_task
from candor.tracking.recorder import JsonlRecorder


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    source = tmp_path / "dáta root"
    (source / "hcrl").mkdir(parents=True)
    (source / "hcrl/a.csv").write_text("a" * 1000)
    (source / "hcrl/b.csv").write_text("b")
    return Tree(source, tmp_path / "scratch")


def bring(tree: Tree) -> tuple[list[str], list[str]]:
    done = tree.bring(raw_files(tree.source, []))
    return done.copied, done.kept


def test_only_what_changed_is_copied_again(tree: Tree) -> None:
    assert bring(tree) == (["hcrl/a.csv", "hcrl/b.csv"], [])
    assert bring(tree) == ([], ["hcrl/a.csv", "hcrl/b.csv"])
    (tree.source / "hcrl/b.csv").write_text("other")
    assert bring(tree) == (["hcrl/b.csv"], ["hcrl/a.csv"])
    assert (tree.target / "hcrl/b.csv").read_text() == "other"


def test_a_copy_that_was_purged_or_touched_is_made_anew(tree: Tree) -> None:
    bring(tree)
    (tree.target / "hcrl/a.csv").unlink()
    (tree.target / "hcrl/b.csv").write_text("x")
    assert bring(tree)[0] == ["hcrl/a.csv", "hcrl/b.csv"]
    assert (tree.target / "hcrl/b.csv").read_text() == "b"


def test_without_notes_everything_is_copied_again(tree: Tree) -> None:
    bring(tree)
    (tree.target / staging.NOTES).write_text("{torn")
    assert len(bring(tree)[0]) == 2


def test_a_copy_that_reads_differently_never_counts(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "sha256_file", lambda path: "0" * 64)
    with pytest.raises(DataError, match="reads differently"):
        bring(tree)
    assert [p for p in tree.target.rglob("*.csv*") if p.is_file()] == []


def test_a_full_disk_says_so_and_what_was_copied_stays(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    real = staging.sha256_file

    def full(path: Path) -> str:
        if "b.csv" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path)

    monkeypatch.setattr(staging, "sha256_file", full)
    with pytest.raises(StorageFull):
        bring(tree)
    monkeypatch.undo()
    assert bring(tree) == (["hcrl/b.csv"], ["hcrl/a.csv"])


def test_jobs_that_stage_the_same_at_once_copy_it_once(tree: Tree) -> None:
    context = multiprocessing.get_context("fork")
    with context.Pool(4) as pool:
        told = pool.map(bring, [tree] * 4)
    assert sorted(len(copied) for copied, _ in told) == [0, 0, 0, 2]


def test_only_names_of_the_data_root_are_staged(tree: Tree) -> None:
    assert raw_files(tree.source, ["hcrl/b.csv"]) == [tree.source / "hcrl/b.csv"]
    for wrong in ("nothing", "../scratch"):
        with pytest.raises(DataError):
            raw_files(tree.source, [wrong])


# ---- inside a task


class ReadConfig(Config):
    sources: tuple[dict[str, str], ...]


def read(config: ReadConfig, inputs: Inputs, out: Output) -> Result:
    """Says where it read from."""
    paths = [source["path"] for source in config.sources]
    (out.path / "value.json").write_text("0")
    return Result({"paths": list(paths)})


def summary(kit: Kit, plan: Any, task: str, stage_in: StageIn | None) -> dict[str, Any]:
    attempt = run_task(
        plan,
        task,
        stages={**STAGES, "read": read},
        store=kit.fresh_store(),
        run=kit.open(plan),
        recorder_factory=JsonlRecorder,
        stage_in=stage_in,
    )
    assert attempt.ok, attempt.record.reason
    return dict(attempt.record.summary or {})


def test_a_task_reads_copies_of_raw_files_and_its_plan_and_key_stay(kit: Kit, tree: Tree) -> None:
    raw, elsewhere = str(tree.source / "hcrl/a.csv"), "/etc/hostname"
    config = ReadConfig(sources=({"path": raw}, {"path": elsewhere}))
    plan = render("toy", [TaskSpec("read", "read", 1, config)])
    near = StageIn(tree.source, kit.root / "cache", kit.root / "node")
    told = summary(kit, plan, "read", near)
    assert told["paths"] == [str(kit.root / "node/data/hcrl/a.csv"), elsewhere]
    assert (kit.root / "cache/staged/data/hcrl/a.csv").read_text() == "a" * 1000
    assert not (kit.root / "node/data/hcrl/b.csv").exists()  # Nobody asked for it.
    record = json.loads((kit.open(plan).task_dir("read") / "attempt-1/record.json").read_text())
    assert record["config"]["sources"][0]["path"] == raw


def test_a_task_reads_copies_of_its_inputs_that_match_their_manifest(kit: Kit, tmp_path: Path) -> None:
    plan = toy_plan()
    for task in ("left", "right"):
        kit.run_task(plan, task)
    near = StageIn(tmp_path, kit.root / "cache", tmp_path / "node")
    assert summary(kit, plan, "total", near)["total"] == 3
    assert len(list((tmp_path / "node/artifacts/number").glob("*/value.json"))) == 2


@pytest.mark.parametrize("local", ["node", None])
def test_a_damaged_input_is_found_with_staging_as_without(
    kit: Kit, tmp_path: Path, local: str | None
) -> None:
    plan = toy_plan()
    for task in ("left", "right"):
        kit.run_task(plan, task)
    (kit.artifact(plan, "left").path / "value.json").write_text("9")  # As long as before.
    near = StageIn(tmp_path, kit.root / "cache", tmp_path / local if local else None)
    attempt = run_task(
        plan,
        "total",
        stages=STAGES,
        store=kit.fresh_store(),
        run=kit.open(plan),
        recorder_factory=JsonlRecorder,
        stage_in=near,
    )
    assert attempt.record.error == ArtifactCorrupted.__name__


def test_what_does_not_fit_on_the_node_is_read_in_place(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = toy_plan()
    kit.run_task(plan, "left")
    usage = type(shutil.disk_usage("/"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1000, 899, 101))
    near = StageIn(tmp_path, kit.root / "cache", tmp_path / "node")
    assert near.artifact(kit.artifact(plan, "left")) is None


def test_the_folder_on_the_node_is_private_and_goes_with_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with staged_in("tmpdir", tmp_path, tmp_path) as near:
        assert near is not None
        assert near.local is not None
        assert near.local.parent == tmp_path
        assert stat.S_IMODE(near.local.stat().st_mode) == 0o700
    assert not near.local.exists()
    with staged_in("scratch", tmp_path, tmp_path) as near:
        assert near == StageIn(tmp_path, tmp_path)
    for none in ("", "none"):
        with staged_in(none, tmp_path, tmp_path) as near:
            assert near is None
