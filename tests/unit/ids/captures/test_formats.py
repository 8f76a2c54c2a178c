"""Each format is read and written; what is written comes back, and what is damaged is counted, never a crash."""

from __future__ import annotations

import contextlib
import gzip
import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor.errors import (
    CandorError,
    CaptureRejected,
    CaptureUnreadable,
    DataError,
    SchemaMismatch,
    SourceMissing,
)
from candor.ids.captures import can_train_and_test, candump, files, formats, hcrl_txt, rows, stream
from candor.ids.captures import frames as fr
from candor.ids.captures.formats import FORMATS

WRITTEN = [name for name, kind in FORMATS.items() if kind.write]
COMPARED = ["timestamp", "id", "data", "dlc", "flags"]


def parse(content: bytes, name: str = "auto") -> rows.Parsed:
    kind = formats.recognise(content, "test") if name == "auto" else FORMATS[name]
    return stream.parse(content, kind, "test", max_backstep_s=1.0)


def write(name: str, table: pl.DataFrame) -> bytes:
    writer = FORMATS[name].write
    assert writer is not None
    return writer(table)


def frame_rows(max_id: int, max_bytes: int = 8) -> st.SearchStrategy[list[tuple[int, int, bytes, int]]]:
    row = st.tuples(
        st.integers(0, 10**7), st.integers(0, max_id), st.binary(max_size=max_bytes), st.integers(0, 1)
    )
    return st.lists(row, min_size=1, max_size=20)


def table_of(drawn: list[tuple[int, int, bytes, int]], flags: list[int] | None = None) -> pl.DataFrame:
    """Frames at growing whole microseconds, so that six decimals hold them exactly."""
    micros, out = 1_500_000_000_000_000, []
    for step, *_ in drawn:
        micros += step
        out.append(micros / 1e6)
    ids = [i for _, i, _, _ in drawn]
    default = [fr.EXTENDED * (i > fr.MAX_STANDARD_ID) + fr.FD * (len(data) > 8) for _, i, data, _ in drawn]
    return fr.validate(
        pl.DataFrame(
            {
                "timestamp": out,
                "id": ids,
                "data": [data for _, _, data, _ in drawn],
                "dlc": [len(data) for _, _, data, _ in drawn],
                "label": [y for *_, y in drawn],
                "attack": ["attack" if y else "" for *_, y in drawn],
                "flags": flags or default,
                "channel": [""] * len(drawn),
            },
            schema=fr.COLUMNS,
        )
    )


@given(frame_rows(fr.MAX_EXTENDED_ID, 64), st.sampled_from(["can_train_and_test", "hcrl_csv"]))
@settings(max_examples=60, deadline=None)
def test_labelled_formats_give_back_what_was_written(
    drawn: list[tuple[int, int, bytes, int]], name: str
) -> None:
    table = table_of(drawn)
    parsed = parse(write(name, table), name)
    assert parsed.quarantined.is_empty()
    assert parsed.frames.equals(table)


@given(frame_rows(fr.MAX_EXTENDED_ID, 64))
@settings(max_examples=30, deadline=None)
def test_parquet_gives_back_what_was_written(drawn: list[tuple[int, int, bytes, int]]) -> None:
    table = table_of(drawn)
    content = can_train_and_test.write_parquet(table, "x.csv")
    assert parse(content).frames.equals(table)


@given(frame_rows(fr.MAX_EXTENDED_ID, 64), st.sampled_from(["hcrl_txt", "candump"]))
@settings(max_examples=60, deadline=None)
def test_unlabelled_formats_give_back_all_but_labels(
    drawn: list[tuple[int, int, bytes, int]], name: str
) -> None:
    table = table_of(drawn)
    parsed = parse(write(name, table))
    assert parsed.frames.select(COMPARED).equals(table.select(COMPARED))
    assert parsed.frames["label"].null_count() == table.height
    fr.validate(parsed.frames)


