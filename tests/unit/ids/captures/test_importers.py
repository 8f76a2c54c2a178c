"""What the lines and bytes of each imported format mean, where another reading is near at hand."""

from __future__ import annotations

import itertools
import struct

import polars as pl
import pytest

from candor.errors import CaptureUnreadable, SchemaMismatch
from candor.ids.captures import formats, rows, stream
from candor.ids.captures import frames as fr
from candor.ids.captures.format import UNTIMED_STEP_S


def parse(content: bytes | str, name: str = "auto") -> rows.Parsed:
    raw = content.encode() if isinstance(content, str) else content
    kind = formats.recognise(raw, "x") if name == "auto" else formats.FORMATS[name]
    return stream.parse(raw, kind, "x", max_backstep_s=1.0)


def only(parsed: rows.Parsed) -> dict[str, object]:
    assert (parsed.frames.height, parsed.quarantined.height) == (1, 0)
    return parsed.frames.row(0, named=True)


ASC = "date Fri Feb 14 08:51:20.500 am 2020\nbase hex  timestamps absolute\n"


def test_the_first_line_below_a_short_asc_header_is_a_frame() -> None:
    """python-can takes it for "internal events logged", which is how it reads 163 of 164 frames."""
    frame = only(parse(ASC + "  348.161550 1 123  Rx d 1 12\n"))
    assert frame["timestamp"] == 1581670628.661550
    assert (frame["id"], frame["data"], frame["channel"]) == (0x123, b"\x12", "1")


@pytest.mark.parametrize(
    ("length", "count", "fd"),
    [
        ("8", 8, 0),
        ("10", 16, 8),
        ("40", 64, 8),
        ("64", 64, 8),
        ("9", 12, 8),
        ("D", 8, 0),
        ("F", 64, 8),
        ("15", 64, 8),
    ],
)
def test_an_asc_length_may_be_bytes_or_a_code_decimal_or_hexadecimal(
    length: str, count: int, fd: int
) -> None:
    frame = only(parse(ASC + f" 1.0 1 123x Rx d {length} {'AB ' * count} Length = 5 BitCount = 2\n"))
    assert (frame["dlc"], frame["flags"]) == (count, fr.EXTENDED | fd)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("2.5 2 100 Tx r", (0x100, "", 0, fr.REMOTE)),
        ("2.5 3 200 Tx r Length = 1704000 BitCount = 145 ID = 88888888x", (0x200, "", 0, fr.REMOTE)),
        ("2.5 4 300 Tx r 8 Length = 1704000", (0x300, "", 8, fr.REMOTE)),
        ("2.5 1 ErrorFrame ECC: 10100010", (0, "", 0, fr.ERROR)),
        ("2.5 CANFD 5 Tx ErrorFrame Not Acknowledge error", (0, "", 0, fr.ERROR | fr.FD)),
        (
            "2.5 CANFD 2 Rx 300 Generic_Name 1 0 8 8 01 02 03 04 05 06 07 08 102203",
            (0x300, "0102030405060708", 8, 24),
        ),
        ("2.5 CANFD 2 Rx 1FFx 0 1 2 2 01 02 303000", (0x1FF, "0102", 2, fr.EXTENDED | fr.FD | fr.ESI)),
        (
            "2.5 CANFD 3 Tx 50005x 0 1 5 0 140000 73",
            (0x50005, "", 5, fr.EXTENDED | fr.FD | fr.ESI | fr.REMOTE),
        ),
    ],
)
def test_asc_lines_mean(line: str, expected: tuple[int, str, int, int]) -> None:
    frame = only(parse(ASC + line + "\n"))
    data = frame["data"]
    assert isinstance(data, bytes)
    assert (frame["id"], data.hex(), frame["dlc"], frame["flags"]) == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2.5 1 Statistic: D 0 R 0 XD 0 XR 0 E 0 O 0 B 0.00%", "not_a_frame"),
        ("0.0 Start of measurement", "not_a_frame"),
        ("3.2 1 J1939TP FEE3p 6 0 0 - Rx d 23 A0 0F", "not_a_frame"),
        ("2.5 1 123 Rx d 3 12", "malformed"),
        ("2.5 CANFD 2 Rx zzz", "malformed"),
        ("nonsense", "malformed"),
    ],
)
def test_asc_records_that_are_no_frames_are_told_from_damage(line: str, reason: str) -> None:
    parsed = parse(ASC + f"1.0 1 123 Rx d 0\n{line}\n")
    assert parsed.quarantined.rows() == [(4, reason, line)]


