from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from candor.errors import StorageFull
from candor.flow.storage import storage_full, write_atomic


def test_a_failed_write_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomic(tmp_path / "a", "old")
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match="full"):
        write_atomic(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def _from(cause: BaseException) -> BaseException:
    try:
        raise RuntimeError("while writing") from cause
    except RuntimeError as e:
        return e


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "x"),
        OSError(errno.EDQUOT, "x"),
        RuntimeError("No space left on device (os error 28)"),
        _from(OSError(errno.ENOSPC, "x")),
        StorageFull("full"),
    ],
)
def test_a_full_disk_is_recognised_in_every_disguise(tmp_path: Path, error: BaseException) -> None:
    assert isinstance(storage_full(error, tmp_path / "not yet" / "made"), StorageFull)


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "x"), ValueError("x"), OSError("short write")])
def test_other_trouble_is_not_blamed_on_the_disk(tmp_path: Path, error: BaseException) -> None:
    assert storage_full(error, tmp_path) is None
