"""The raw formats Candor reads and writes, and how an unnamed one is recognised by its content."""

from __future__ import annotations

import io
from typing import BinaryIO, Final

from candor.errors import CaptureRejected, CaptureUnreadable, SchemaMismatch
from candor.ids.captures import (
    asc,
    blf,
    can_train_and_test,
    candump,
    candump_labelled,
    candump_screen,
    canedge_csv,
    ciciov2024,
    crysys,
    files,
    foreign,
    gvret,
    hcrl_csv,
    hcrl_txt,
    j1939,
    mf4,
    parquet,
    pcap,
    peak_csv,
    python_can_csv,
    road,
    trc,
    usbcan,
)
from candor.ids.captures.format import Format

_CTT = can_train_and_test

FORMATS: Final = {
    f.name: f
    for f in (
        Format(
            _CTT.NAME,
            "can-train-and-test CSV and Parquet",
            ".csv",
            labelled=True,
            sniff=_CTT.sniff,
            open=_CTT.open_,
            blocks=_CTT.blocks,
            is_binary=parquet.is_parquet,
            write=_CTT.write,
        ),
        Format(
            hcrl_csv.NAME,
            "HCRL CSV (Car-Hacking, Survival Analysis)",
            ".csv",
            labelled=True,
            sniff=hcrl_csv.sniff,
            open=hcrl_csv.open_,
            write=hcrl_csv.write,
        ),
        Format(
            hcrl_txt.NAME,
            "HCRL text (Car-Hacking benign, OTIDS)",
            ".txt",
            sniff=hcrl_txt.sniff,
            open=hcrl_txt.open_,
            write=hcrl_txt.write,
        ),
        Format(
            candump.NAME,
            "candump -L",
            ".log",
            sniff=candump.sniff,
            open=candump.open_,
            write=candump.write,
        ),
        candump_labelled.FORMAT,
        candump_screen.FORMAT,
        asc.FORMAT,
        blf.FORMAT,
        trc.FORMAT,
        peak_csv.FORMAT,
        mf4.FORMAT,
        gvret.FORMAT,
        usbcan.FORMAT,
        crysys.FORMAT,
        canedge_csv.FORMAT,
        python_can_csv.FORMAT,
        pcap.FORMAT,
        road.FORMAT,
        ciciov2024.FORMAT,
        j1939.FORMAT,
    )
}

#: Columns that tell whose Parquet it is; can-train-and-test's says what is missing from the others.
_PARQUET: Final = {
    road.NAME: frozenset(road.COLUMNS),
    ciciov2024.NAME: frozenset(ciciov2024.COLUMNS),
    j1939.NAME: frozenset(j1939.COLUMNS),
}


def recognise(content: bytes, place: str) -> Format:
    """The format most of the first lines look like.

    ``content`` may be the beginning of a file only, but for Parquet, whose columns are named at its end.
    Raises CaptureRejected for an empty file, SchemaMismatch for a header no format has, CaptureUnreadable otherwise.
    """
    if parquet.is_parquet(content):
        return _recognise_parquet(io.BytesIO(content), place)
    for kind in FORMATS.values():
        if kind.is_binary(content):
            return kind
    head = files.head(content)
    if not head:
        raise CaptureRejected("the file is empty", place=place, hint="Fetch the file again.")
    foreign.refuse(head, place)
    score, best = max(((f.sniff(head), f) for f in FORMATS.values()), key=lambda pair: pair[0])
    if score > 0:
        return best
    known = f"Known formats: {', '.join(FORMATS)}."
    if "," in head[0] and not any(c.isdigit() for c in head[0]):
        raise SchemaMismatch(f"columns {head[0][:120]} belong to no known format", place=place, hint=known)
    raise CaptureUnreadable(f"format not recognised; it starts '{head[0][:80]}'", place=place, hint=known)


def recognise_file(stream: BinaryIO, place: str) -> Format:
    """As recognise, from a file at its start; leaves it anywhere."""
    content = stream.read(1 << 16)
    if parquet.is_parquet(content):
        stream.seek(0)
        return _recognise_parquet(stream, place)
    return recognise(content, place)


def likely(content: bytes) -> str:
    """Name of the format a file looks like, "" if like none."""
    head = files.head(content)
    score, name = max((f.sniff(head), f.name) for f in FORMATS.values())
    return name if score > 0 else ""


def _recognise_parquet(stream: BinaryIO, place: str) -> Format:
    try:
        found = set(parquet.names(stream, place))
    except CaptureUnreadable:
        return FORMATS[_CTT.NAME]  # Reading it says what is wrong.
    if foreign.is_flow_table(found):
        raise SchemaMismatch(
            "network flows, not CAN frames", place=place, hint="Add it as a flow dataset: `candor data add`."
        )
    return next((FORMATS[name] for name, columns in _PARQUET.items() if columns <= found), FORMATS[_CTT.NAME])
