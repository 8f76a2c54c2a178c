"""Whoever waits hears how far the files are, whichever process reads them."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from candor.errors import CaptureRejected
from candor.ids.captures import importing, progress, sources, stream
from candor.ids.captures.importing import ImportOptions
from candor.ids.captures.progress import Note, Reading
from candor.ids.captures.sources import RawFile

LOG = b"".join(b"(%d.0) can0 123#00\n" % k for k in range(200))


class Clock:
    """Seconds pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_reader_is_seen_while_it_reads_and_not_afterwards(tmp_path: Path) -> None:
    with progress.noting(tmp_path, "a-0123", "drive") as note:
        assert progress.readings(tmp_path) == []
        note._next = 0.0
        note(30, 120)
        assert progress.readings(tmp_path) == [Reading("drive", 30, 120)]
        assert progress.readings(tmp_path)[0].share == 0.25
    assert list(tmp_path.iterdir()) == []


def test_a_reader_writes_once_a_second_at_most(tmp_path: Path) -> None:
    clock = Clock()
    note = Note(tmp_path / ".a.reading", "a", clock)
    for done, now in ((1, 0.5), (2, 1.5), (3, 1.6), (4, 2.4)):
        clock.now = now
        note(done, 10)
    assert progress.readings(tmp_path) == [Reading("a", 2, 10)]


def test_a_note_that_cannot_be_written_stops_no_import(tmp_path: Path) -> None:
    clock = Clock()
    note = Note(tmp_path / "gone" / ".a.reading", "a", clock)
    clock.now = 5.0
    note(1, 2)


def test_a_watcher_hears_of_every_reader_until_it_leaves(tmp_path: Path) -> None:
    (tmp_path / ".a-1.reading").write_text('["a", 1, 4]')
    (tmp_path / ".b-1.reading").write_text('["b", 4, 4]')
    (tmp_path / ".c-1.reading").write_text("[half")
    heard: list[list[Reading]] = []
    with progress.watching(tmp_path, heard.append, every_s=0.01):
        while not heard:
            pass
    assert heard[0] == [Reading("a", 1, 4), Reading("b", 4, 4)]


def packed(kind: str) -> bytes:
    if kind == "gz":
        return gzip.compress(LOG)
    if kind == "zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.log", LOG)
        return buffer.getvalue()
    return LOG


@pytest.mark.parametrize("kind", ["log", "gz", "zip"])
@pytest.mark.parametrize("seekable", [False, True])
def test_the_bytes_read_end_at_the_bytes_in_all(tmp_path: Path, kind: str, seekable: bool) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(packed(kind))
    [raw] = sources.find([path])
    with raw.reading(seekable=seekable) as (content, position):
        assert content.read() == LOG
        assert position() == raw.size_bytes


@pytest.mark.parametrize("kind", ["log", "gz", "zip"])
def test_a_library_that_closes_the_file_has_read_all_of_it(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(packed(kind))
    [raw] = sources.find([path])
    with raw.reading(seekable=True) as (content, position):
        content.close()
        assert position() == raw.size_bytes


def test_an_import_tells_of_its_bytes_batch_by_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(LOG)
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(Note, "__call__", lambda self, done, total: told.append((done, total)))
    monkeypatch.setattr(stream, "_HEAD_BYTES", 64)
    monkeypatch.setattr(stream.batches, "__kwdefaults__", {"block_bytes": 400})
    importing.import_file(RawFile(path), tmp_path / "in", ImportOptions())
    assert len(told) > 5
    assert told == sorted(told)
    assert told[-1] == (len(LOG), len(LOG))


def test_a_refused_file_leaves_no_note(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"(1.0) can0 123#XX\n" * 50)
    with pytest.raises(CaptureRejected):
        importing.import_file(RawFile(path), tmp_path / "in", ImportOptions())
    assert list((tmp_path / "in").iterdir()) == []