def test_relative_asc_times_add_up_and_decimal_bases_are_decimal() -> None:
    text = "date Fri Mai 14 20:51:20 2020\nbase dec timestamps relative\n1.0 1 291 Rx d 2 255 16\n0.5 Start\n0.5 1 1 Rx d 0\n"
    frames = parse(text).frames
    assert (frames["timestamp"] - 1589489480).to_list() == [1.0, 2.0]
    assert frames["id"].to_list() == [291, 1]
    assert frames["data"][0] == b"\xff\x10"


TRC = ";$FILEVERSION={}\n;$STARTTIME=43874.25\n"
DAY_2020_02_13 = 1581552000


@pytest.mark.parametrize(
    ("version", "line", "expected"),
    [
        ("1.0", "1) 17535 00000100 2 00 01", (0x100, "0001", 2, fr.EXTENDED)),
        ("1.0", "12) 48937 0704 1 RTR", (0x704, "", 1, fr.REMOTE)),
        ("1.1", "1) 17535.4 Tx 0704 0", (0x704, "", 0, 0)),
        ("1.3", "1) 17535.400 1 Rx 0704 - 2 00 01", (0x704, "0001", 2, 0)),
        ("2.0", "1 17535.400 DT 0704 Rx 2 00 01", (0x704, "0001", 2, 0)),
        ("2.0", "1 17535.400 FD 0704 Rx 12 " + "00 " * 12, (0x704, "00" * 12, 12, fr.FD)),
        ("2.1", "1 17535.400 BI 1 00000704 Rx - 9 " + "00 " * 12, (0x704, "00" * 12, 12, 1 | 8 | 16 | 32)),
        ("2.1", "1 17535.400 DT 1 0704 Rx - 9 " + "00 " * 8, (0x704, "00" * 8, 8, 0)),
        ("2.1", "1 17535.400 RR 1 0704 Rx - 1", (0x704, "", 1, fr.REMOTE)),
        ("2.1", "1 17535.400 ER 1 - Rx - 5 04 00 02 00 00", (0, "0400020000", 5, fr.ERROR)),
    ],
)
def test_trc_lines_mean(version: str, line: str, expected: tuple[int, str, int, int]) -> None:
    frame = only(parse(TRC.format(version) + line + "\n"))
    data, time = frame["data"], frame["timestamp"]
    assert isinstance(data, bytes)
    assert isinstance(time, float)
    assert (frame["id"], data.hex(), frame["dlc"], frame["flags"]) == expected
    assert time - DAY_2020_02_13 - 6 * 3600 == pytest.approx(
        17.535 if version == "1.0" else 17.5354, abs=1e-3
    ) or (line.startswith("12)"))


def test_a_trc_status_is_set_aside_and_a_wrong_length_is_malformed() -> None:
    text = (
        TRC.format("2.1")
        + "1 1.0 DT 1 0704 Rx - 1 00\n2 2.0 ST 1 - Rx - 4 00 00 00 08\n3 3.0 DT 1 0704 Rx - 3 00\n"
    )
    assert parse(text).quarantined["reason"].to_list() == ["not_a_frame", "dlc_mismatch"]


def test_trc_1_0_has_its_start_in_a_remark() -> None:
    text = ";" + "#" * 30 + "\n;   Start time: 18.12.2021 14:28:07.062\n     1)     17535  00000100  1  00\n"
    assert only(parse(text))["timestamp"] == 1639837704.597


def test_usbcan_goes_past_midnight() -> None:
    head = "Index\tDirection\tTimesteamp\tID\tFormat\tType\tLength\tData\t\n"
    line = "{}\tReceive\t {}\t0x1dff1a03\tData\tExtend\t1\tC2\n"
    frames = parse(head + line.format(0, "23:59:59.900.0") + line.format(1, "00:00:00.100.5")).frames
    assert frames["timestamp"].to_list() == [86399.9, 86400.1005]
    assert frames["flags"].to_list() == [fr.EXTENDED] * 2


