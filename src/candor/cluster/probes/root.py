"""Does in a folder what candor does there: write, fsync, rename, lock, link, and reserve space. Argument: the folder."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress

#: Small quotas and small disks show with this much, and it is written in a moment.
WRITE_BYTES = 1 << 20
RESERVE_BYTES = 64 << 20


def write(folder: str) -> None:
    """Write, force to the disk, rename, read back."""
    payload = os.urandom(WRITE_BYTES)
    with open(os.path.join(folder, "new"), "wb") as f:
        f.write(payload)
        f.flush()
        os.fsync(f.fileno())
    os.rename(os.path.join(folder, "new"), os.path.join(folder, "file"))
    with open(os.path.join(folder, "file"), "rb") as f:
        if f.read() != payload:
            raise OSError("what was read is not what was written")


def lock(folder: str) -> None:
    """Take a lock, and see that another process does not get it."""
    fd = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        child = os.fork()
        if child == 0:
            try:
                mine = os.open(os.path.join(folder, "lock"), os.O_RDWR)
                fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os._exit(0)
            os._exit(1)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
            raise OSError("two processes held the same lock (flock) at once")
    finally:
        os.close(fd)


def link(folder: str) -> None:
    """Make a symbolic link, and see that it cannot be made twice: the lock of studies."""
    path = os.path.join(folder, "link")
    os.symlink("target", path)
    if os.readlink(path) != "target":
        raise OSError("a symbolic link leads elsewhere")
    with suppress(FileExistsError):
        os.symlink("other", path)
        raise OSError("a symbolic link was made twice")


def reserve(folder: str) -> None:
    """Really take space: what a quota forbids, the free space of the disk does not tell."""
    with open(os.path.join(folder, "reserved"), "wb") as f:
        os.posix_fallocate(f.fileno(), 0, RESERVE_BYTES)
        os.fsync(f.fileno())


STEPS: dict[str, Callable[[str], None]] = {"write": write, "lock": lock, "link": link, "reserve": reserve}


def main() -> None:
    """Print what failed, and how much space and how many files are left."""
    root = sys.argv[1]
    failed: dict[str, str] = {}
    told: dict[str, object] = {"failed": failed}
    mine = os.path.join(root, f".candor-doctor-{os.uname().nodename}-{os.getpid()}")
    try:
        os.makedirs(mine)
        for name, step in STEPS.items():
            try:
                step(mine)
            except OSError as e:
                failed[name] = e.strerror or str(e)
        disk = os.statvfs(root)
        told["free_bytes"] = disk.f_bavail * disk.f_frsize
        # Some file systems count no files, and say zero of zero.
        told["free_files"] = disk.f_favail if disk.f_files else None
    except OSError as e:
        failed["make a folder"] = e.strerror or str(e)
    finally:
        shutil.rmtree(mine, ignore_errors=True)
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # A limit on file sizes shall be an error that can be told.
    main()
