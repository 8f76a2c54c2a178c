"""Files, folders and archives become imports that are whole or absent, once by content."""

from __future__ import annotations

import gzip
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from candor.errors import CandorError, CaptureRejected, CaptureUnreadable, SourceMissing
from candor.ids.captures import frames as fr
from candor.ids.captures import importing, sources, stream
from candor.ids.captures.importing import ImportOptions
from candor.ids.captures.sources import RawFile

LOG = "".join(f"({k / 10:.1f}) can0 1{k % 10:02X}#00\n" for k in range(50)).encode()


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def put(name: str, content: bytes) -> Path:
        path = tmp_path / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return put


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_an_import_holds_frames_quarantine_and_record(put, tmp_path: Path) -> None:
    path = put("drive one.log", LOG + b"garbage\n")
    done = importing.import_file(RawFile(path), tmp_path / "in", ImportOptions(vehicle="kona"))
    assert done.folder.name == f"drive_one-{done.record.sha256[:12]}"
    table = fr.read(done.folder / "frames.parquet")
    assert (table.height, done.record.frames, done.record.rows) == (50, 50, 51)
    assert done.record.frames_sha256 == fr.content_hash(table)
    assert pl.read_parquet(done.folder / "quarantine.parquet").rows() == [(51, "malformed", "garbage")]
    assert json.loads((done.folder / "record.json").read_text())["options"]["vehicle"] == "kona"
    assert (done.record.duration_s, done.record.ids, done.record.timed) == (4.9, 10, True)


def test_the_same_content_is_imported_once_whatever_its_name_or_packing(put, tmp_path: Path) -> None:
    first = importing.import_file(RawFile(put("a.log", LOG)), tmp_path / "in", ImportOptions())
    again = importing.import_file(
        RawFile(put("b.log.gz", gzip.compress(LOG))), tmp_path / "in", ImportOptions()
    )
    assert (first.present, again.present) == (False, True)
    assert again.folder == first.folder


def test_other_options_import_again_in_place(put, tmp_path: Path) -> None:
    raw = RawFile(put("a.log", LOG))
    importing.import_file(raw, tmp_path / "in", ImportOptions())
    benign = importing.import_file(raw, tmp_path / "in", ImportOptions(label="benign"))
    assert not benign.present
    assert fr.read(benign.folder / "frames.parquet")["label"].to_list() == [0] * 50
    assert len(importing.records(tmp_path / "in")) == 1


