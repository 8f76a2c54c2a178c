"""GPUs that compute, and drivers and builds that do not fit."""

from __future__ import annotations

import pytest
from doctor_kit import Fake

from candor.cluster.doctor.gpus import check_gpus, judge_gpus
from candor.cluster.doctor.patient import Chart, Patient
from candor.cluster.shell import Ran

_FINE = {
    "gpus": ["NVIDIA A100"],
    "driver_cuda": "12.4",
    "torch": "2.13",
    "torch_cuda": "12.1",
    "torch_gpus": 1,
}
_SILENT = Ran(1, "", "killed")


@pytest.mark.parametrize(
    ("changes", "wanted", "state", "word"),
    [
        ({}, 1, "ok", "A100"),
        ({}, 2, "failed", "2 GPUs were asked for"),
        ({"torch_cuda": None, "torch_gpus": 0}, 1, "failed", "has no CUDA"),
        ({"torch_cuda": "13.0", "torch_gpus": 0}, 1, "failed", "the driver knows 12.4"),
        ({"torch_gpus": 0}, 1, "failed", "torch sees 0 of 1"),
        ({"compute_error": "no kernel image"}, 1, "failed", "no kernel image"),
        ({"gpus": [], "torch_gpus": 0}, 1, "failed", "nvidia-smi shows none"),
        ({"gpus": [], "torch_gpus": 0, "smi_error": "no devices"}, 0, "failed", "no devices"),
        ({"gpus": [], "torch_gpus": 0}, 0, "skipped", "no GPU"),
        ({"gpus": [], "torch_gpus": 1}, 0, "ok", "1 × GPU without a word of nvidia-smi"),
        ({"gpus": [], "torch_gpus": 1, "compute_error": "no kernel"}, 0, "failed", "no kernel"),
        ({"gpus": [], "torch_gpus": 1, "torch_cuda": None}, 0, "ok", "torch 2.13"),
        ({"torch_error": "ImportError: x"}, 0, "failed", "cannot be imported"),
    ],
)
def test_gpus_are_those_of_the_driver_and_compute(
    changes: dict[str, object], wanted: int, state: str, word: str
) -> None:
    found = judge_gpus({**_FINE, **changes}, _SILENT, wanted=wanted)
    assert (found.state, word in found.told) == (state, True), found


def test_a_gpu_probe_that_dies_fails() -> None:
    assert judge_gpus({}, _SILENT, wanted=0).state == "failed"


def test_a_driver_that_shows_a_gpu_torch_cannot_use_fails(patient: Patient, fake: Fake) -> None:
    import torch

    if torch.version.cuda:
        pytest.skip("this torch has CUDA")
    fake("nvidia-smi", "case $1 in --query*) echo 'NVIDIA H200';; *) echo 'CUDA Version: 12.8';; esac")
    found = check_gpus(patient, Chart())
    assert (found.state, found.told.endswith("has no CUDA, and there is NVIDIA H200")) == ("failed", True)
