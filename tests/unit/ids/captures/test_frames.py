from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandera.errors import SchemaError, SchemaErrors

from candor.errors import CaptureUnreadable, SchemaMismatch, StorageFull
from candor.ids.captures import frames as fr
from candor.ids.captures.frames import Frames

ROWS = [(100.0, 0x123, "0102", 0), (100.5, 0x7FF, "", 1), (101.0, 0x18FEF100, "11" * 8, 0)]


def test_frames_survive_writing_and_reading(make_frames, tmp_path: Path) -> None:
    table = make_frames(ROWS)
    fr.write(table, tmp_path / "new" / "a.parquet")
    assert Frames.table(tmp_path / "new" / "a.parquet").equals(table)


def test_arrays_are_relative_padded_and_coded(make_frames, tmp_path: Path) -> None:
    fr.write(make_frames(ROWS), tmp_path / "a.parquet")
    arrays = Frames.arrays(tmp_path / "a.parquet")
    assert arrays.t.tolist() == [0.0, 0.5, 1.0]
    assert arrays.id.dtype == np.uint32
    assert arrays.data.shape == (3, 8)
    assert arrays.data[0].tolist() == [1, 2, 0, 0, 0, 0, 0, 0]
    assert arrays.dlc.tolist() == [2, 0, 8]
    assert arrays.y.tolist() == [0, 1, 0]
    assert arrays.attack_names == ["attack"]
    assert arrays.attack_code.dtype == np.int16
    assert arrays.attack_code.tolist() == [-1, 0, -1]
    assert arrays.flags.tolist() == [0, 0, fr.EXTENDED]
    assert len(arrays) == 3


def test_arrays_do_not_tell_how_many_row_groups_a_capture_is_stored_in(make_frames, tmp_path: Path) -> None:
    rows = [(100.0 + i, i, f"{i:02x}" * (i % 9), i % 2) for i in range(20)]
    families = ["" if i % 2 == 0 else "spoofing" if i < 7 else "dos" for i in range(20)]
    table = make_frames(rows).with_columns(attack=pl.Series(families))
    table.write_parquet(tmp_path / "many.parquet", row_group_size=3)
    whole, many = fr.to_arrays(table), Frames.arrays(tmp_path / "many.parquet")
    assert many.attack_names == whole.attack_names == ["dos", "spoofing"]
    for name in ("t", "id", "data", "dlc", "y", "attack_code", "flags"):
        assert getattr(many, name).dtype == getattr(whole, name).dtype
        np.testing.assert_array_equal(getattr(many, name), getattr(whole, name))
    fr.write(table.clear(), tmp_path / "none.parquet")
    assert len(Frames.arrays(tmp_path / "none.parquet")) == 0


def test_unlabelled_frames_count_as_benign_in_arrays(make_frames) -> None:
    assert fr.to_arrays(make_frames([(0.0, 1, "00", None)])).y.tolist() == [0]


def test_arrays_hold_the_first_eight_bytes_of_a_long_payload(make_frames) -> None:
    table = make_frames([(0.0, 1, bytes(range(64)).hex(), 0)], flags=fr.FD)
    arrays = fr.to_arrays(table)
    assert arrays.data[0].tolist() == list(range(8))
    assert arrays.dlc[0] == 64


def test_an_empty_table_has_empty_arrays() -> None:
    arrays = fr.to_arrays(pl.DataFrame(schema=fr.COLUMNS))
    assert (len(arrays), arrays.data.shape) == (0, (0, 8))


@pytest.mark.parametrize(
    "broken",
    [
        pl.col("timestamp") * float("nan"),
        pl.lit(0x2000_0000, dtype=pl.UInt32).alias("id"),
        pl.lit(65, dtype=pl.UInt8).alias("dlc"),
        pl.lit(2, dtype=pl.UInt8).alias("label"),
        pl.lit("dos").alias("attack"),
        pl.lit(64, dtype=pl.UInt8).alias("flags"),
        pl.col("id").cast(pl.Int64),
        pl.lit(None, dtype=pl.String).alias("channel"),
        pl.lit(1).alias("extra"),
    ],
)
def test_a_table_that_breaks_the_schema_is_refused(make_frames, broken: pl.Expr) -> None:
    with pytest.raises(SchemaMismatch, match=r"not a frame table.*here\.parquet"):
        fr.validate(make_frames(ROWS).with_columns(broken), place="here.parquet")


def sound(t: float, ident: int, data: bytes, label: int | None, flags: int) -> dict[str, Any]:
    """A frame as it ought to be."""
    return {
        "timestamp": t,
        "id": ident,
        "data": data,
        "dlc": len(data),
        "label": label,
        "attack": "attack" if label == 1 else "",
        "flags": flags,
        "channel": "can0",
    }