@given(
    st.lists(
        st.tuples(
            st.integers(0, fr.MAX_EXTENDED_ID),
            st.binary(max_size=8),
            st.sampled_from(
                [0, fr.EXTENDED, fr.REMOTE, fr.EXTENDED | fr.REMOTE, fr.ERROR, fr.FD, fr.FD | fr.BRS]
            ),
            st.integers(0, 8),
        ),
        min_size=1,
        max_size=20,
    )
)
@settings(max_examples=60, deadline=None)
def test_candump_keeps_every_kind_of_frame(drawn: list[tuple[int, bytes, int, int]]) -> None:
    built = []
    for i, data, flags, requested in drawn:
        remote = bool(flags & fr.REMOTE)
        wide = fr.EXTENDED if i > fr.MAX_STANDARD_ID else 0
        built.append((i, b"" if remote else data, flags | wide, requested if remote else len(data)))
    table = pl.DataFrame(
        {
            "timestamp": [float(k) for k in range(len(built))],
            "id": [i for i, *_ in built],
            "data": [data for _, data, _, _ in built],
            "dlc": [n for *_, n in built],
            "label": [None] * len(built),
            "attack": [""] * len(built),
            "flags": [flags for _, _, flags, _ in built],
            "channel": ["can0"] * len(built),
        },
        schema=fr.COLUMNS,
    )
    assert parse(candump.write(table)).frames.equals(table)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("(1.5) can0 123#DEADBEEF", (0x123, "deadbeef", 4, 0)),
        ("(1.5) vcan1 123#", (0x123, "", 0, 0)),
        ("(1.5) can0 123#deadbeef R", (0x123, "deadbeef", 4, 0)),
        ("(1.5) can0 00000123#01", (0x123, "01", 1, fr.EXTENDED)),
        ("(1.5) can0 1FFFFFFF#01", (fr.MAX_EXTENDED_ID, "01", 1, fr.EXTENDED)),
        ("(1.5) can0 123#R", (0x123, "", 0, fr.REMOTE)),
        ("(1.5) can0 123#R8", (0x123, "", 8, fr.REMOTE)),
        ("(1.5) can0 123#1122334455667788_E", (0x123, "1122334455667788", 8, 0)),
        ("(1.5) can0 123##1AABB", (0x123, "aabb", 2, fr.FD | fr.BRS)),
        ("(1.5) can0 123##2" + "00" * 64, (0x123, "00" * 64, 64, fr.FD | fr.ESI)),
        ("(1.5) can0 20000004#0000000000000000", (4, "00" * 8, 8, fr.ERROR)),
        ("(1.5) can0 30000004#0000000000000000", (0x10000004, "00" * 8, 8, fr.ERROR | fr.EXTENDED)),
    ],
)
def test_candump_lines_mean(line: str, expected: tuple[int, str, int, int]) -> None:
    frame = parse(line.encode()).frames.row(0, named=True)
    assert (frame["id"], frame["data"].hex(), frame["dlc"], frame["flags"]) == expected


def test_otids_remote_frames_are_recognised() -> None:
    text = b"Timestamp:          0.000000        ID: 0316    000    DLC: 2    05 20\n" + (
        b"Timestamp:          0.000224        ID: 02a0    100    DLC: 0    \n"
    )
    parsed = parse(text)
    assert parsed.frames["flags"].to_list() == [0, fr.REMOTE]
    assert parsed.frames["dlc"].to_list() == [2, 0]


