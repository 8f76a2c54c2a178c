"""Are the driver's GPUs those of torch, and do they compute?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from candor.cluster.doctor.findings import Finding, failed, ok, skipped
from candor.cluster.doctor.patient import Chart, Patient
from candor.cluster.shell import Ran


def check_gpus(patient: Patient, chart: Chart) -> Finding:
    """The driver's GPUs are torch's, and compute. Those of the nodes are looked at by the job."""
    del chart
    told, ran = patient.probe("gpus")
    return judge_gpus(told, ran, wanted=0)


def judge_gpus(told: Mapping[str, Any], ran: Ran, *, wanted: int) -> Finding:
    """Compare the driver's words with torch's. Pure."""
    if not told:
        return failed(
            f"the probe did not end: {ran.said}", "Read what it said; does `python -c 'import torch'` work?"
        )
    if "torch_error" in told:
        return failed(
            f"torch cannot be imported: {told['torch_error']}", "`pip install 'candor[train]'` there."
        )
    seen, used, cuda = list(told["gpus"]), int(told["torch_gpus"]), told["torch_cuda"]
    if len(seen) < wanted:
        why = told.get("smi_error") or "nvidia-smi shows none"
        why = f"nvidia-smi shows {len(seen)}" if seen else why
        return failed(
            f"{wanted} GPUs were asked for; {why}",
            "Check `gpu_directive`, `gpu` and the partition of the site.",
        )
    if not seen and "smi_error" in told:
        return failed(
            f"nvidia-smi: {told['smi_error']}", "The driver is broken on this machine; tell the site."
        )
    if not seen and not used:
        return skipped(f"no GPU on this machine (torch {told['torch']}); --gpus N looks at a job's")
    # torch may see GPUs where nvidia-smi is not there: AMD's, or in a container.
    first = seen[0] if seen else "GPU without a word of nvidia-smi"
    if seen and cuda is None:
        return failed(
            f"torch {told['torch']} has no CUDA, and there is {seen[0]}", "Install a CUDA build of torch."
        )
    newest = told.get("driver_cuda")
    if newest and cuda and _version(cuda) > _version(newest) and used < max(len(seen), 1):
        return failed(
            f"torch was built for CUDA {cuda}, and the driver knows {newest} at most",
            f"Install torch for CUDA {newest} or older.",
        )
    if used < len(seen):
        return failed(
            f"torch sees {used} of {len(seen)} GPUs",
            "Is CUDA_VISIBLE_DEVICES set, or a GPU taken out of service?",
        )
    if "compute_error" in told:
        return failed(
            f"torch {told['torch']} does not compute on {first}: {told['compute_error']}",
            "Install a build of torch that has kernels for this GPU.",
        )
    with_cuda = f" with CUDA {cuda}" if cuda else ""
    return ok(f"{len(seen) or used} × {first}, torch {told['torch']}{with_cuda}")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
