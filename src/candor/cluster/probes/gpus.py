"""Which GPUs the driver shows, and whether torch can really compute on them."""

from __future__ import annotations

import json
import re
import subprocess
import sys


def driver() -> dict[str, object]:
    """GPUs and the newest CUDA of the driver, as nvidia-smi says; nothing without it."""
    try:
        names = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        page = subprocess.run(["nvidia-smi"], capture_output=True, text=True, timeout=60, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return {"gpus": []}
    if names.returncode:
        return {"gpus": [], "smi_error": (names.stderr or names.stdout).strip()}
    cuda = re.search(r"CUDA(?: UMD)? Version:\s*([\d.]+)", page)
    return {
        "gpus": [line.strip() for line in names.stdout.splitlines() if line.strip()],
        "driver_cuda": cuda[1] if cuda else None,
    }


def computed() -> dict[str, object]:
    """Whether torch comes to the same on each GPU as on the processor."""
    try:
        import torch
    except Exception as e:  # A broken install raises many things.
        return {"torch_error": f"{type(e).__name__}: {e}"}
    told: dict[str, object] = {
        "torch": torch.__version__,
        "torch_cuda": torch.version.cuda,
        "torch_gpus": torch.cuda.device_count() if torch.cuda.is_available() else 0,
    }
    try:
        a = torch.arange(64.0).reshape(8, 8)
        for number in range(int(str(told["torch_gpus"]))):
            if not torch.equal((a.to(f"cuda:{number}") @ torch.eye(8, device=f"cuda:{number}")).cpu(), a):
                told["compute_error"] = f"GPU {number} computes something else"
    except Exception as e:  # E.g. no kernels for this GPU in this build.
        told["compute_error"] = f"{type(e).__name__}: {e}".splitlines()[0]
    return told


if __name__ == "__main__":
    sys.stdout.write(json.dumps({**driver(), **computed()}) + "\n")