@pytest.mark.parametrize(
    ("name", "line", "reason"),
    [
        ("candump", "(nan) can0 123#00", "time_not_finite"),
        ("candump", "(inf) can0 123#00", "time_not_finite"),
        ("candump", "(soon) can0 123#00", "time_not_a_number"),
        ("candump", "(1.0) can0 12G#00", "id_not_hex"),
        ("candump", "(1.0) can0 3FFFFFFFF#00", "id_over_29_bits"),
        ("candump", "(1.0) can0 " + "F" * 40 + "#00", "id_over_29_bits"),
        ("candump", "(1.0) can0 123#0G", "payload_not_hex"),
        ("candump", "(1.0) can0 123#012", "payload_odd_hex"),
        ("candump", "(1.0) can0 123##0" + "00" * 65, "payload_over_64_bytes"),
        ("candump", "(1.0) can0 123##", "malformed"),
        ("candump", "(1.0) can0", "malformed"),
        ("candump", "(1.0) can0 123#R9", "dlc_mismatch"),
        ("hcrl_csv", "1.0,0316,8,00,R", "dlc_mismatch"),
        ("hcrl_csv", "1.0,0316,x,00,R", "dlc_not_a_number"),
        ("hcrl_csv", "1.0,0316,1,00,Q", "label_unknown"),
        ("hcrl_csv", "1.0,0316,1,zz,T", "payload_not_hex"),
        ("hcrl_csv", "1.0,0316", "malformed"),
        ("hcrl_txt", "Timestamp: 1.0 ID: 0316 000 DLC: 3 00 11", "dlc_mismatch"),
        ("hcrl_txt", "Timestamp: 1.0 ID: 0316 777 DLC: 2 00 11", "malformed"),
        ("hcrl_txt", "Timestamp: 1.0 ID: 0316 100 DLC: 1 00", "dlc_mismatch"),
        ("can_train_and_test", "1.0,316,001,0", "payload_odd_hex"),
        ("can_train_and_test", "1.0,316,00,2", "label_unknown"),
        ("can_train_and_test", "1.0,316,00,", "label_unknown"),
        ("can_train_and_test", "1.0,,00,0", "id_not_hex"),
        ("can_train_and_test", ",316,00,0", "time_not_a_number"),
        ("can_train_and_test", "1.0,316,00", "malformed"),
        ("can_train_and_test", "1.0,316,00,0,0", "malformed"),
        ("can_train_and_test", "1.0,316,0x00,0", "payload_not_hex"),
    ],
)
def test_a_bad_row_is_quarantined_with_its_reason(name: str, line: str, reason: str) -> None:
    header = ",".join(can_train_and_test.COLUMNS) + "\n" if name == "can_train_and_test" else ""
    parsed = parse((header + line + "\n").encode(), name)
    assert parsed.frames.is_empty()
    assert parsed.quarantined.rows() == [(2 if header else 1, reason, line)]


def test_bytes_that_are_not_utf8_are_quarantined() -> None:
    parsed = parse(b"(1.0) can0 123#00\n(1.1) can\xff0 123#00\n")
    assert parsed.frames.height == 1
    assert parsed.quarantined["reason"].to_list() == ["not_utf8"]


def test_a_small_step_back_is_kept_and_counted() -> None:
    parsed = parse(b"(10.0) can0 1#\n(9.5) can0 1#\n(10.1) can0 1#\n")
    assert parsed.frames["timestamp"].to_list() == [10.0, 9.5, 10.1]
    assert parsed.time_reversals == 1


def test_a_large_step_back_is_quarantined() -> None:
    times = [10.0, 10.1, 10.2, 10.3, 3.0, 10.4, 10.5]
    parsed = parse("".join(f"({t}) can0 1#\n" for t in times).encode())
    assert parsed.frames["timestamp"].to_list() == [10.0, 10.1, 10.2, 10.3, 10.4, 10.5]
    assert parsed.quarantined.rows() == [(5, "time_backwards", "(3.0) can0 1#")]


def test_one_time_far_ahead_does_not_condemn_the_rest() -> None:
    times = [10.0, 10.1, 9e9, 10.3, 10.4]
    parsed = parse("".join(f"({t}) can0 1#\n" for t in times).encode())
    assert parsed.frames.height == 4
    assert parsed.quarantined["reason"].to_list() == ["time_ahead"]


def test_a_clock_that_starts_again_loses_the_later_part_only() -> None:
    times = [*range(100, 120), *range(5)]
    parsed = parse("".join(f"({t}.0) can0 1#\n" for t in times).encode())
    assert parsed.frames["timestamp"].is_sorted()
    assert parsed.frames.height >= 17
    assert parsed.rows == 25


