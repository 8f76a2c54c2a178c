"""Reading in blocks gives what reading whole gives, and the compiled kernels what the careful reader gives."""

from __future__ import annotations

import io
import random
import string
from typing import get_args

import polars as pl
import pytest
from capture_samples import FRAMES, samples
from hypothesis import example, given, settings
from hypothesis import strategies as st

from candor.ids.captures import candump, fast, files, formats, rows, stream
from candor.ids.captures import frames as fr
from candor.ids.captures.format import Opened
from candor.ids.captures.formats import FORMATS
from candor.ids.config import CaptureFormat

ALL = [(name, k) for name, files_ in samples().items() for k in range(len(files_))]


def read(content: bytes, name: str, block_bytes: int = 1 << 23) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    kind = FORMATS[name]
    parts = list(stream.batches(io.BytesIO(content), kind, "x", max_backstep_s=1.0, block_bytes=block_bytes))
    return (
        pl.concat([part.frames for part in parts]),
        pl.concat([part.quarantined for part in parts]).sort("line", maintain_order=True),
        parts[-1].time_reversals,
    )


def test_the_config_names_every_format() -> None:
    assert get_args(CaptureFormat) == ("auto", *FORMATS)


def test_every_format_has_a_sample() -> None:
    assert set(samples()) == set(FORMATS)


@pytest.mark.parametrize(("name", "k"), ALL)
def test_the_format_is_told_by_content(name: str, k: int) -> None:
    assert formats.recognise(samples()[name][k], "x").name == name


@pytest.mark.parametrize(("name", "k"), ALL)
def test_the_frames_of_a_sample_are_read(name: str, k: int) -> None:
    frames, quarantined, _ = read(samples()[name][k], name)
    assert set(quarantined["reason"].to_list()) <= {"not_a_frame"}
    plain = frames.head(len(FRAMES))
    identifiers = [0x18FE_0000 + i if name == "j1939" else i for _, i, _ in FRAMES]
    assert plain["id"].to_list() == identifiers
    if FORMATS[name].timed:
        times = plain["timestamp"] - plain["timestamp"][0]
        assert times.to_list() == pytest.approx([t - FRAMES[0][0] for t, *_ in FRAMES], abs=1e-4)
        assert plain["data"].to_list() == [data for *_, data in FRAMES]


@pytest.mark.parametrize(("name", "k"), ALL)
@pytest.mark.parametrize("block_bytes", [1, 7, 150])
def test_where_blocks_are_cut_changes_nothing(
    name: str, k: int, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = samples()[name][k]
    whole = read(content, name)
    monkeypatch.setattr(stream, "_HEAD_BYTES", 256)
    cut = read(content, name, max(block_bytes, 100))
    assert cut[0].equals(whole[0])
    assert cut[1].equals(whole[1])
    assert cut[2] == whole[2]


@given(st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=60), st.integers(64, 400))
@settings(max_examples=80, deadline=None)
def test_times_are_judged_the_same_in_any_blocks(times: list[float], block_bytes: int) -> None:
    content = "".join(f"({1e6 + t:.3f}) can0 123#00\n" for t in times).encode()
    head, stream._HEAD_BYTES = stream._HEAD_BYTES, 64
    try:
        cut = read(content, "candump", block_bytes)
    finally:
        stream._HEAD_BYTES = head
    whole = read(content, "candump")
    assert cut[0].equals(whole[0])
    assert cut[1].equals(whole[1])
    assert cut[2] == whole[2]
    assert whole[0].height + whole[1].height == len(times)


def test_a_late_frame_keeps_its_raw_text_whichever_way_it_was_read() -> None:
    lines = [f"({t:.1f}) can0 1FF#00" for t in (10, 10.1, 10.2, 10.3, 3, 10.4, 10.5, 10.6, 10.7, 10.8)]
    _, quarantined, _ = read("\n".join(lines).encode(), "candump", 64)
    assert quarantined.rows() == [(5, "time_backwards", "(3.0) can0 1FF#00")]


