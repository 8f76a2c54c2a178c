"""All benchmarks, each in a process of its own, so that one's memory and threads do not weigh on the next."""

from __future__ import annotations

import subprocess
import sys

ALL = (
    "build",
    "preparation",
    "end_to_end",
    "batches",
    "budget",
    "epoch",
    "scaling",
    "import_throughput",
    "overhead",
)

if __name__ == "__main__":
    sys.exit(max(subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode for name in ALL))
