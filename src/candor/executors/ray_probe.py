"""Starts a Ray as ``--on ray`` does, and lets a worker of it multiply two numbers."""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def _product(a: Any, b: Any) -> tuple[int, int]:
    return a * b, os.getpid()


def main() -> None:
    """Print the product, and whether another process made it."""
    a, b = map(int, sys.argv[1:3])
    told: dict[str, object] = {}
    try:
        import ray

        from candor.executors.ray_cluster import connected

        with connected(cpus=1, gpus=0):
            product, worker = ray.get(ray.remote(_product).remote(a, b), timeout=120)
        told = {"product": product, "elsewhere": worker != os.getpid(), "ray": ray.__version__}
    except Exception as e:  # Whatever Ray raises is what is to be told.
        told = {"error": f"{type(e).__name__}: {e}".splitlines()[0]}
    sys.stdout.write("\n" + json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
