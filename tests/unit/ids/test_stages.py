"""Which stages there are, and what a process loads that runs one."""

import subprocess
import sys

import pytest

from candor.ids.stages import STAGES

#: Nothing of theirs is a neural network.
LIGHT = (
    "generate",
    "ingest",
    "calibrate",
    "build",
    "audit",
    "controls",
    "baselines",
    "payload",
    "frame_dynamics",
    "score_frame_dynamics",
    "evaluate",
    "report",
)


def test_every_name_is_a_stage_of_the_group_that_it_is_looked_up_in() -> None:
    assert all(callable(STAGES[name]) for name in STAGES)


def test_a_stage_without_a_network_loads_no_torch() -> None:
    probe = (
        "import sys; from candor.ids.stages import STAGES\n"
        f"for name in {LIGHT!r}: STAGES[name]\n"
        "print(sorted({'torch', 'lightning', 'torch_geometric', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_name_that_is_no_stage_is_told_as_any_mapping_would() -> None:
    assert "trian" not in STAGES
    with pytest.raises(KeyError):
        STAGES["trian"]
