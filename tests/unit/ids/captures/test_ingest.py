from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor.errors import CaptureRejected, CaptureUnreadable, DataError, SourceMissing
from candor.flow.stage import Inputs, Output
from candor.ids.captures import events, stream
from candor.ids.captures import ingest as ingest_module
from candor.ids.captures.frames import Frames
from candor.ids.captures.ingest import ingest
from candor.ids.config import AttackInterval, CaptureSource, IngestConfig
from candor.lake.schemas import CAPTURES

MakeSource = Callable[..., CaptureSource]
NO_INPUTS = Inputs({})

CSV = "timestamp,arbitration_id,data_field,attack\n"
GOOD = CSV + "10.0,316,0001,0\n10.1,329,0002,1\n10.2,316,0003,1\n13.0,329,0004,1\n13.5,316,0005,0\n"


def config(*sources: CaptureSource, **more: object) -> IngestConfig:
    return IngestConfig.model_validate({"dataset": "d", "sources": sources, **more})


def catalog(out: Output) -> pl.DataFrame:
    return pl.read_parquet(out.path / "catalog.parquet")


def test_a_capture_becomes_frames_a_catalog_row_and_events(
    make_source: MakeSource, stage_output: Output
) -> None:
    source = make_source(
        "a.csv", GOOD, attack="dos", vehicle="kia", base_capture="b", scenario="s", split="test"
    )
    result = ingest(config(source), NO_INPUTS, stage_output)
    table = Frames.table(stage_output.path / "frames" / "a.parquet")
    assert table["attack"].to_list() == ["", "dos", "dos", "dos", ""]
    row = catalog(stage_output).row(0, named=True)
    digests = {key: row.pop(key) for key in ("source_sha256", "frames_sha256")}
    assert all(len(digest) == 64 for digest in digests.values())
    assert row == {
        "dataset": "d",
        "capture": "a",
        "split": "test",
        "scenario": "s",
        "vehicle": "kia",
        "base_capture": "b",
        "attack": "dos",
        "rows": 5,
        "duration_s": 3.5,
        "ids": 2,
        "attack_frames": 3,
        "attack_share": 0.6,
        "labelled": True,
        "quarantined": 0,
        "quarantine_reasons": "{}",
        "time_reversals": 0,
        "format": "can_train_and_test",
        "source": "a.csv",
    }
    spans = pl.read_parquet(stage_output.path / "events.parquet").rows()
    assert [(c, a) for c, a, _, _ in spans] == [("a", "dos"), ("a", "dos")]
    assert [(round(t0, 6), round(t1, 6)) for _, _, t0, t1 in spans] == [(0.1, 0.2), (3.0, 3.0)]
    assert result.summary["frames"] == 5
    assert not (stage_output.path / "quarantine").exists()


def test_the_catalog_has_the_lakes_schema(make_source: MakeSource, stage_output: Output) -> None:
    ingest(config(make_source("a.csv", GOOD)), NO_INPUTS, stage_output)
    assert pq.read_schema(stage_output.path / "catalog.parquet").equals(CAPTURES, check_metadata=True)


def test_bad_rows_lie_beside_the_capture_and_are_counted(
    make_source: MakeSource, stage_output: Output
) -> None:
    content = GOOD + "x,316,00,0\n14.0,zz,00,0\n14.1,316,0,0\n14.2,zz,00,0\n"
    result = ingest(config(make_source("a.csv", content)), NO_INPUTS, stage_output)
    table = pl.read_parquet(stage_output.path / "quarantine" / "a.parquet")
    assert table.schema == {"line": pl.Int64, "reason": pl.String, "raw": pl.String}
    assert table.row(0) == (7, "time_not_a_number", "x,316,00,0")
    row = catalog(stage_output).row(0, named=True)
    assert row["quarantined"] == 4
    assert json.loads(row["quarantine_reasons"]) == {
        "id_not_hex": 2,
        "payload_odd_hex": 1,
        "time_not_a_number": 1,
    }
    assert row["rows"] + row["quarantined"] == 9
    assert result.summary["quarantined"] == 4


def test_a_mostly_malformed_file_is_refused_with_its_first_reasons(
    make_source: MakeSource, stage_output: Output
) -> None:
    source = make_source("a.csv", CSV + "1.0,316,00,0\n1.0,zz,00,0\n1.0,316,0,0\nnan,316,00,0\n1.0,yy,00,0\n")
    with pytest.raises(CaptureRejected) as caught:
        ingest(config(source), NO_INPUTS, stage_output)
    text = str(caught.value)
    assert "4 of 5 rows" in text
    for said in ("line 3: id_not_hex", "line 4: payload_odd_hex", "line 5: time_not_finite", "a.csv"):
        assert said in text
    ingest(config(source, max_quarantined_share=0.9), NO_INPUTS, stage_output)


