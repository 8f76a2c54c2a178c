from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graph_cases import Case, bus, findings, flood, frames, ingest_folder, inputs, output

from candor.errors import AuditFailed
from candor.ids.captures.frames import FrameArrays
from candor.ids.config import AuditConfig, CalibrationTask, GraphConfig, SplitConfig, WindowConfig
from candor.ids.graphs.audit import audit
from candor.ids.graphs.builder import build
from candor.ids.graphs.calibration import calibrate
from candor.ids.graphs.contents import all_window_hashes, contained, frame_hashes, window_hashes

SPLIT = SplitConfig(blocks=10, embargo_frames=20)
WINDOW = WindowConfig(window_frames=20, stride_frames=20)
CONFIG = AuditConfig(window=WINDOW, split=SPLIT)
HONEST = [
    Case("free", bus(4.0)),
    Case("hit", flood(bus(4.0, seed=1), 0.5, 3.5), attack="dos"),
    Case("known", flood(bus(4.0, seed=2), 1.5, 3.0), "test", attack="dos"),
]


def pipeline(
    tmp_path: Path, cases: list[Case], *, calibration_s: float = 0.4, split: SplitConfig = SPLIT
) -> dict[str, Path]:
    ingest = ingest_folder(tmp_path / "ingest", cases)
    folders = {"ingest": ingest}
    for name, stage, config in (
        ("calibrate", calibrate, CalibrationTask(calibration_s=calibration_s, split=split)),
        ("build_train", build, GraphConfig(splits=("train", "val"), window=WINDOW, split=split)),
        ("build_test", build, GraphConfig(splits=("test",), window=WINDOW)),
    ):
        out = output(tmp_path / name)
        stage(config, inputs(**folders), out)
        folders[name] = out.path
    return folders


def run(tmp_path: Path, folders: dict[str, Path], config: AuditConfig = CONFIG) -> dict[str, dict]:
    out = output(tmp_path / "audit")
    audit(config, inputs(**folders), out)
    return findings(out.path)


def stopped_by(tmp_path: Path, folders: dict[str, Path], config: AuditConfig = CONFIG) -> str:
    with pytest.raises(AuditFailed) as error:
        run(tmp_path, folders, config)
    return str(error.value)


def test_honest_splits_pass_and_flooding_is_said_to_have_an_id_of_its_own(tmp_path: Path) -> None:
    found = run(tmp_path, pipeline(tmp_path, HONEST))
    assert set(found) == {"shortcut_id", "shortcut_payload"}
    assert {f["severity"] for f in found.values()} == {"warning"}


def test_the_page_stands_alone_and_shows_what_the_json_holds(tmp_path: Path) -> None:
    run(tmp_path, pipeline(tmp_path, HONEST))
    text = (tmp_path / "audit" / "index.html").read_text()
    assert "Passed." in text
    assert "shortcut_id" in text
    assert not re.search(r"(?:src|href)=.https?:", text)


def test_an_attack_injected_into_a_training_recording_is_found_across_the_split(tmp_path: Path) -> None:
    base = bus(4.0)
    copy = Case("injected", flood(base, 1.0, 2.0, identifier=0x105), "test", attack="dos")
    message = stopped_by(tmp_path, pipeline(tmp_path, [*HONEST, copy]))
    assert "[near_duplicates_across_splits]" in message
    assert "of the benign runs of 16 frames of" in message
    page = (tmp_path / "audit-scratch" / "index.html").read_text()
    assert "Stopped by" in page


def test_near_duplicates_in_training_want_one_base_capture(tmp_path: Path) -> None:
    injected = Case("injected", flood(bus(4.0), 1.0, 2.0), attack="dos")
    found = run(tmp_path / "a", pipeline(tmp_path / "a", [*HONEST, injected]))
    evidence = found["near_duplicates_within_split"]["evidence"]
    assert evidence["pairs"][0] | {"share_a": 0, "share_b": 0} == {
        "a": "free",
        "b": "injected",
        "share_a": 0,
        "share_b": 0,
    }
    declared = replace(injected, base="free")
    found = run(tmp_path / "b", pipeline(tmp_path / "b", [*HONEST, declared]))
    assert "near_duplicates_within_split" not in found


def test_attacks_stamped_with_the_time_of_the_frame_before_stop_the_run(tmp_path: Path) -> None:
    f = HONEST[2].frames
    t = np.maximum.accumulate(np.where(f.y == 1, 0.0, f.t))
    cases = [*HONEST[:2], replace(HONEST[2], frames=replace(f, t=t))]
    assert "[shortcut_delta_t] a time step of zero or less alone tells" in stopped_by(
        tmp_path, pipeline(tmp_path, cases)
    )


