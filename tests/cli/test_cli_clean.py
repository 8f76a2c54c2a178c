"""``candor clean --orphans`` as a person uses it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cli_kit import Cli
from waiting import wait_while


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Folders of Rays are looked for there; this machine may have real ones.
    monkeypatch.setattr("candor.executors.ray_cluster._bases", lambda: [str(tmp_path)])


def killed_run(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose process was killed within its first task; its root."""
    root = Path(os.environ["CANDOR_ROOT"])
    monkeypatch.setenv("TOY_HOLD", "2")
    with cli.start("run", "toy", "-d", "small", "--set", "left.steps=50") as process:
        steps = root / "cache/scratch/number"
        wait_while(process, lambda: any(p.read_text() == "2" for p in steps.glob("*/step")), "two steps")
        process.kill()
    monkeypatch.delenv("TOY_HOLD")
    return root


def test_a_dry_run_tells_and_changes_nothing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    root = killed_run(cli, monkeypatch)
    before = sorted(root.rglob("*"))
    done = cli("clean", "--orphans", "--dry-run")
    assert done.code == 0
    assert "1 dead attempt would be recorded as killed; would be removed: 1 staging." in done.out
    assert "ended without a word" in done.out
    assert sorted(root.rglob("*")) == before


def test_what_a_killed_run_left_is_cleaned_and_the_run_still_resumes(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = killed_run(cli, monkeypatch)
    assert "1 dead attempt recorded as killed; removed: 1 staging." in cli("clean", "--orphans").out
    (record,) = root.glob("runs/*/tasks/left/attempt-1/record.json")
    told = json.loads(record.read_text())
    assert (told["outcome"], told["metrics"]) == ("killed", "metrics.jsonl")
    assert (record.parent / "metrics.jsonl").read_text().count("\n") >= 1
    assert cli("clean", "--orphans").out.strip() == "No orphans."
    again = cli("run", "toy", "-d", "small", "--set", "left.steps=50", "--json")
    assert json.loads(again.out)["tasks"]["left"]["summary"]["resumed_from"] >= 1


def test_machines_are_told_in_json(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_run(cli, monkeypatch)
    rows = json.loads(cli("clean", "--orphans", "--dry-run", "--json").out)
    assert [r["kind"] for r in rows] == ["attempt", "staging"]
    assert all(Path(r["path"]).exists() for r in rows)


def test_folders_of_dead_rays_go_and_those_of_live_ones_stay(cli: Cli, tmp_path: Path) -> None:
    from candor.flow.process import ProcessId

    alive = ProcessId.current()
    for name, owner in {"dead": alive.model_copy(update={"pid": 2**22 - 1}), "live": alive}.items():
        folder = tmp_path / f"candor-{name}"
        folder.mkdir()
        (folder / "owner.json").write_text(owner.model_dump_json())
    assert "removed: 1 ray." in cli("clean", "--orphans").out
    assert [p.name for p in tmp_path.glob("candor-*")] == ["candor-live"]


def test_nothing_is_cleaned_unless_named(cli: Cli) -> None:
    done = cli("clean")
    assert done.code == 2
    assert "Use --orphans" in done.err