def test_gvret_times_are_microseconds_and_short_rows_may_be_padded() -> None:
    head = "Time Stamp,ID,Extended,Dir,Bus,LEN,D1,D2,D3,D4,D5,D6,D7,D8\n"
    frames = parse(
        head + "5300,00000410,false,Rx,0,2,11,00,\n5400,00000410,true,Rx,1,2,11,00,,,,,,,\n"
    ).frames
    assert frames["timestamp"].to_list() == [0.0053, 0.0054]
    assert frames["dlc"].to_list() == [2, 2]
    assert frames["flags"].to_list() == [0, fr.EXTENDED]


def test_labels_of_a_labelled_candump_are_either_token() -> None:
    tokens = ["False\tFalse", "1\tFalse", "0\tTrue", "True"]
    text = "".join(f"({k}.0) can0 410#00 {token}\n" for k, token in enumerate(tokens))
    assert parse(text).frames["label"].to_list() == [0, 1, 1, 1]


def test_a_labelled_candump_line_without_its_tokens_has_no_known_label() -> None:
    text = "(1.0) can0 410#00 False\tFalse\n(1.1) can0 410#00 True\tFalse\n(1.2) can0 410#00\n"
    assert parse(text).quarantined["reason"].to_list() == ["label_unknown"]


DATES = ["2023-11-14 22:13:20.000000", "2023-11-14 22:13:20.250000", "2023-11-14 22:13:21.500000"]
BODIES = {"candump": "can0 123#0011", "candump_screen": " can0  123   [2]  00 11"}


@pytest.mark.parametrize("name", BODIES)
def test_candump_dates_are_taken_for_utc(name: str) -> None:
    parsed = parse("".join(f"({t}) {BODIES[name]}\n" for t in DATES), name)
    assert parsed.frames["timestamp"].to_list() == [1.7e9, 1.7e9 + 0.25, 1.7e9 + 1.5]
    assert parsed.frames["data"].to_list() == [b"\x00\x11"] * 3
    odd = parse(f"({DATES[0]}) {BODIES[name]}\n(2023-13-41 22:13:20.0) {BODIES[name]}\n", name)
    assert odd.quarantined["reason"].to_list() == ["time_not_a_number"]


@pytest.mark.parametrize("name", BODIES)
def test_candump_times_since_the_line_before_are_added_up(name: str) -> None:
    steps = [0.0, *(0.01 * (1 + k % 7) for k in range(60))]
    parsed = parse("".join(f"({t:010.6f}) {BODIES[name]}\n" for t in steps), name)
    assert parsed.frames["timestamp"].to_list() == pytest.approx(list(itertools.accumulate(steps)))
    assert parsed.quarantined.is_empty()


@pytest.mark.parametrize("name", BODIES)
def test_candump_times_from_zero_are_left_as_they_are(name: str) -> None:
    times = [k / 100 for k in range(60)]
    parsed = parse("".join(f"({t:010.6f}) {BODIES[name]}\n" for t in times), name)
    assert parsed.frames["timestamp"].to_list() == times


def test_an_epoch_log_of_several_buffers_is_no_list_of_differences() -> None:
    times = [1.6e9 + k / 100 - (0.5 if k % 4 == 3 else 0) for k in range(60)]
    parsed = parse("".join(f"({t:.6f}) can0 123#00\n" for t in times), "candump")
    assert parsed.frames["timestamp"].to_list() == times


def test_candump_lines_are_recognised_whatever_their_times() -> None:
    for name, body in BODIES.items():
        assert formats.recognise("".join(f"({t}) {body}\n" for t in DATES).encode(), "x").name == name


def test_screen_times_that_go_back_all_the_time_are_differences() -> None:
    text = "".join(f" (000.0{k % 7}0000)  can0  123   [1]  {k:02X}\n" for k in range(1, 40))
    frames = parse(text).frames
    assert frames.height == 39
    assert frames["timestamp"].is_sorted()
    assert frames["timestamp"][-1] == pytest.approx(sum(k % 7 for k in range(1, 40)) / 100)


@pytest.mark.parametrize(
    ("line", "flags", "dlc"),
    [
        (" (1.0)  can0  123   [4]  remote request", fr.REMOTE, 4),
        (" (1.0)  can0  123  [02]  11 22", fr.FD, 2),
        (" (1.0)  can0  20000088   [8]  00 00 00 00 00 00 00 00   ERRORFRAME", fr.ERROR, 8),
        (" (1.0)  can0  18FEF200   [1]  41                         'A'", fr.EXTENDED, 1),
        (" (1.0)  can0  RX - -  123   [1]  41", 0, 1),
    ],
)
def test_screen_lines_mean(line: str, flags: int, dlc: int) -> None:
    frame = only(parse(line + "\n"))
    assert (frame["flags"], frame["dlc"]) == (flags, dlc)


