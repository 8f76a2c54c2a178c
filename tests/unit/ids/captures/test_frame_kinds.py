"""Remote, error and FD frames keep their flags and their length in every format that has them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from capture_samples import samples

from candor.ids.captures import formats, stream
from candor.ids.captures import frames as fr
from candor.ids.captures.formats import FORMATS

Frame = tuple[int, str, int, int]
FD_BRS, FD_ESI = fr.FD | fr.BRS, fr.FD | fr.ESI
TWELVE = "00 " * 11 + "00"

#: What each kind of frame looks like in text, below a file's other lines: (line, id, payload, dlc, flags).
LINES: dict[str, list[tuple[str, int, str, int, int]]] = {
    "candump": [
        ("(9.0) can0 18FEDF00#R4", 0x18FEDF00, "", 4, fr.EXTENDED | fr.REMOTE),
        ("(9.0) can0 20000080#0102030405060708", 0x80, "0102030405060708", 8, fr.ERROR),
        ("(9.0) can0 123##3" + "00" * 12, 0x123, "00" * 12, 12, FD_BRS | fr.ESI),
    ],
    "candump_labelled": [
        ("(9.0) can0 123#R4 False\tFalse", 0x123, "", 4, fr.REMOTE),
        ("(9.0) can0 20000080#0102030405060708 False\tFalse", 0x80, "0102030405060708", 8, fr.ERROR),
        ("(9.0) can0 123##1AABB True\tFalse", 0x123, "aabb", 2, FD_BRS),
    ],
    "candump_screen": [
        (" (9.0)  can0  123   [4]  remote request", 0x123, "", 4, fr.REMOTE),
        (
            " (9.0)  can0  20000080   [8]  01 02 03 04 05 06 07 08   ERRORFRAME",
            0x80,
            "0102030405060708",
            8,
            4,
        ),
        (" (9.0)  can0  123  [02]  AA BB", 0x123, "aabb", 2, fr.FD),
        (" (9.0)  can0  RX B -  123  [02]  AA BB", 0x123, "aabb", 2, FD_BRS),
        (" (9.0)  can0  TX B E  18FEDF00  [12]  " + TWELVE, 0x18FEDF00, "00" * 12, 12, 1 | FD_BRS | fr.ESI),
    ],
    "asc": [
        (" 9.0 1 300x Tx r 8", 0x300, "", 8, fr.EXTENDED | fr.REMOTE),
        (" 9.0 1 ErrorFrame ECC: 10100010", 0, "", 0, fr.ERROR),
        (" 9.0 CANFD 5 Tx ErrorFrame", 0, "", 0, fr.ERROR | fr.FD),
        (f" 9.0 CANFD 2 Rx 1FF 1 1 9 12 {TWELVE} 303000", 0x1FF, "00" * 12, 12, FD_BRS | fr.ESI),
    ],
    "trc": [
        ("9 2000.0 RR 1 18FEDF00 Rx - 1", 0x18FEDF00, "", 1, fr.EXTENDED | fr.REMOTE),
        ("9 2000.0 ER 1 - Rx - 5 04 00 02 00 00", 0, "0400020000", 5, fr.ERROR),
        (f"9 2000.0 FD 1 0123 Rx - 9 {TWELVE}", 0x123, "00" * 12, 12, fr.FD),
        (f"9 2000.0 FB 1 0123 Rx - 9 {TWELVE}", 0x123, "00" * 12, 12, FD_BRS),
        (f"9 2000.0 FE 1 0123 Rx - 9 {TWELVE}", 0x123, "00" * 12, 12, FD_ESI),
        (f"9 2000.0 BI 1 0123 Rx - 9 {TWELVE}", 0x123, "00" * 12, 12, FD_BRS | fr.ESI),
    ],
    "peak_csv": [
        ("9 2000.0 1 Rx RR 18FEDF00 - 4", 0x18FEDF00, "", 4, fr.EXTENDED | fr.REMOTE),
        ("9 2000.0 1 Rx ER - - 5 04 00 02 00 00", 0, "0400020000", 5, fr.ERROR),
        (f"9 2000.0 1 Rx FD 0123 - 12 {TWELVE}", 0x123, "00" * 12, 12, fr.FD),
        (f"9 2000.0 1 Rx BI 0123 - 12 {TWELVE}", 0x123, "00" * 12, 12, FD_BRS | fr.ESI),
    ],
    "usbcan": [
        ("9\tReceive\t 16:23:08.231.0\t0x00000123\tRemote\tStandard\t4\t", 0x123, "", 4, fr.REMOTE),
        ("9\tReceive\t 16:23:08.231.0\t0x1dff1a03\tRemote\tExtend\t0\t", 0x1DFF1A03, "", 0, 1 | fr.REMOTE),
    ],
    "hcrl_txt": [("Timestamp: 9.0        ID: 02a0    100    DLC: 4", 0x2A0, "", 4, fr.REMOTE)],
    "crysys": [("9.0        02a0    100    4", 0x2A0, "", 4, fr.REMOTE)],
    "python_can_csv": [
        ("9.0,0x18fedf00,1,1,0,4,", 0x18FEDF00, "", 4, fr.EXTENDED | fr.REMOTE),
        ("9.0,0x4,0,0,1,2,AAE=", 0x4, "0001", 2, fr.ERROR),
        ("9.0,0x123,0,0,0,12,AAAAAAAAAAAAAAAA", 0x123, "00" * 12, 12, fr.FD),
    ],
}
#: Formats whose files say nothing of such frames; an ID over 11 bits is extended, a payload over 8 bytes FD.
WITHOUT = ("can_train_and_test", "hcrl_csv", "gvret", "road", "ciciov2024", "j1939")
TESTED_BELOW = ("canedge_csv", "pcap", "blf", "mf4")


def parse(content: bytes, name: str) -> list[Frame]:
    parsed = stream.parse(content, FORMATS[name], "x", max_backstep_s=10_000.0)
    assert set(parsed.quarantined["reason"]) <= {"not_a_frame"}
    rows = parsed.frames.select("id", "data", "dlc", "flags").rows()
    return [(i, data.hex(), dlc, flags) for i, data, dlc, flags in rows]


def test_every_format_is_here() -> None:
    assert {*LINES, *WITHOUT, *TESTED_BELOW} == set(FORMATS)


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [(name, line, tuple(frame)) for name, lines in LINES.items() for line, *frame in lines],
)
def test_a_line_keeps_its_flags_and_length(name: str, line: str, expected: Frame) -> None:
    """The last sample of each format is its newest version."""
    content = samples()[name][-1]
    assert parse(content + line.encode() + b"\n", name)[-1] == expected


def test_canedge_csv_keeps_flags_and_lengths() -> None:
    """DLC is the code, DataLength the bytes; a remote frame has no bytes."""
    text = (
        "TimestampEpoch;BusChannel;ID;IDE;DLC;DataLength;Dir;EDL;BRS;ESI;RTR;DataBytes\n"
        "1.0;1;18FEDF00;1;4;0;0;0;0;0;1;\n"
        f"2.0;1;123;0;9;12;0;1;1;1;0;{'00' * 12}\n"
        "3.0;1;123;0;2;2;0;1;0;0;0;AABB\n"
    )
    assert parse(text.encode(), "canedge_csv") == [
        (0x18FEDF00, "", 4, fr.EXTENDED | fr.REMOTE),
        (0x123, "00" * 12, 12, FD_BRS | fr.ESI),
        (0x123, "aabb", 2, fr.FD),
    ]


def socketcan(ident: int, size: int, bits: int, data: bytes) -> bytes:
    frame = struct.pack(">IBBBB", ident, size, bits, 0, 0) + data
    return struct.pack("<4I", 1, 0, len(frame), len(frame)) + frame


PCAP = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 227)


def test_pcap_keeps_flags_and_lengths() -> None:
    content = (
        socketcan(0x123 | 0x40000000, 4, 0, b"")
        + socketcan(0x18FEDF00 | 0xC0000000, 0, 0, b"")
        + socketcan(0x20000004, 8, 0, bytes(8))
        + socketcan(0x123, 12, 4 | 1 | 2, bytes(12))
        + socketcan(0x98FEDF00, 2, 4, b"\xaa\xbb")
    )
    assert parse(PCAP + content, "pcap") == [
        (0x123, "", 4, fr.REMOTE),
        (0x18FEDF00, "", 0, fr.EXTENDED | fr.REMOTE),
        (0x4, "00" * 8, 8, fr.ERROR),
        (0x123, "00" * 12, 12, FD_BRS | fr.ESI),
        (0x18FEDF00, "aabb", 2, fr.EXTENDED | fr.FD),
    ]


def test_a_pcap_packet_that_was_cut_is_set_aside() -> None:
    parsed = stream.parse(PCAP + socketcan(0x123, 8, 0, b"\1\2"), FORMATS["pcap"], "x", max_backstep_s=1.0)
    assert parsed.quarantined["reason"].to_list() == ["dlc_mismatch"]


def test_a_packet_without_a_time_is_counted() -> None:
    """Simple packet blocks of pcapng (type 3) are no frames that could be placed, but they do not vanish."""
    simple = struct.pack("<III", 3, 28, 12) + socketcan(0x123, 4, 0, b"\1\2\3\4")[16:] + struct.pack("<I", 28)
    content = samples()["pcap"][1]
    before = stream.parse(content, FORMATS["pcap"], "x", max_backstep_s=1.0)
    after = stream.parse(content + simple, FORMATS["pcap"], "x", max_backstep_s=1.0)
    assert after.frames.equals(before.frames)
    assert after.quarantined["reason"].to_list() == [*before.quarantined["reason"], "not_a_frame"]


#: As python-can writes them: (id, payload, dlc, flags).
SPOKEN: list[Frame] = [
    (0x123, "0102", 2, 0),
    (0x18FEDF00, "010203", 3, fr.EXTENDED),
    (0x123, "", 4, fr.REMOTE),
    (0x18FEDF00, "", 0, fr.EXTENDED | fr.REMOTE),
    (0x123, "0102", 2, fr.FD),
    (0x123, "00" * 12, 12, FD_BRS),
    (0x18FEDF00, "00" * 64, 64, fr.EXTENDED | FD_BRS | fr.ESI),
    (0x4, "00" * 8, 8, fr.ERROR),
]


def written(path: Path) -> bytes:
    can = pytest.importorskip("can")
    with can.Logger(path) as log:
        for k, (ident, data, dlc, flags) in enumerate(SPOKEN):
            log.on_message_received(
                can.Message(
                    timestamp=1.6e9 + k / 10,
                    arbitration_id=ident,
                    data=bytes.fromhex(data),
                    dlc=dlc,
                    channel=1,
                    is_extended_id=bool(flags & fr.EXTENDED),
                    is_remote_frame=bool(flags & fr.REMOTE),
                    is_error_frame=bool(flags & fr.ERROR),
                    is_fd=bool(flags & fr.FD),
                    bitrate_switch=bool(flags & fr.BRS),
                    error_state_indicator=bool(flags & fr.ESI),
                )
            )
    return path.read_bytes()


@pytest.mark.parametrize("name", ["blf", "mf4", "asc", "candump"])
def test_what_python_can_wrote_is_read_back(name: str, tmp_path: Path) -> None:
    content = written(tmp_path / f"log{FORMATS[name].suffix}")
    assert formats.recognise(content, "x").name == name
    *read, error = parse(content, name)
    expected = [(*f[:2], 0, *f[3:]) if name == "candump" and f[3] & fr.REMOTE else f for f in SPOKEN[:-1]]
    assert read == expected  # A candump of python-can has no length behind R.
    # Of an error frame BLF and MF4 keep all, a candump of python-can its class by an ID of its own, ASC the fact.
    told = {"asc": (0, "", 0, fr.ERROR), "candump": (0x80, "00" * 8, 8, fr.ERROR)}
    assert error == told.get(name, SPOKEN[-1])
