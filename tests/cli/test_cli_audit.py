"""``candor audit`` and ``candor profile`` as a person uses them, on a dataset that leaks and on one that does not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import cli_kit
import pytest
from data_roots import traffic

from candor.errors import AuditFailed

PRESET = """\
name: {name}
title: Made for a test
domain: can
licence: none
citation: none
obtain: Nothing.
captures:
  - {{capture: free, path: free, split: train, vehicle: v}}
  - {{capture: hit, path: hit, split: train, vehicle: v, attack: dos}}
  - {{capture: tested, path: tested, copies: [again/tested], split: test, scenario: known, vehicle: v, attack: dos}}
"""
SMALL = ("window.window_frames=20", "window.stride_frames=20", "split.blocks=10", "split.embargo_frames=20")


@pytest.fixture(autouse=True)
def root(empty_machine: Path) -> Path:
    return empty_machine


def dataset(root: Path, name: str, *, tested: str) -> None:
    presets, raw = root / "data" / "presets" / "datasets", root / "data" / name
    for folder in (presets, raw):
        folder.mkdir(parents=True, exist_ok=True)
    (presets / f"{name}.yaml").write_text(PRESET.format(name=name))
    contents = {"free": traffic(0, attack=False), "hit": traffic(1, attack=True), "tested": tested}
    for capture, text in contents.items():
        (raw / f"{capture}.csv").write_text(text)


def run(capsys: pytest.CaptureFixture[str], verb: str, *argv: str, code: int = 0) -> tuple[str, str]:
    sets = [part for value in SMALL for part in ("--set", value)]
    return cli_kit.run(capsys, verb, *argv, *sets, code=code)


def test_a_leak_ends_with_code_4_until_it_is_allowed_by_name(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset(root, "leaky", tested=traffic(1, attack=True))
    out, err = run(capsys, "audit", "leaky", code=AuditFailed.exit_code)
    assert "identical_captures_across_splits" in out
    assert "2 errors" in out
    assert "Page: " in out
    assert "the audit stops this run" in err
    told = json.loads(run(capsys, "audit", "leaky", "--json", code=AuditFailed.exit_code)[0])
    assert told["passed"] is False
    names = sorted({f["id"] for f in told["findings"] if f["severity"] == "error"})
    assert names == ["duplicate_windows_train_test", "identical_captures_across_splits"]
    out, _ = run(capsys, "audit", "leaky", *(part for n in names for part in ("--allow", n)))
    assert "identical_captures_across_splits (allowed)" in out


def test_an_attack_injected_into_a_training_capture_is_found(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benign = traffic(0, attack=False).splitlines()
    injected = [benign[0]]
    for k, line in enumerate(benign[1:]):
        injected.append(line)
        if 500 < k < 1500:
            t = float(line.split(",")[0]) + 0.0005
            injected.append(f"{t:.6f},000,{'0' * 16},1")
    dataset(root, "injected", tested="\n".join(injected) + "\n")
    told = json.loads(run(capsys, "audit", "injected", "--json", code=AuditFailed.exit_code)[0])
    (found,) = [f for f in told["findings"] if f["id"] == "near_duplicates_across_splits"]
    assert found["evidence"]["pairs"][0]["share_a"] == pytest.approx(1.0)
    assert "100.0% of the benign runs of 16 frames" in found["message"]
    longer = "--set", "audit.run_frames=64"
    told = json.loads(run(capsys, "audit", "injected", "--json", *longer, code=AuditFailed.exit_code)[0])
    assert told["shared_runs"]["run_frames"] == 64


def test_an_honest_dataset_passes_and_says_what_betrays_its_attacks(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset(root, "honest", tested=traffic(2, attack=True))
    told = json.loads(run(capsys, "audit", "honest", "--json")[0])
    assert told["passed"] is True
    assert {f["id"] for f in told["findings"]} == {"shortcut_id", "shortcut_payload"}
    aurocs = {m["shortcut"]: m["auroc"] for m in told["shortcuts"]}
    assert aurocs["id"] == pytest.approx(1.0)
    assert aurocs["delta_t"] == pytest.approx(0.5)
    out, _ = run(capsys, "audit", "honest")
    assert "0 errors, 2 warnings, 0 info." in out


def test_copies_of_a_recording_are_reported_within_and_across_datasets(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = traffic(2, attack=True)
    dataset(root, "one", tested=text)
    dataset(root, "two", tested=text)
    (root / "data" / "one" / "again").mkdir()
    (root / "data" / "one" / "again" / "tested.csv").write_text(text.replace("\n", "\r\n"))
    run(capsys, "audit", "two")
    out, err = run(capsys, "audit", "one")
    assert "tested as one/again/tested again (identical frames: 1)" in out
    assert "tested holds the very frames of two/tested" in err


def test_the_profile_shows_sizes_and_advice(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset(root, "honest", tested=traffic(2, attack=True))
    out, _ = run(capsys, "profile", "honest")
    assert "Advice for training: " in out
    told = json.loads(run(capsys, "profile", "honest", "--json")[0])
    assert [(g["split"], g["scenario"]) for g in told["groups"]] == [
        ("train", ""),
        ("val", ""),
        ("test", ""),
        ("test", "known"),
    ]
    assert (Path(told["folder"]) / "index.html").is_file()


def test_a_dbc_names_the_message_and_the_signal_that_tell_attacks(
    root: Path, capsys: pytest.CaptureFixture[str], needs: Callable[[bool, str], None]
) -> None:
    needs(find_spec("cantools") is not None, "cantools (candor[dbc])")
    forged = traffic(2, attack=True).replace(",000," + "0" * 16, ",102," + "0" * 16)
    dataset(root, "forged", tested=forged)
    dbc = 'VERSION ""\nBS_:\nBU_: E\nBO_ 258 GAS: 8 E\n' + "".join(
        f' SG_ Pedal{b} : {8 * b}|8@1+ (1,0) [0|255] "" E\n' for b in range(8)
    )
    told = json.loads(run(capsys, "audit", "forged", "--json")[0])
    (found,) = [t for t in told["telltales"] if t["capture"] == "tested"]
    assert (found["message"], found["signal"]) == ("0x102", f"0x102[{found['byte']}:{found['byte'] + 1}]")
    assert found["auroc"] > 0.9
    (root / "car.dbc").write_text(dbc)
    out, _ = run(capsys, "audit", "forged", "--dbc", str(root / "car.dbc"))
    assert "GAS" in out
    assert f"Pedal{found['byte']}" in out
    page = Path(re.findall(r"Page: (\S+)", out)[0])
    assert page.parent.parent.name == "runs"
    assert "GAS" in page.read_text()
    assert f"Pedal{found['byte']}" in page.read_text()
    published = (Path(told["folder"]) / "index.html").read_text()
    assert f"0x102[{found['byte']}:{found['byte'] + 1}]" in published
    assert "GAS" not in published
    # The same without the option, where the preset names the file.
    (root / "data" / "forged" / "car.dbc").write_text(dbc)
    preset = root / "data" / "presets" / "datasets" / "forged.yaml"
    preset.write_text(preset.read_text() + "dbc: {v: car.dbc}\n")
    assert f"Pedal{found['byte']}" in run(capsys, "audit", "forged")[0]