def test_what_older_importers_read_is_read_again(
    put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = RawFile(put("a.log", LOG))
    first = importing.import_file(raw, tmp_path / "in", ImportOptions())
    assert importing.import_file(raw, tmp_path / "in", ImportOptions()).present
    monkeypatch.setattr(importing, "READERS", importing.READERS + 1)
    again = importing.import_file(raw, tmp_path / "in", ImportOptions())
    assert (again.present, again.folder) == (False, first.folder)
    assert importing.import_file(raw, tmp_path / "in", ImportOptions()).present


def test_a_family_names_labelled_attacks(put, tmp_path: Path) -> None:
    raw = RawFile(put("a.csv", b"1.0,0316,1,00,R\n1.1,0316,1,00,T\n"))
    done = importing.import_file(raw, tmp_path / "in", ImportOptions(label="dos"))
    assert fr.read(done.folder / "frames.parquet")["attack"].to_list() == ["", "dos"]
    assert done.record.attack_frames == 1


def test_an_interrupted_import_leaves_nothing_that_counts_and_is_done_again(
    put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, folder = RawFile(put("a.log", LOG)), tmp_path / "in"

    def stop(*args: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fr, "content_hash_of_file", stop)
        with pytest.raises(KeyboardInterrupt):
            importing.import_file(raw, folder, ImportOptions())
    (folder / f".a-0123.{importing._host()}.999999999").mkdir()
    (folder / ".a-0123-999999999.reading").touch()
    importing.clean(folder)
    assert list(folder.iterdir()) == []
    assert not importing.import_file(raw, folder, ImportOptions()).present


def test_an_import_is_on_the_disk_before_it_has_its_name(
    put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename
    monkeypatch.setattr(
        os,
        "fsync",
        lambda fd: (steps.append(os.readlink(f"/proc/self/fd/{fd}").rsplit("/", 1)[1]), fsync(fd))[1],
    )
    monkeypatch.setattr(
        Path, "rename", lambda self, to: (steps.append(f"publish {to.name}"), rename(self, to))[1]
    )
    import_all(put("drive.log", LOG), tmp_path / "imports")
    published = next(i for i, step in enumerate(steps) if step.startswith("publish drive-"))
    assert {"frames.parquet", "record.json"} <= set(steps[:published])
    assert "imports" in steps[published:]  # The folder that the rename changed.


def test_what_another_machine_still_writes_is_left_alone(tmp_path: Path) -> None:
    written, abandoned = (tmp_path / f".a-0123.{host}.999999999" for host in ("other", "gone"))
    written.mkdir()
    abandoned.mkdir()
    os.utime(abandoned, (1.0, 1.0))
    mine = tmp_path / f".a-0123.{importing._host()}.{os.getpid()}"
    mine.mkdir()
    importing.clean(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([written, mine])


def test_a_record_without_its_end_is_no_import(put, tmp_path: Path) -> None:
    raw = RawFile(put("a.log", LOG))
    done = importing.import_file(raw, tmp_path / "in", ImportOptions())
    record = done.folder / "record.json"
    record.write_text(record.read_text()[:50])
    assert not importing.import_file(raw, tmp_path / "in", ImportOptions()).present


def test_a_mostly_malformed_file_is_refused_with_three_reasons_and_its_likely_format(
    put, tmp_path: Path
) -> None:
    raw = RawFile(put("a.log", LOG))
    with pytest.raises(CaptureRejected, match=r"50 of 50 rows.*line 1: malformed.*line 2.*line 3") as refused:
        importing.import_file(raw, tmp_path / "in", ImportOptions(format="hcrl_txt"))
    assert "It looks like 'candump'" in str(refused.value)
    assert list((tmp_path / "in").iterdir()) == []


def test_a_file_without_frames_is_refused(put, tmp_path: Path) -> None:
    raw = RawFile(put("a.csv", b"timestamp,arbitration_id,data_field,attack\n"))
    with pytest.raises(CaptureRejected, match="no frame"):
        importing.import_file(raw, tmp_path / "in", ImportOptions())


def test_many_batches_make_one_table(put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = RawFile(put("a.log", b"".join(b"(%d.0) can0 123#00\n" % k for k in range(200))))
    monkeypatch.setattr(stream, "_HEAD_BYTES", 64)
    monkeypatch.setattr(stream.batches, "__kwdefaults__", {"block_bytes": 200})
    done = importing.import_file(raw, tmp_path / "in", ImportOptions())
    table = fr.read(done.folder / "frames.parquet")
    assert done.record.rows == 200
    assert done.record.frames == table.height
    assert done.record.frames_sha256 == fr.content_hash(table)


def test_folders_and_zips_are_walked_and_hidden_files_left_out(put, tmp_path: Path) -> None:
    put("deep/a.log", LOG)
    put("deep/.b.log", LOG)
    put("deep/c.zip", zipped(**{"x/d.log": LOG, "__MACOSX/d.log": LOG, "e.log.gz": gzip.compress(LOG)}))
    found = sources.find([tmp_path / "raw", tmp_path / "raw" / "deep" / "a.log"])
    assert [(raw.stem, raw.member) for raw in found] == [("a", ""), ("e", "e.log.gz"), ("d", "x/d.log")]
    assert len({raw.digest() for raw in found}) == 1


def test_zstd_is_read(put) -> None:
    zstandard = pytest.importorskip("zstandard")
    packed = RawFile(put("a.log.zst", zstandard.compress(LOG)))
    assert packed.digest() == RawFile(put("a.log", LOG)).digest()
    cut = RawFile(put("b.log.zst", b"\x28\xb5\x2f\xfd" + b"\xff" * 40))
    with pytest.raises(CaptureUnreadable):
        cut.digest()


@pytest.mark.parametrize(
    "packed", [gzip.compress(LOG)[:-9], gzip.compress(LOG)[:11] + b"\xff" * 30], ids=["cut", "overwritten"]
)
def test_a_damaged_archive_is_said_so_and_leaves_nothing(put, tmp_path: Path, packed: bytes) -> None:
    raw = RawFile(put("a.log.gz", packed))
    with pytest.raises(CaptureUnreadable, match="archive"):
        importing.import_file(raw, tmp_path / "in", ImportOptions())
    with pytest.raises(CaptureUnreadable, match="archive"):
        importing.import_file(raw, tmp_path / "in", ImportOptions(), sha256="0" * 64)
    assert not any((tmp_path / "in").glob("*"))


def test_binary_formats_are_read_out_of_archives(put, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pl.DataFrame({"timestamp": [1.0], "id": [1], "data_field": ["00"], "label": [0]}).write_parquet(buffer)
    put("a.zip", zipped(**{"a.parquet": buffer.getvalue()}))
    [raw] = sources.find([tmp_path / "raw"])
    assert importing.import_file(raw, tmp_path / "in", ImportOptions()).record.format == "can_train_and_test"


def test_what_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match="no file or folder 'x'"):
        sources.find([tmp_path / "x"])
    (tmp_path / "a.zip").write_bytes(zipped(**{"a.log": LOG})[:-30] + b"\0" * 30)
    with pytest.raises(CandorError):
        import_all(tmp_path / "a.zip", tmp_path / "in")


def import_all(path: Path, folder: Path) -> None:
    for raw in sources.find([path]):
        importing.import_file(raw, folder, ImportOptions())