def test_a_capture_of_attacks_only_gives_its_label_away(tmp_path: Path) -> None:
    f = bus(4.0, seed=9)
    whole = replace(f, y=np.ones_like(f.y), attack_code=np.zeros_like(f.attack_code), attack_names=["spoof"])
    found = run(tmp_path, pipeline(tmp_path, [*HONEST, Case("whole", whole, "test", attack="spoof")]))
    assert found["one_class_captures"]["evidence"] == {"captures": ["whole"]}
    # Judged beside the attack-free capture: its payloads are others, its IDs the same.
    assert found["shortcut_id"]["evidence"]["auroc"].keys() == {"known", "whole"}
    assert found["shortcut_id"]["evidence"]["auroc"]["whole"] < 0.6


def test_the_same_capture_on_both_sides_stops_the_run_and_can_be_allowed_by_name(tmp_path: Path) -> None:
    copy = Case("copy", HONEST[1].frames, "test", attack="dos")
    folders = pipeline(tmp_path, [*HONEST, copy])
    message = stopped_by(tmp_path, folders)
    assert "[identical_captures_across_splits] hit, copy have identical frames" in message
    assert "--allow duplicate_windows_train_test --allow identical_captures_across_splits" in message
    assert json.loads((tmp_path / "audit-scratch" / "findings.json").read_text())["findings"]
    allowed = CONFIG.model_copy(
        update={"allow": ("identical_captures_across_splits", "duplicate_windows_train_test")}
    )
    found = run(tmp_path, folders, allowed)
    assert found["identical_captures_across_splits"]["evidence"]["captures"] == ["hit", "copy"]


def test_a_copy_with_other_timestamps_is_still_the_same_recording(tmp_path: Path) -> None:
    f = HONEST[1].frames
    copy = Case("copy", replace(f, t=f.t * 1.01), "test", attack="dos")
    assert "identical IDs and payloads" in stopped_by(tmp_path, pipeline(tmp_path, [*HONEST, copy]))


def test_a_test_capture_cut_out_of_a_training_one_is_found_at_any_offset(tmp_path: Path) -> None:
    f = HONEST[1].frames
    part = slice(7, 700)
    cut = FrameArrays(*(v if isinstance(v, list) else v[part] for v in vars(f).values()))
    message = stopped_by(tmp_path, pipeline(tmp_path, [*HONEST, Case("cut", cut, "test", attack="dos")]))
    assert "[duplicate_windows_train_test]" in message


def test_one_base_capture_behind_both_sides_stops_the_run(tmp_path: Path) -> None:
    cases = [*HONEST[:2], replace(HONEST[2], base="free")]
    assert "[base_capture_across_splits]" in stopped_by(tmp_path, pipeline(tmp_path, cases))


def test_a_recording_filed_twice_in_training_is_a_warning(tmp_path: Path) -> None:
    found = run(tmp_path, pipeline(tmp_path, [*HONEST, Case("again", HONEST[0].frames)]))
    assert found["identical_captures_within_split"]["severity"] == "warning"


def test_validation_windows_closer_than_the_embargo_stop_the_run(tmp_path: Path) -> None:
    folders = pipeline(tmp_path, HONEST, split=SPLIT.model_copy(update={"embargo_frames": 0}))
    message = stopped_by(tmp_path, folders)
    assert "closer than the embargo of 20 frames" in message


def edit_json(path: Path, change: Callable[[dict], None]) -> None:
    obj = json.loads(path.read_text())
    change(obj)
    path.write_text(json.dumps(obj))


def test_a_scaler_that_saw_other_windows_stops_the_run(tmp_path: Path) -> None:
    folders = pipeline(tmp_path, HONEST)
    edit_json(folders["build_train"] / "scaler.json", lambda o: o["x"]["mean"].__setitem__(0, 0.9))
    assert "[scaler_scope]" in stopped_by(tmp_path, folders)


def test_a_vocabulary_that_saw_other_windows_stops_the_run(tmp_path: Path) -> None:
    folders = pipeline(tmp_path, HONEST)
    edit_json(folders["build_train"] / "vocabulary.json", lambda o: o["ids"].append(0x7FF))
    assert "[vocabulary_scope]" in stopped_by(tmp_path, folders)


