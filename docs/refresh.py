"""Writes what the demo printed into the README: `make readme`, after `make demo`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Ask for the demo's table again (all is published, so nothing runs) and put it between the markers."""
    candor = Path(sys.executable).with_name("candor")
    command = [str(candor), "run", "kd", "--dataset", "synthetic"]
    env = os.environ | {"CANDOR_ROOT": str(ROOT / "demo"), "COLUMNS": "120", "NO_COLOR": "1"}
    printed = subprocess.run(command, env=env, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    lines = [line.rstrip().replace(str(ROOT) + os.sep, "") for line in printed.splitlines()]
    block = "\n".join(["<!-- demo:begin (make readme) -->", "```", *lines, "```", "<!-- demo:end -->"])
    readme = ROOT / "README.md"
    old = readme.read_text(encoding="utf-8")
    new = re.sub(r"<!-- demo:begin.*demo:end -->", lambda _: block, old, flags=re.DOTALL)
    readme.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
