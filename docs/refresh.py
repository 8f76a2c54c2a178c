"""Writes what commands printed into the pages that show it: `make readme`, `make results`.

A block stands between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``; its content is the verbatim output of the
command. Everything that is published already is not run again, so this is quick after `make demo`.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Block:
    """One command and the page that shows its output. ``root`` is its CANDOR_ROOT below the checkout."""

    name: str
    page: str
    command: str
    root: str


#: Settings of both directions of road_statgraph: docs/results.md says how they came about.
ROAD = (
    "--seed 1,2,3 --set training.max_epochs=8 --set payload.calibration_s=3 --set frame_dynamics.calibration_s=3"
    " --set calibration.calibration_s=3 --set evaluation.exclude_calibration=true"
    " --set baselines.pygod=[dominant,ocgnn]"
)

#: Settings of the other buses.
BUS = "--seed 1,2,3 --set frame_dynamics.calibration_s=10"

BLOCKS = (
    Block("demo", "README.md", "candor run kd --dataset synthetic", "demo"),
    Block("hcrl_sa", "docs/results.md", f"candor run kd --dataset hcrl_sa {BUS}", "results"),
    Block("set_01", "docs/results.md", f"candor run kd --dataset set_01 {BUS}", "results"),
    Block("road_statgraph", "docs/results.md", f"candor run kd --dataset road_statgraph {ROAD}", "results"),
    Block(
        "road_statgraph_reversed",
        "docs/results.md",
        f"candor run kd --dataset road_statgraph_reversed {ROAD}",
        "results",
    ),
    Block(
        "road_statgraph_folds",
        "docs/results.md",
        f"candor folds kd --dataset road_statgraph,road_statgraph_reversed {ROAD}",
        "results",
    ),
    Block("unsw_nb15", "docs/results.md", "candor run kd --dataset unsw_nb15 --seed 1,2,3", "results"),
    Block("cicids2017", "docs/results.md", "candor run kd --dataset cicids2017 --seed 1,2,3", "results"),
)


def refresh(block: Block) -> None:
    """Run the command (progress goes to the terminal) and put its output into its page."""
    executable = Path(sys.executable).with_name("candor")
    _, *arguments = shlex.split(block.command)
    env = os.environ | {"CANDOR_ROOT": str(ROOT / block.root), "COLUMNS": "132", "NO_COLOR": "1"}
    command = [str(executable), *arguments]
    subprocess.run(command, env=env, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    # The second time nothing runs, and only the result is printed.
    printed = subprocess.run(command, env=env, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    lines = [line.rstrip().replace(str(ROOT) + os.sep, "") for line in printed.splitlines()]
    body = "\n".join(lines[1:] if lines[0].startswith("Nothing to do") else lines)
    page = ROOT / block.page
    fresh = f"<!-- {block.name}:begin -->\n```\n$ {block.command}\n{body}\n```\n<!-- {block.name}:end -->"
    pattern = rf"<!-- {block.name}:begin.*?{block.name}:end -->"
    text, count = re.subn(pattern, lambda _: fresh, page.read_text(encoding="utf-8"), flags=re.DOTALL)
    if count != 1:
        sys.exit(f"{block.page} has {count} blocks called '{block.name}', not one")
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        refresh(next(block for block in BLOCKS if block.name == wanted))