def test_row_order_is_kept() -> None:
    parsed = parse(b"(1.0) can0 3#\n(1.0) can0 1#\n(1.0) can0 2#\n")
    assert parsed.frames["id"].to_list() == [3, 1, 2]


def test_blank_lines_crlf_and_a_byte_order_mark_are_no_rows() -> None:
    content = b"\xef\xbb\xbftimestamp,arbitration_id,data_field,attack\r\n\r\n1.0,316,00,0\r\n   \r\n1.1,316,01,1\r\n\r\n"
    parsed = parse(content)
    assert (parsed.frames.height, parsed.quarantined.height) == (2, 0)
    assert parsed.frames["label"].to_list() == [0, 1]


def test_columns_may_come_in_another_order() -> None:
    parsed = parse(b"attack,data_field,arbitration_id,timestamp\n1,0A,7FF,2.5\n")
    assert parsed.frames.row(0)[:5] == (2.5, 0x7FF, b"\x0a", 1, 1)


def test_hcrl_short_rows_and_padded_rows_are_the_same() -> None:
    short = parse(b"1.0,05f0,2,01,00,R\n1.1,05f0,2,01,00,T\n")
    padded = parse(b"1.0, 05f0, 2, 01, 00,,,,,,, R\n1.1,05f0,2,01,00,,,,,,,T\n", "hcrl_csv")
    assert short.frames.equals(padded.frames)
    assert short.frames["label"].to_list() == [0, 1]


def test_an_hcrl_header_is_no_row() -> None:
    assert parse(b"Timestamp,ID,DLC,DATA0,Flag\n1.0,05f0,1,01,R\n", "hcrl_csv").rows == 1


@pytest.mark.parametrize("name", WRITTEN)
def test_the_format_is_recognised_by_content(name: str) -> None:
    table = table_of([(1, 0x123, b"\x01", 0)] * 3)
    assert formats.recognise(write(name, table), "x").name == name


def test_the_format_is_recognised_behind_some_damage() -> None:
    assert formats.recognise(b"garbage\n(1.0) can0 1#00\n(1.1) can0 1#00\n", "x").name == "candump"


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (b"", CaptureRejected, "empty"),
        (b"\n \r\n", CaptureRejected, "empty"),
        (b"time,id,data\n1,2,3\n", SchemaMismatch, "time,id,data"),
        (b"hello world\n", CaptureUnreadable, "hello world"),
        (bytes(range(256)), CaptureUnreadable, "not recognised"),
    ],
)
def test_what_has_no_format_is_refused(content: bytes, error: type[CandorError], says: str) -> None:
    with pytest.raises(error, match=says):
        formats.recognise(content, "x.csv")


def test_missing_columns_are_named() -> None:
    with pytest.raises(SchemaMismatch, match="lack attack"):
        parse(b"timestamp,arbitration_id,data_field\n1.0,1,00\n")


def test_parquet_with_other_columns_or_types_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"timestamp": [1.0], "id": [1]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(SchemaMismatch, match="lack data_field, label"):
        parse((tmp_path / "a.parquet").read_bytes())
    pl.DataFrame({"timestamp": [1.0], "id": ["1E5"], "data_field": ["00"], "label": [0]}).write_parquet(
        tmp_path / "b.parquet"
    )
    with pytest.raises(SchemaMismatch, match="'id' has type String"):
        parse((tmp_path / "b.parquet").read_bytes())