def test_an_audit_told_of_other_windows_stops_the_run(tmp_path: Path) -> None:
    folders = pipeline(tmp_path, HONEST)
    config = CONFIG.model_copy(update={"window": WindowConfig(window_frames=10)})
    assert "[window_config_differs]" in stopped_by(tmp_path, folders, config)


def test_benign_labels_on_ids_the_vehicle_never_sends_are_reported(tmp_path: Path) -> None:
    f = HONEST[2].frames
    y = f.y.copy()
    y[np.flatnonzero(y)[:25]] = 0
    noisy = replace(f, y=y, attack_code=np.where(y == 1, 0, -1).astype(np.int16))
    found = run(tmp_path, pipeline(tmp_path, [*HONEST[:2], replace(HONEST[2], frames=noisy)]))
    assert found["label_sanity"]["evidence"]["captures"]["known"]["frames"] == 25
    assert found["label_sanity"]["evidence"]["captures"]["known"]["ids"] == ["0"]


def test_an_attack_capture_without_attack_frames_is_named_with_what_labels_it(tmp_path: Path) -> None:
    f = bus(4.0, seed=8)
    mute = Case("mute", f, "test", attack="suppress", events=[("suppress", 1.0, 2.0)])
    bare = Case("bare", bus(4.0, seed=9), "test", attack="masquerade")
    assert (
        run(tmp_path / "a", pipeline(tmp_path / "a", [*HONEST, mute]))["attack_without_positive_labels"][
            "severity"
        ]
        == "info"
    )
    folders = pipeline(tmp_path / "b", [*HONEST, mute, bare])
    assert "no events declared either for bare" in stopped_by(tmp_path / "b", folders)
    allowed = CONFIG.model_copy(update={"allow": ("attack_without_positive_labels",)})
    found = run(tmp_path / "c", folders, allowed)["attack_without_positive_labels"]
    assert (found["severity"], found["evidence"]) == (
        "error",
        {"declared_events": ["mute"], "unlabelled": ["bare"]},
    )


def test_events_from_absence_are_a_warning_that_names_the_specialist(tmp_path: Path) -> None:
    mute = Case("mute", bus(4.0, seed=8), "test", attack="suppress", events=[("suppress", 1.0, 2.0)])
    folders = pipeline(tmp_path, [*HONEST, mute])
    assert "events_from_absence" not in run(tmp_path, folders)
    (folders["ingest"] / "truth.json").write_text(json.dumps([{"capture": "mute"}]))
    found = run(tmp_path / "again", folders)["events_from_absence"]
    assert found["severity"] == "warning"
    assert "of mute are those in which an ID is silent" in found["message"]
    assert "the specialist absence" in found["message"]


def test_a_family_without_validation_windows_is_named(tmp_path: Path) -> None:
    brief = Case("brief", flood(bus(4.0, seed=4), 0.1, 0.3, attack="fuzzing"), attack="fuzzing")
    found = run(tmp_path, pipeline(tmp_path, [*HONEST, brief]))["validation_without_attack"]
    assert "fuzzing" in found["message"]
    assert found["evidence"]["val"].get("fuzzing", 0) == 0


def test_an_attack_inside_the_calibration_seconds_is_evidence(tmp_path: Path) -> None:
    cases = [*HONEST, Case("new", flood(bus(4.0, seed=3, offset=0x200), 0.2, 2.0), "test", "two", "dos")]
    found = run(tmp_path, pipeline(tmp_path, cases))["calibration_contaminated"]
    assert list(found["evidence"]) == ["new"]
    assert found["severity"] == "warning"


def test_window_hashes_do_not_depend_on_where_a_window_lies_but_on_every_frame() -> None:
    f = frames(
        np.arange(60) * 0.01, np.arange(60) % 20, data=np.tile(np.arange(20), 3)[:, None] * np.ones((1, 8))
    )
    h = frame_hashes(f)
    same = window_hashes(h, np.array([0, 20, 40]), 20)
    assert len(set(same.tolist())) == 1
    for i in range(20):
        data = f.data.copy()
        data[i, 3] ^= 1
        changed = window_hashes(frame_hashes(replace(f, data=data)), np.array([0]), 20)
        assert not contained(changed, all_window_hashes(h, 20)).any()


def test_hashes_of_a_capture_shorter_than_a_window_are_empty() -> None:
    assert len(all_window_hashes(frame_hashes(frames([0.0], [1])), 20)) == 0
    assert not contained(np.array([1], np.uint64), np.zeros(0, np.uint64)).any()