@pytest.mark.parametrize("content", ["", "\n\n", CSV, CSV + "\r\n"])
def test_an_empty_or_header_only_capture_is_refused(
    make_source: MakeSource, stage_output: Output, content: str
) -> None:
    with pytest.raises(CaptureRejected, match=r"empty|no frame"):
        ingest(config(make_source("a.csv", content)), NO_INPUTS, stage_output)


def test_a_capture_of_one_frame_is_allowed(make_source: MakeSource, stage_output: Output) -> None:
    ingest(config(make_source("a.log", "(5.0) can0 123#01\n")), NO_INPUTS, stage_output)
    row = catalog(stage_output).row(0, named=True)
    assert (row["rows"], row["duration_s"], row["labelled"], row["attack_share"]) == (1, 0.0, False, None)
    assert len(Frames.arrays(stage_output.path / "frames" / "a.parquet")) == 1


def test_a_capture_without_attack_has_no_events(make_source: MakeSource, stage_output: Output) -> None:
    ingest(config(make_source("a.csv", CSV + "1.0,316,00,0\n2.0,316,00,0\n")), NO_INPUTS, stage_output)
    table = pl.read_parquet(stage_output.path / "events.parquet")
    assert table.is_empty()
    assert table.schema == events.SCHEMA


def test_an_attack_without_family_is_called_attack(make_source: MakeSource, stage_output: Output) -> None:
    ingest(config(make_source("a.csv", GOOD)), NO_INPUTS, stage_output)
    assert Frames.arrays(stage_output.path / "frames" / "a.parquet").attack_names == ["attack"]


def test_unlabelled_frames_are_benign_only_where_declared(
    make_source: MakeSource, stage_output: Output
) -> None:
    text = "(5.0) can0 123#01\n(5.1) can0 123#02\n"
    sources = (
        make_source("a.log", text),
        make_source("b.log", text + "(6.0) can0 1#\n", unlabelled_as="benign"),
    )
    ingest(config(*sources), NO_INPUTS, stage_output)
    assert Frames.table(stage_output.path / "frames" / "a.parquet")["label"].null_count() == 2
    assert Frames.table(stage_output.path / "frames" / "b.parquet")["label"].to_list() == [0, 0, 0]
    assert catalog(stage_output)["labelled"].to_list() == [False, True]


def test_declared_events_replace_those_of_labels(make_source: MakeSource, stage_output: Output) -> None:
    intervals = [AttackInterval(attack="suppress", t_start=1.0, t_end=2.0)]
    ingest(config(make_source("a.csv", GOOD, events=intervals)), NO_INPUTS, stage_output)
    assert pl.read_parquet(stage_output.path / "events.parquet").rows() == [("a", "suppress", 1.0, 2.0)]


def test_a_longer_gap_merges_events(make_source: MakeSource, stage_output: Output) -> None:
    ingest(config(make_source("a.csv", GOOD), event_gap_s=5.0), NO_INPUTS, stage_output)
    assert pl.read_parquet(stage_output.path / "events.parquet").height == 1


def test_repeated_training_captures_are_dropped_and_test_copies_kept(
    make_source: MakeSource, stage_output: Output
) -> None:
    sources = [
        make_source("first.csv", GOOD),
        make_source("again.csv", GOOD.replace("\n", "\r\n")),
        make_source("leak.csv", GOOD, split="test"),
    ]
    result = ingest(config(*sources), NO_INPUTS, stage_output)
    assert catalog(stage_output)["capture"].to_list() == ["first", "leak"]
    assert json.loads((stage_output.path / "duplicates.json").read_text()) == [
        {"capture": "again", "same_as": "first"}
    ]
    assert result.summary["duplicates_dropped"] == 1
    assert {p.stem for p in (stage_output.path / "frames").iterdir()} == {"first", "leak"}


def test_a_file_that_changed_since_planning_is_refused(make_source: MakeSource, stage_output: Output) -> None:
    source = make_source("a.csv", GOOD)
    Path(source.path).write_text(GOOD + "20.0,316,00,0\n")
    with pytest.raises(DataError, match=r"'a\.csv' changed since the run was planned"):
        ingest(config(source), NO_INPUTS, stage_output)


def test_a_missing_file_is_named(make_source: MakeSource, stage_output: Output) -> None:
    source = make_source("a.csv", GOOD)
    Path(source.path).unlink()
    with pytest.raises(SourceMissing, match=r"a\.csv"):
        ingest(config(source), NO_INPUTS, stage_output)


def test_the_wrong_declared_format_is_refused(make_source: MakeSource, stage_output: Output) -> None:
    with pytest.raises(CaptureRejected, match="malformed"):
        ingest(config(make_source("a.csv", GOOD, format="candump")), NO_INPUTS, stage_output)


def test_two_captures_of_one_name_are_refused(make_source: MakeSource, stage_output: Output) -> None:
    source = make_source("a.csv", GOOD)
    with pytest.raises(DataError, match="named twice: a"):
        ingest(config(source, source), NO_INPUTS, stage_output)


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".hidden", "a b"])
def test_a_capture_name_cannot_leave_the_artifact(make_source: MakeSource, name: str) -> None:
    with pytest.raises(ValueError, match="capture"):
        make_source("a.csv", GOOD, capture=name)


