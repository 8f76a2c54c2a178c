"""Where raw captures lie: files, folders, gzip, zstd and zip; all read as streams, so size does not matter."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO, Final, cast

from candor.errors import CaptureUnreadable, ExtraMissing, SourceMissing

_GZIP, _ZSTD, _ZIP = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"
_PACKED_SUFFIXES: Final = (".gz", ".zst", ".zip")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class RawFile:
    """One capture to read.

    Attributes:
        member: its name inside a zip, "" for a file of its own.
        named: whether the person named it, or it was found in a folder or archive.
    """

    path: Path
    member: str = ""
    named: bool = False

    @property
    def place(self) -> str:
        """What errors call it."""
        return f"{self.path}!{self.member}" if self.member else str(self.path)

    @property
    def stem(self) -> str:
        """File name without folders and without the suffixes of the format and the packing."""
        name = Path(self.member or self.path).name
        for suffix in _PACKED_SUFFIXES:
            name = name.removesuffix(suffix)
        return Path(name).stem or name

    @property
    def size_bytes(self) -> int:
        """Of the file, or of the member when unpacked."""
        if self.member:
            with _zip(self.path) as archive:
                return archive.getinfo(self.member).file_size
        return self.path.stat().st_size

    def digest(self, told: Callable[[int, int], None] = lambda done, total: None) -> str:
        """SHA-256 of the content, unpacked: a log and its gzip are the same capture. ``told``: see transcribe."""
        known = hashlib.sha256()
        total = self.size_bytes
        with self.reading() as (stream, position):
            while chunk := stream.read(_CHUNK_BYTES):
                known.update(chunk)
                told(position(), total)
        return known.hexdigest()

    @contextmanager
    def open(self, *, seekable: bool = False) -> Iterator[BinaryIO]:
        """The unpacked content; ``seekable`` copies packed content to a temporary file first.

        Raises SourceMissing or CaptureUnreadable, also while it is read.
        """
        with self.reading(seekable=seekable) as (stream, _):
            yield stream

    @contextmanager
    def reading(self, *, seekable: bool = False) -> Iterator[tuple[BinaryIO, Callable[[], int]]]:
        """As open, and how many of ``size_bytes`` have been read so far."""
        with ExitStack() as stack:
            inner, stream, packed = self._unpacked(stack)
            guarded = cast(BinaryIO, stack.enter_context(_Guarded(stream, self.place)))
            if not seekable:
                yield guarded, partial(_place, inner, self.size_bytes)
            elif not packed:
                yield stream, partial(_place, inner, self.size_bytes)
            else:
                spool = stack.enter_context(tempfile.TemporaryFile(prefix="candor-"))
                shutil.copyfileobj(guarded, spool, _CHUNK_BYTES)
                size, whole = spool.tell(), self.size_bytes
                spool.seek(0)
                yield cast(BinaryIO, spool), lambda: _place(spool, size) * whole // max(size, 1)

    def _unpacked(self, stack: ExitStack) -> tuple[BinaryIO, BinaryIO, bool]:
        """The stream whose place tells how far it is, the one to read, and whether that one is unpacked on the way."""
        if self.member:
            archive = stack.enter_context(_zip(self.path))
            try:
                inner: BinaryIO = cast(BinaryIO, stack.enter_context(archive.open(self.member)))
            except (RuntimeError, NotImplementedError, zipfile.BadZipFile) as e:
                raise CaptureUnreadable(
                    f"'{self.member}' cannot be unpacked: {e}", place=str(self.path)
                ) from e
        else:
            inner = stack.enter_context(_file(self.path))
        buffered = cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, inner)))
        start = _peek(buffered, self.place)
        if start.startswith(_GZIP):
            return inner, cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=buffered))), True
        if start.startswith(_ZSTD):
            return inner, _zstd(buffered, stack, self.place), True
        return inner, buffered, bool(self.member)


def _place(stream: IO[bytes], size: int) -> int:
    """How far a stream is; some libraries close what they have read to its end."""
    return size if stream.closed else stream.tell()


class _Guarded(io.RawIOBase):
    """Turns every way unpacking can fail into an error that names the file."""

    def __init__(self, stream: BinaryIO, place: str) -> None:
        self._stream, self._place = stream, place

    def read(self, size: int = -1) -> bytes:
        parts, left = [], size
        damage: tuple[type[Exception], ...] = (EOFError, OSError, zlib.error, zipfile.BadZipFile)
        damage += _zstd_errors()
        while left:
            try:
                part = self._stream.read(left)
            except damage as e:
                raise CaptureUnreadable(
                    f"damaged or truncated archive: {e}", place=self._place, hint="Fetch the file again."
                ) from e
            if not part:
                break
            parts.append(part)
            left = left - len(part) if size > 0 else left
        return b"".join(parts)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The stream beneath is closed by who opened it."""


def find(paths: Sequence[Path]) -> list[RawFile]:
    """Files behind the paths, folders and zips walked, hidden files left out, each once, in order of name.

    Raises SourceMissing for a path that does not exist, CaptureUnreadable for a damaged zip.
    """
    found: dict[tuple[Path, str], RawFile] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and not _hidden(p.relative_to(path)))
            members = [raw for p in inside for raw in _members(p, named=False)]
        elif path.is_file():
            members = _members(path, named=True)
        else:
            raise SourceMissing(
                f"no file or folder '{path.name}'", place=str(path.parent), hint="Check the path."
            )
        for raw in members:
            found.setdefault((raw.path.resolve(), raw.member), raw)
    return list(found.values())


def _members(path: Path, *, named: bool) -> list[RawFile]:
    if not zipfile.is_zipfile(path) or not _starts_like_zip(path):
        return [RawFile(path, named=named)]
    with _zip(path) as archive:
        names = sorted(info.filename for info in archive.infolist() if not info.is_dir())
    return [RawFile(path, name) for name in names if not _hidden(Path(name))]


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _starts_like_zip(path: Path) -> bool:
    with _file(path) as stream:
        return stream.read(4) == _ZIP


@contextmanager
def _zip(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as e:
        raise CaptureUnreadable(f"'{path.name}' is a damaged zip: {e}", place=str(path.parent)) from e
    with archive:
        yield archive


@contextmanager
def _file(path: Path) -> Iterator[BinaryIO]:
    try:
        stream = path.open("rb", buffering=0)
    except FileNotFoundError as e:
        raise SourceMissing(
            f"no file '{path.name}'", place=str(path.parent), hint="Check the source's path."
        ) from e
    except OSError as e:
        raise CaptureUnreadable(f"'{path.name}' cannot be read: {e.strerror}", place=str(path.parent)) from e
    with stream:
        yield cast(BinaryIO, stream)


def _peek(stream: BinaryIO, place: str) -> bytes:
    try:
        return cast(io.BufferedReader, stream).peek(4)[:4]
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as e:
        raise CaptureUnreadable(f"cannot be read: {e}", place=place, hint="Fetch the file again.") from e


def _zstd(stream: BinaryIO, stack: ExitStack, place: str) -> BinaryIO:
    try:
        import zstandard
    except ImportError as e:
        raise ExtraMissing(
            "unpacking .zst needs zstandard", place=place, hint="pip install 'candor[importers]'"
        ) from e
    reader = zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)
    return cast(BinaryIO, stack.enter_context(reader))


def _zstd_errors() -> tuple[type[Exception], ...]:
    try:
        import zstandard
    except ImportError:
        return ()
    return (zstandard.ZstdError,)