def test_truncated_parquet_is_unreadable() -> None:
    content = can_train_and_test.write_parquet(table_of([(1, 1, b"", 0)] * 9))
    with pytest.raises(CaptureUnreadable, match="Parquet"):
        parse(content[: len(content) // 2])


def test_bad_parquet_rows_are_quarantined(tmp_path: Path) -> None:
    pl.DataFrame(
        {
            "timestamp": [1.0, float("nan"), None, 1.3, 1.4, 1.5, 1.6],
            "id": [1, 2, 3, 1 << 30, None, 6, 7],
            "data_field": ["00", "00", "00", "00", "00", "0", None],
            "label": [0, 0, 0, 0, 0, 0, 0],
        }
    ).write_parquet(tmp_path / "a.parquet")
    parsed = parse((tmp_path / "a.parquet").read_bytes())
    assert parsed.frames.height == 1
    assert parsed.quarantined["reason"].to_list() == [
        "time_not_finite",
        "time_not_a_number",
        "id_over_29_bits",
        "id_not_hex",
        "payload_odd_hex",
        "payload_not_hex",
    ]
    assert parsed.quarantined["line"].to_list() == [2, 3, 4, 5, 6, 7]


def test_a_writer_refuses_what_its_format_cannot_hold(make_frames) -> None:
    remote = make_frames([(0.0, 1, "", 0)], flags=fr.REMOTE)
    unlabelled = make_frames([(0.0, 1, "", None)])
    with pytest.raises(DataError, match="1 frames are remote"):
        can_train_and_test.write(remote)
    with pytest.raises(DataError, match="error frames"):
        hcrl_txt.write(make_frames([(0.0, 1, "", 0)], flags=fr.ERROR))
    with pytest.raises(DataError, match="unlabelled"):
        can_train_and_test.write(unlabelled)
    assert hcrl_txt.write(remote)


def test_gzip_is_read_and_a_truncated_one_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(b"(1.0) can0 1#00\n" * 200)
    (tmp_path / "a.log.gz").write_bytes(packed)
    assert files.read_bytes(tmp_path / "a.log.gz").startswith(b"(1.0)")
    (tmp_path / "b.log.gz").write_bytes(packed[:-9])
    with pytest.raises(CaptureUnreadable, match=r"b\.log\.gz.*gzip"):
        files.read_bytes(tmp_path / "b.log.gz")
    (tmp_path / "c.log.gz").write_bytes(packed[:12] + b"\xff\xff\xff" + packed[15:])
    with pytest.raises(CaptureUnreadable):
        files.read_bytes(tmp_path / "c.log.gz")


def test_a_missing_file_and_a_folder_are_said_so(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match=r"no file 'x\.csv'"):
        files.read_bytes(tmp_path / "x.csv")
    with pytest.raises(SourceMissing):
        files.sha256_of(tmp_path / "x.csv")
    with pytest.raises(CaptureUnreadable):
        files.read_bytes(tmp_path)
    with pytest.raises(CaptureUnreadable):
        files.sha256_of(tmp_path)


@pytest.mark.parametrize("name", WRITTEN)
def test_damaged_files_are_counted_or_refused_but_never_crash(name: str) -> None:
    """Small random damage: flipped, cut, doubled bytes and lines. Every non-blank row is a frame or in quarantine."""
    drawn = [(k, 0x100 + k, bytes(range(k % 9)), k % 2) for k in range(40)]
    original = write(name, table_of(drawn))
    for seed in range(120):
        content = damage(original, random.Random(seed))
        with contextlib.suppress(CandorError):
            parsed = parse(content, name)
            head = 1 if name == "can_train_and_test" else 0
            count = files.lines(content).height - head
            assert parsed.rows == max(count, 0)
            fr.validate(parsed.frames)


@pytest.mark.parametrize("seed", range(20))
def test_damaged_parquet_is_refused_or_read(seed: int) -> None:
    original = can_train_and_test.write_parquet(table_of([(k, k, b"\x01", 0) for k in range(40)]))
    with contextlib.suppress(CandorError):
        fr.validate(parse(damage(original, random.Random(seed)), "can_train_and_test").frames)


def damage(content: bytes, rng: random.Random) -> bytes:
    out = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(max(len(out), 1))
        match rng.randrange(5):
            case 0:
                out[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del out[at : at + rng.randint(1, 30)]
            case 2:
                out[at:at] = out[at : at + rng.randint(1, 30)]
            case 3:
                out[at:at] = rng.choice([b"\n", b"\r\n", b"\x00", b"nan", b",", b"#", "ü".encode(), b"\xff"])
            case _:
                del out[at + rng.randrange(len(content)) :]
    return bytes(out)