def test_sources_come_from_the_captures_input(
    make_source: MakeSource, stage_output: Output, tmp_path: Path
) -> None:
    source = make_source("a.csv", GOOD).model_dump(mode="json") | {"path": "raw/a.csv"}
    (tmp_path / "captures.json").write_text(json.dumps([source]))
    ingest(config(), Inputs({"captures": tmp_path}), stage_output)
    assert catalog(stage_output)["capture"].to_list() == ["a"]


def test_a_broken_captures_input_is_said_so(stage_output: Output, tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match=r"captures\.json"):
        ingest(config(), Inputs({"captures": tmp_path}), stage_output)
    (tmp_path / "captures.json").write_text('[{"capture": "a"}]')
    with pytest.raises(DataError, match=r"captures\.json is not a list of sources"):
        ingest(config(), Inputs({"captures": tmp_path}), stage_output)
    (tmp_path / "captures.json").write_text("[]")
    with pytest.raises(DataError, match="no capture"):
        ingest(config(), Inputs({"captures": tmp_path}), stage_output)


def test_a_capture_read_in_blocks_gives_the_same_artifact(
    make_source: MakeSource, stage_output: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"{k / 2:.1f},{k % 3:X},{k:04X},{int(k % 40 in (5, 6, 8, 20))}" for k in range(300)]
    lines[100], lines[200] = "x,1,00,0", "3.0,1,00,0"
    source = make_source("a.csv", CSV + "\n".join(lines) + "\n", attack="dos")
    ingest(config(source), NO_INPUTS, stage_output)
    monkeypatch.setattr(stream, "_HEAD_BYTES", 64)
    monkeypatch.setattr(stream.batches, "__kwdefaults__", {"block_bytes": 200})
    other = Output(tmp_path / "other", tmp_path, stage_output.recorder, stage_output.progress)
    other.path.mkdir()
    ingest(config(source), NO_INPUTS, other)
    for name in ("catalog", "events", "frames/a", "quarantine/a"):
        whole, cut = (pl.read_parquet(out.path / f"{name}.parquet") for out in (stage_output, other))
        assert cut.equals(whole), name
    assert catalog(other)["quarantined"].to_list() == [2]
    assert pq.ParquetFile(other.path / "frames" / "a.parquet").num_row_groups > 10


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from([None, "dos", "fuzzing"])), max_size=40),
    st.integers(1, 7),
)
def test_events_do_not_depend_on_where_the_parts_are_cut(
    frames: list[tuple[int, str | None]], part: int
) -> None:
    table = pl.DataFrame(
        {
            "timestamp": [float(t) for t, _ in frames],
            "label": [int(a is not None) for _, a in frames],
            "attack": [a or "" for _, a in frames],
        },
        schema={"timestamp": pl.Float64, "label": pl.UInt8, "attack": pl.String},
    )
    whole = events.from_labels([table], "a", 0.0, 1.0)
    cut = events.from_labels(table.iter_slices(part), "a", 0.0, 1.0)
    assert cut.sort(cut.columns).equals(whole.sort(whole.columns))
    spans = set()
    for family in {a for _, a in frames if a}:
        times = sorted(t for t, a in frames if a == family)
        edges = [k for k in range(1, len(times)) if times[k] - times[k - 1] > 1]
        for a, b in zip([0, *edges], [*edges, len(times)], strict=True):
            spans.add((family, float(times[a]), float(times[b - 1])))
    assert {(a, t0, t1) for _, a, t0, t1 in whole.rows()} == spans


def test_progress_counts_captures(make_source: MakeSource, stage_output: Output) -> None:
    ingest(
        config(make_source("a.csv", GOOD), make_source("b.log", "(1.0) can0 1#\n")), NO_INPUTS, stage_output
    )
    assert stage_output.progress.steps == [(1, 2, "a"), (2, 2, "b")]  # type: ignore[attr-defined]


@pytest.mark.slow
def test_several_processes_give_the_same_artifact(
    make_source: MakeSource, stage_output: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [make_source(f"c{i}.csv", GOOD.replace("0001", f"000{i}")) for i in range(3)]
    ingest(config(*sources, workers=1), NO_INPUTS, stage_output)
    monkeypatch.setattr(ingest_module, "_PARALLEL_BYTES", 0)
    other = Output(tmp_path / "other", tmp_path, stage_output.recorder, stage_output.progress)
    other.path.mkdir()
    ingest(config(*sources, workers=2), NO_INPUTS, other)
    assert catalog(other).equals(catalog(stage_output))
    broken = make_source("x.csv.gz", b"\x1f\x8b\x00")
    with pytest.raises(CaptureUnreadable, match=r"x\.csv\.gz"):
        ingest(config(sources[0], broken, workers=2), NO_INPUTS, other)
