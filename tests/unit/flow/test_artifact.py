from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from flow_kit import Kit, toy_plan

from candor.errors import ArtifactCorrupted, ArtifactMissing
from candor.flow.artifact import Artifact, ArtifactStore
from candor.flow.storage import files_below, sha256_file

KEY = "k" * 64


def publish(store: ArtifactStore, files: dict[str, bytes], key: str = KEY) -> Artifact:
    with store.lock(key):
        staging = store.staging(key)
        for name, content in files.items():
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).write_bytes(content)
        return store.publish(
            staging,
            key=key,
            stage="s",
            version=1,
            science={"a": 1},
            inputs={},
            summary={"n": 2},
            code_version="c",
            duration_s=1.5,
        )


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "a cäche")


def test_a_published_artifact_lists_every_file_with_its_digest(store: ArtifactStore) -> None:
    artifact = publish(store, {"x.bin": b"abc", "deep/er/ü y.txt": b""})
    assert set(artifact.record.files) == {"x.bin", "deep/er/ü y.txt"}
    assert artifact.record.files["x.bin"].sha256 == sha256_file(artifact.path / "x.bin")
    assert artifact.record.files["x.bin"].size == 3
    assert store.open("s", KEY).record == artifact.record
    assert json.loads((artifact.path / "record.json").read_text())["schema_version"] == 1


def test_what_was_never_published_is_missing(store: ArtifactStore) -> None:
    assert store.find("s", KEY) is None
    assert store.inspect("s", KEY) == ("missing", "")
    with pytest.raises(ArtifactMissing, match="no artifact of stage 's'"):
        store.open("s", KEY)


def test_nothing_is_visible_before_publishing(store: ArtifactStore) -> None:
    with store.lock(KEY):
        (store.staging(KEY) / "x").write_text("half")
        assert store.find("s", KEY) is None


def test_staging_starts_empty(store: ArtifactStore) -> None:
    (store.staging(KEY) / "left over").write_text("x")
    assert list(store.staging(KEY).iterdir()) == []


def test_a_flipped_bit_is_found_on_opening(store: ArtifactStore) -> None:
    artifact = publish(store, {"x.bin": b"abc"})
    (artifact.path / "x.bin").write_bytes(b"abd")
    with pytest.raises(ArtifactCorrupted, match=r"content of 'x\.bin' changed"):
        store.open("s", KEY)
    assert store.inspect("s", KEY, verify=True)[0] == "corrupted"


@pytest.mark.parametrize("damage", ["shorter", "gone", "no manifest", "torn manifest"])
def test_coarse_damage_is_found_without_reading_the_files(store: ArtifactStore, damage: str) -> None:
    artifact = publish(store, {"x.bin": b"abc"})
    if damage == "shorter":
        (artifact.path / "x.bin").write_bytes(b"a")
    elif damage == "gone":
        (artifact.path / "x.bin").unlink()
    elif damage == "no manifest":
        (artifact.path / "record.json").unlink()
    else:
        (artifact.path / "record.json").write_text('{"schema')
    assert store.inspect("s", KEY)[0] == "corrupted"
    with pytest.raises(ArtifactCorrupted):
        store.open("s", KEY, verify=False)


def test_files_are_digested_once_per_process_and_state(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = publish(store, {"x.bin": b"abc"})
    read: list[Path] = []
    monkeypatch.setattr("candor.flow.artifact.sha256_file", lambda p: (read.append(p), sha256_file(p))[1])
    store.open("s", KEY)
    store.open("s", KEY)
    assert len(read) == 1
    os.utime(artifact.path / "x.bin", ns=(1, 1))
    store.open("s", KEY)
    assert len(read) == 2


def test_a_quarantined_artifact_is_kept_aside(store: ArtifactStore) -> None:
    publish(store, {"x.bin": b"abc"})
    aside = store.quarantine("s", KEY)
    assert aside is not None
    assert (aside / "x.bin").read_bytes() == b"abc"
    assert store.find("s", KEY) is None
    assert store.quarantine("s", KEY) is None


def test_publishing_over_a_broken_folder_moves_it_aside(store: ArtifactStore) -> None:
    store.path("s", KEY).mkdir(parents=True)
    (store.path("s", KEY) / "junk").write_text("x")
    publish(store, {"x.bin": b"abc"})
    assert store.inspect("s", KEY, verify=True)[0] == "published"
    assert [p.name for p in files_below(store.cache_root / "corrupted")] == ["junk"]


def test_a_crash_before_the_rename_leaves_nothing_published(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(self: Path, target: Path) -> Path:
        raise SystemError("power cut")

    monkeypatch.setattr(Path, "rename", crash)
    with pytest.raises(SystemError):
        publish(store, {"x.bin": b"abc"})
    monkeypatch.undo()
    assert store.inspect("s", KEY) == ("missing", "")


def test_the_manifest_is_written_after_every_file_reached_the_disk(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(
        os,
        "fsync",
        lambda fd: (steps.append(os.readlink(f"/proc/self/fd/{fd}").rsplit("/", 1)[1]), fsync(fd))[1],
    )
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (steps.append(f"write {to.name}"), replace(self, to))[1]
    )
    publish(store, {"x.bin": b"abc", "d/y.bin": b"d"})
    manifest = steps.index("write record.json")
    assert {"x.bin", "y.bin", "d"} <= set(steps[:manifest])
    assert "s" in steps[manifest:]  # The folder that the rename changed.


def test_the_sweep_removes_staging_that_nobody_writes(store: ArtifactStore) -> None:
    store.staging("dead")
    with store.lock("alive"):
        store.staging("alive")
        assert store.sweep() == ["dead"]
        assert (store.cache_root / "staging/alive").exists()


def test_a_corrupted_artifact_is_moved_aside_and_rebuilt(kit: Kit) -> None:
    plan = toy_plan()
    assert kit.run_all(plan).ok
    damaged = kit.artifact(plan, "left").path / "value.json"
    damaged.write_text("9")  # Same size: only the digest tells.
    # Someone is about to read it, because the report is gone.
    kit.store.quarantine("report", plan.task("report").key)
    kit.store.quarantine("total", plan.task("total").key)
    assert kit.states(plan) == {"left": "corrupted", "right": "cached", "total": "to run", "report": "to run"}
    assert kit.run_all(plan).ok
    assert json.loads(damaged.read_text()) == 1
    assert any(p.name == "value.json" for p in files_below(kit.store.cache_root / "corrupted"))
    assert set(kit.states(plan).values()) == {"cached"}


def test_a_corrupted_final_artifact_is_found_even_if_nothing_else_must_run(kit: Kit) -> None:
    plan = toy_plan()
    kit.run_all(plan)
    (kit.artifact(plan, "report").path / "index.html").write_text("<HTML></html>")
    assert kit.states(plan)["report"] == "corrupted"
    events = [e["event"] for e in kit.open(plan).journal.read()]
    assert kit.run_all(plan).ok
    assert "artifact_corrupted" not in events
    assert "artifact_corrupted" in [e["event"] for e in kit.open(plan).journal.read()]
