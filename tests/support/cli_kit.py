"""The command line over the toy pipeline, in this process or in its own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import pytest
from toy_pipeline import SCRIPT, ToyWorkload

from candor.cli.main import main


@dataclass(frozen=True)
class Done:
    """What a command left."""

    code: int
    out: str
    err: str


@dataclass
class Cli:
    """``cli("run", "toy", "-d", "small")``."""

    captured: pytest.CaptureFixture[str]

    def __call__(self, *args: str) -> Done:
        self.captured.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(args, workload=ToyWorkload())
        out, err = self.captured.readouterr()
        code = ended.value.code
        return Done(code if isinstance(code, int) else 0 if code is None else 1, out, err)

    def start(self, *args: str) -> subprocess.Popen[bytes]:
        """The same, in the background."""
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), *args], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )


def run(captured: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> tuple[str, str]:
    """What candor's own command line prints to stdout and stderr; it must end with ``code``."""
    captured.readouterr()
    with pytest.raises(SystemExit) as done:
        main(list(argv))
    said = captured.readouterr()
    assert (done.value.code or 0) == code, said.err
    return said.out, said.err