def careful(content: bytes, name: str) -> rows.Parsed:
    """Without the kernel."""
    kind = FORMATS[name]
    assert kind.open is not None
    table = files.lines(content)
    opened: Opened = kind.open(table, "x")
    body = table.filter(pl.col("line") > opened.header_lines)
    return rows.decode(opened.read(body), max_backstep_s=1e18)


TOKENS = [
    "(",
    ")",
    " ",
    "#",
    ",",
    ".",
    "0",
    "1",
    "9",
    "A",
    "f",
    "R",
    "T",
    "can0",
    "=",
    "0x",
    "\0",
    "12",
    "DEADBEEF",
    "e5",
    "-",
    "+",
]


def lines_near(name: str) -> st.SearchStrategy[str]:
    """Lines of the format with a few characters changed."""
    whole = [line for line in samples()[name][0].decode().splitlines() if line]
    edit = st.tuples(
        st.floats(0, 1), st.integers(0, 3), st.sampled_from([*TOKENS, *string.printable[:62], ""])
    )

    def apply(line: str, edits: list[tuple[float, int, str]]) -> str:
        for at, cut, text in edits:
            place = int(at * len(line))
            line = line[:place] + text + line[place + cut :]
        return line

    return st.builds(apply, st.sampled_from(whole), st.lists(edit, max_size=3))


@pytest.mark.parametrize("name", ["candump", "can_train_and_test", "hcrl_csv", "python_can_csv"])
def test_kernels_agree_with_the_careful_reader(name: str) -> None:
    headed = name in ("can_train_and_test", "python_can_csv")
    head = samples()[name][0].split(b"\n")[0].strip() + b"\n" if headed else b""

    @given(st.lists(lines_near(name), min_size=1, max_size=8))
    @settings(max_examples=300, deadline=None)
    @example(["(1.) can0 123#", "(.5) can0 123#00", "(1e3) can0 123#00", "(1.5) can0 FFF#00"])
    @example(["(12345678901234567.5) can0 123#00", "(1.5)  can0 123#00", "(1.5) can0 123#00 R"])
    def check(lines: list[str]) -> None:
        content = head + "\n".join(lines).encode()
        parts = list(stream.batches(io.BytesIO(content), FORMATS[name], "x", max_backstep_s=1e18))
        slow = careful(content, name)
        frames = pl.concat([part.frames for part in parts])
        assert frames.equals(slow.frames)
        assert pl.concat([part.quarantined for part in parts]).sort("line").equals(slow.quarantined)

    check()


def test_a_kernel_takes_plain_lines_and_leaves_the_rest() -> None:
    plain = fast.read(b"(1.5) can0 123#00\n\n(1.6) can0 123#R\n(1.7) can1 00000123#0011\r\n", 7, "candump")
    assert plain.frames["line"].to_list() == [7, 10]
    assert plain.frames["channel"].to_list() == ["can0", "can1"]
    assert plain.frames["flags"].to_list() == [0, fr.EXTENDED]
    assert plain.rest.rows() == [(9, "(1.6) can0 123#R")]
    assert plain.text([10]) == ["(1.7) can1 00000123#0011"]


def test_more_channels_than_a_kernel_counts_are_read_all_the_same() -> None:
    content = "".join(f"({k}.5) can{k} 123#00\n" for k in range(200)).encode()
    frames, _, _ = read(content, "candump")
    assert frames["channel"].to_list() == [f"can{k}" for k in range(200)]


def test_a_line_longer_than_a_block_is_cut_not_gathered() -> None:
    rng = random.Random(1)
    content = bytes(rng.randrange(32, 127) for _ in range(5000)) + b"\n(1.5) can0 123#00\n"
    frames, quarantined, _ = read(content, "candump", 1000)
    assert frames.height == 1
    assert set(quarantined["reason"].to_list()) == {"malformed"}


def test_written_frames_come_back_through_the_kernel() -> None:
    frames, _, _ = read(samples()["candump"][0], "candump")
    again, _, _ = read(candump.write(frames), "candump")
    assert again.equals(frames)