def test_one_capture_in_training_and_in_test_stops_the_run(tmp_path: Path) -> None:
    folders = pipeline(tmp_path, HONEST)
    meta = json.loads((folders["build_test"] / "test" / "meta.json").read_text())
    meta["captures"][0]["capture"] = "hit"
    (folders["build_test"] / "test" / "meta.json").write_text(json.dumps(meta))
    message = stopped_by(tmp_path, folders)
    assert "[windows_overlap_across_splits] windows of hit are in training and in test" in message


def test_a_test_capture_without_labels_is_named(tmp_path: Path) -> None:
    cases = [*HONEST[:2], replace(HONEST[2], labelled=False)]
    found = run(tmp_path, pipeline(tmp_path, cases))
    assert found["unlabelled_captures"]["evidence"]["captures"] == ["known"]
    assert "unlabelled_captures" not in run(tmp_path / "b", pipeline(tmp_path / "b", HONEST))


def test_a_format_without_timestamps_is_said_to_have_none(tmp_path: Path) -> None:
    cases = [replace(HONEST[0], format="ciciov2024"), *HONEST[1:]]
    found = run(tmp_path, pipeline(tmp_path, cases))
    assert found["captures_without_time"]["evidence"]["captures"] == ["free"]


def test_captures_that_claim_one_hour_are_named_and_relative_times_claim_none(tmp_path: Path) -> None:
    restart = [replace(case, recorded_at=1_672_531_200.0) for case in HONEST]
    found = run(tmp_path / "a", pipeline(tmp_path / "a", restart))
    assert found["times_overlap"]["evidence"] == {"captures": ["free", "hit", "known"], "one_start": True}
    apart = [replace(case, recorded_at=1_672_531_200.0 + 3600 * i) for i, case in enumerate(HONEST)]
    assert "times_overlap" not in run(tmp_path / "b", pipeline(tmp_path / "b", apart))
    late = [apart[0], apart[1], replace(apart[2], recorded_at=apart[1].recorded_at + 1.0)]
    found = run(tmp_path / "c", pipeline(tmp_path / "c", late))
    assert found["times_overlap"]["evidence"] == {"captures": ["hit", "known"], "one_start": False}


def test_payloads_of_one_length_and_steps_back_in_time_are_worth_knowing(tmp_path: Path) -> None:
    f = bus(4.0, seed=7, num_ids=12)
    t = f.t.copy()
    t[[500, 501]] = t[[501, 500]]
    padded = replace(f, t=t, dlc=np.full_like(f.dlc, 8))
    found = run(tmp_path, pipeline(tmp_path, [*HONEST, Case("padded", padded, "test", vehicle="two")]))
    assert found["constant_length"]["evidence"]["captures"] == ["padded"]
    assert found["time_reversals"]["evidence"]["captures"] == {"padded": 1}


def test_a_handful_of_attacks_is_an_anecdote(tmp_path: Path) -> None:
    f = bus(4.0, seed=4)
    y = np.zeros_like(f.y)
    y[[900, 901]] = 1
    few = replace(
        bus(4.0, seed=4), y=y, attack_code=np.where(y == 1, 0, -1).astype(np.int16), attack_names=["claim"]
    )
    found = run(tmp_path, pipeline(tmp_path, [*HONEST, Case("two", few, "test", attack="claim")]))
    assert found["few_attacks"]["evidence"]["captures"] == {"two": 2}


def test_a_clock_that_stands_still_at_a_few_attacks_alone_is_found(tmp_path: Path) -> None:
    f = bus(4.0, seed=1)
    y = np.zeros_like(f.y)
    y[200:1400:10] = 1
    attacks = np.flatnonzero(y)
    code = np.where(y == 1, 0, -1).astype(np.int16)
    few = replace(f, y=y, attack_code=code, attack_names=["dos"])

    def audited(name: str, t: np.ndarray) -> dict[str, dict]:
        cases = [HONEST[0], replace(HONEST[1], frames=replace(few, t=t)), HONEST[2]]
        return run(tmp_path / name, pipeline(tmp_path / name, cases))

    t = f.t.copy()
    t[attacks[10:60:8]] = t[attacks[10:60:8] - 1]
    found = audited("a", t)
    steps = found["injection_time_steps"]["evidence"]["captures"]["hit"]
    assert (steps["still"], steps["at_attacks"]) == (7, 7)
    # As many steps away from attacks, and nothing follows from one.
    t[attacks[10:60:8] + 5] = t[attacks[10:60:8] + 4]
    assert "injection_time_steps" not in audited("b", t)