ROW = st.builds(
    sound,
    st.floats(-1e9, 1e9),
    st.integers(0, fr.MAX_EXTENDED_ID),
    st.binary(max_size=9) | st.just(bytes(64)),
    st.sampled_from([0, 1, None]),
    st.integers(0, 63),
)
ODD: dict[str, list[Any]] = {
    "timestamp": [float("nan"), float("inf"), -float("inf"), None, 0.0],
    "id": [0, fr.MAX_EXTENDED_ID, fr.MAX_EXTENDED_ID + 1, None],
    "data": [b"", bytes(8), bytes(64), bytes(65), bytes(256), None],
    "dlc": [0, 8, 64, 65, None],
    "label": [0, 1, 2, None],
    "attack": ["", "attack", "dos", None],
    "flags": [0, fr.REMOTE, fr.ERROR, fr.FD, 63, 64, None],
    "channel": ["", None],
}
CHANGE = st.sampled_from(list(ODD)).flatmap(lambda name: st.tuples(st.just(name), st.sampled_from(ODD[name])))


@given(st.lists(ROW, max_size=3), st.lists(CHANGE, max_size=2), st.integers(0, 30))
@settings(max_examples=600, deadline=None)
def test_the_quick_check_and_pandera_agree_on_good_and_bad_tables(
    rows: list[dict[str, Any]], changes: list[tuple[str, Any]], shape: int
) -> None:
    if rows:
        rows[-1] |= dict(changes)
    table = pl.DataFrame(rows, schema=fr.COLUMNS)
    match shape:
        case 0:
            table = table.drop("channel")
        case 1:
            table = table.with_columns(extra=pl.lit(1))
        case 2:
            table = table.select(reversed(table.columns))
        case 3:
            table = table.cast({"dlc": pl.Int16})
        case 4:
            table = pl.concat([table, table])
    try:
        fr.FRAME_SCHEMA.validate(table)
        good = True
    except (SchemaError, SchemaErrors):
        good = False
    assert fr.is_frame_table(table) == good


def test_the_quick_check_takes_frames_of_every_kind(make_frames) -> None:
    for flags in (0, fr.FD, fr.REMOTE, fr.ERROR, fr.FD | fr.BRS | fr.ESI):
        assert fr.is_frame_table(make_frames(ROWS, flags=flags))


def test_columns_in_another_order_are_refused(make_frames) -> None:
    table = make_frames(ROWS)
    with pytest.raises(SchemaMismatch):
        fr.validate(table.select(reversed(table.columns)))


def test_the_content_hash_ignores_names_and_sees_every_recorded_value(make_frames) -> None:
    table = make_frames(ROWS)
    digest = fr.content_hash(table)
    named = table.with_columns(attack=pl.col("attack").replace("attack", "dos"), channel=pl.lit("can1"))
    assert fr.content_hash(named) == digest
    changed = [
        table.with_columns(timestamp=pl.col("timestamp") + 1e-6),
        table.with_columns(id=pl.col("id") + 1),
        table.with_columns(label=pl.lit(None, dtype=pl.UInt8)),
        table.with_columns(flags=pl.col("flags") + 4),
        make_frames([(100.0, 0x123, "0103", 0), *ROWS[1:]]),
        table.reverse(),
        table.head(2),
    ]
    assert digest not in {fr.content_hash(other) for other in changed}


def test_payload_bytes_that_move_between_frames_change_the_hash(make_frames) -> None:
    one = make_frames([(0.0, 1, "0102", 0), (1.0, 1, "03", 0)])
    other = make_frames([(0.0, 1, "01", 0), (1.0, 1, "0203", 0)])
    assert fr.content_hash(one) != fr.content_hash(other)


def test_a_damaged_frame_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(CaptureUnreadable, match=r"bad\.parquet"):
        Frames.arrays(tmp_path / "bad.parquet")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_so(make_frames) -> None:
    with pytest.raises(StorageFull, match="no space left"):
        fr.write(make_frames(ROWS), Path("/dev/full"))


def test_other_write_errors_are_left_as_they_are(make_frames, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        fr.write(make_frames(ROWS), tmp_path / "file" / "a.parquet")


@pytest.mark.parametrize("longest", [8, 12, 13, 64])
def test_first_bytes_cuts_and_pads_whatever_way_the_payloads_lie_in_memory(longest: int) -> None:
    draw = np.random.default_rng(0)
    payloads = [draw.bytes(int(size)) for size in draw.integers(0, longest + 1, 500)]
    series = pl.Series("data", payloads, dtype=pl.Binary)
    wanted = np.array([list(p[:8].ljust(8, b"\0")) for p in payloads], np.uint8)
    np.testing.assert_array_equal(fr.first_bytes(series), wanted)
    np.testing.assert_array_equal(fr.first_bytes(series[100:333]), wanted[100:333])
    parts = pl.concat([series, series], rechunk=False)
    np.testing.assert_array_equal(fr.first_bytes(parts), np.concatenate([wanted, wanted]))
    assert fr.first_bytes(series[:0]).shape == (0, 8)
    assert not fr.first_bytes(pl.Series("data", [b"", b""], dtype=pl.Binary)).any()