def test_formats_without_timestamps_get_evenly_spaced_row_numbers() -> None:
    road = parse("852,1,2,3,4,5,6,7,8,0.0\n1505,0,0,0,0,0,0,0,255,1.0\n256,256,0,0,0,0,0,0,0,0\n")
    assert road.frames["timestamp"].to_list() == [UNTIMED_STEP_S, 2 * UNTIMED_STEP_S]
    assert road.frames["label"].to_list() == [0, 1]
    assert road.frames["data"][1] == b"\0" * 7 + b"\xff"
    assert road.quarantined["reason"].to_list() == ["payload_not_hex"]
    assert [name for name, kind in formats.FORMATS.items() if not kind.timed] == ["road", "ciciov2024"]


def test_ciciov_keeps_the_family_of_an_attack() -> None:
    head = "ID," + ",".join(f"DATA_{k}" for k in range(8)) + ",label,category,specific_class\n"
    text = head + "513,0,0,0,0,0,0,0,125,ATTACK,SPOOFING,GAS\n65,0,0,0,0,0,0,0,1,BENIGN,BENIGN,BENIGN\n"
    assert parse(text).frames["attack"].to_list() == ["gas", ""]


def test_j1939_labels_name_their_attack() -> None:
    text = "timestamp,iface,can_id,dlc,data,pgn,label\n0.5,can0,217058307,2,00ff,1,normal\n0.6,can0,3,0,,1,flood\n"
    frames = parse(text).frames
    assert frames["attack"].to_list() == ["", "flood"]
    assert frames["flags"].to_list() == [fr.EXTENDED] * 2


def test_a_pcap_packet_that_is_no_can_frame_is_set_aside() -> None:
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    content = head + struct.pack("<4I", 5, 0, 4, 4) + b"\1\2\3\4"
    assert parse(content).quarantined.rows() == [(1, "not_a_frame", "01020304")]


def test_a_cut_pcap_is_refused() -> None:
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 227)
    with pytest.raises(CaptureUnreadable, match="3 bytes are missing"):
        parse(head + struct.pack("<4I", 5, 0, 4, 4) + b"\1")


@pytest.mark.timeout(300)
def test_a_blf_object_of_no_length_is_refused_and_not_followed_for_ever() -> None:
    """python-can steps over an object of unknown version by its length: of 0, to itself."""
    head = struct.pack("<4sL", b"LOGG", 144) + bytes(136)
    endless = struct.pack("<4sHHLL", b"LOBJ", 16, 1537, 0, 86) + bytes(32)
    packed = struct.pack("<H6xL4x", 0, len(endless)) + endless
    container = struct.pack("<4sHHLL", b"LOBJ", 16, 1, 16 + len(packed), 10) + packed
    with pytest.raises(CaptureUnreadable, match="shorter than its own header"):
        parse(head + container, "blf")


@pytest.mark.parametrize("content", [b"LOGG", b"MDF     4.11    ", b"UnFinMF 4.11" + b"\1" * 500])
def test_damaged_binaries_are_refused(content: bytes) -> None:
    with pytest.raises(CaptureUnreadable):
        parse(content)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('VERSION ""\n\nNS_ :\n\nBO_ 100 MSG: 8 XXX\n', "DBC"),
        ("srcip,sport,dstip,dsport,proto\n1.2.3.4,1,1.2.3.4,2,tcp\n", "network flows"),
        (" Flow Duration, Total Fwd Packets,Label\n1,2,BENIGN\n", "network flows"),
        (",".join(["59.166.0.0", "1390", "149.171.126.6", *["0"] * 46]) + "\n", "network flows"),
    ],
)
def test_what_is_no_capture_is_refused_by_name(content: str, says: str) -> None:
    with pytest.raises(SchemaMismatch, match=says):
        formats.recognise(content.encode(), "x")


def test_a_flow_parquet_is_refused_by_name() -> None:
    import io

    buffer = io.BytesIO()
    pl.DataFrame({"srcip": ["1"], "sport": [1]}).write_parquet(buffer)
    with pytest.raises(SchemaMismatch, match="network flows"):
        formats.recognise(buffer.getvalue(), "x")
