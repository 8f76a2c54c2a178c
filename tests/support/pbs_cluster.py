"""The fake PBS of ``pbs/fake_pbs.py``, up while inside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from waiting import LIMIT_S

_PROGRAM = Path(__file__).with_name("pbs") / "fake_pbs.py"
_COMMANDS = ("qsub", "qselect", "qstat", "qdel", "qalter", "pbsnodes")


@contextmanager
def fake_pbs(folder: Path, *, apart: bool = False) -> Iterator[Path]:
    """Commands of PBS are in the PATH, and jobs run; below ``folder`` lie jobs and what they printed.

    ``apart``: jobs see no process of this machine but their own.
    """
    if apart and (os.geteuid() or not shutil.which("unshare")):
        pytest.skip("needs unshare, as root")
    (folder / "bin").mkdir(parents=True)
    for name in _COMMANDS:
        command = folder / "bin" / name
        command.write_text(f"#!{sys.executable} -S\n{_PROGRAM.read_text()}")
        command.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAKE_PBS", str(folder))
        patch.setenv("CANDOR_SCHEDULER", "pbs")
        patch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
        own = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"] if apart else []
        server = subprocess.Popen([*own, sys.executable, "-S", str(_PROGRAM)])
        try:
            yield folder
        finally:
            # unshare ignores SIGTERM, and takes its processes along.
            (server.kill if apart else server.terminate)()
            server.wait(LIMIT_S)
