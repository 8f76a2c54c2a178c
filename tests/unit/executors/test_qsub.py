"""Scripts for PBS: golden files for the modes, and shell that says what it should."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from candor.errors import ConfigError
from candor.executors import ray_allocation, worker_array
from candor.executors.qsub import QSUB, alone, passing
from candor.executors.scripts import ScriptContext, render
from candor.executors.site import Request, SiteConfig, load_site

GOLDEN = Path(__file__).with_name("golden_pbs")
RUN = Path("/scratch/a röot 'x' $HOME/runs/toy-1234")
CONTEXT = ScriptContext(
    run=RUN,
    plan=RUN / "plan.json",
    logs=RUN / "pbs",
    roots={"CANDOR_RUN_ROOT": str(RUN.parent.parent)},
    venv="~/envs/candor",
)
GPU = Request(gpus=1, gpu_type="RTX6000", cpus=8, memory_gb=64, time_limit_min=480)


def scripts() -> dict[str, str]:
    cx3 = load_site("imperial_cx3")
    return {
        "task.sh": render(CONTEXT, cx3, GPU, {0: "curriculum.s1"}, words=QSUB),
        "array.sh": render(CONTEXT, SiteConfig(), Request(), {0: "a.s1", 1: "a.s2"}, words=QSUB),
        "workers.sh": worker_array.render(CONTEXT, cx3, GPU, workers=3, words=QSUB),
        "ray.sh": ray_allocation.render(CONTEXT, cx3, nodes=1, words=QSUB),
    }


@pytest.mark.parametrize("name", ["task.sh", "array.sh", "workers.sh", "ray.sh"])
def test_scripts_are_the_golden_ones_and_valid_shell(name: str) -> None:
    text = scripts()[name]
    if os.environ.get("CANDOR_UPDATE_GOLDEN") == "1":
        GOLDEN.mkdir(exist_ok=True)
        (GOLDEN / name).write_text(text, encoding="utf-8")
    assert text == (GOLDEN / name).read_text(encoding="utf-8")
    done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_directives_end_before_the_first_command() -> None:
    """qsub reads no further than that."""
    for text in scripts().values():
        lines = text.splitlines()
        first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
        assert not any(line.startswith("#PBS") for line in lines[first:])


def test_one_element_of_an_array_is_a_job_that_knows_its_index() -> None:
    text = alone(scripts()["array.sh"], "1")
    assert "#PBS -J" not in text
    shell = text[text.index("case ${PBS_ARRAY_INDEX") : text.index("\nplan=")]
    index = next(line for line in text.splitlines() if line.startswith("export PBS_ARRAY_INDEX="))
    done = subprocess.run(
        ["bash", "-c", f"{index}\n{shell}\necho $task"], text=True, capture_output=True, check=True
    )
    assert done.stdout == "a.s2\n"


@pytest.mark.parametrize(("job", "told"), [("12.pbs-7", "12"), ("12[3].pbs", "12_3")])
def test_a_job_is_called_as_in_the_ledger(job: str, told: str, tmp_path: Path) -> None:
    lines = QSUB.identity(CONTEXT, SiteConfig(), "left")
    done = subprocess.run(
        ["bash", "-c", "\n".join([*lines, "echo $CANDOR_JOB"])],
        env={"PBS_JOBID": job, "PBS_ARRAY_INDEX": "3", "PBS_O_WORKDIR": str(tmp_path), "PATH": "/bin"},
        check=True,
    )
    assert done.returncode == 0
    assert (tmp_path / f"left-{told}.out").read_text() == f"{told}\n"


def test_without_a_time_limit_there_is_nothing_to_warn_of() -> None:
    assert QSUB.warning(SiteConfig(), Request()) == []
    assert "sleep 3480 " in QSUB.warning(SiteConfig(warning_s=120), Request(time_limit_min=60))[0]


def test_only_variables_that_pbs_does_not_bring_are_passed() -> None:
    """qsub refuses a job for a variable that is not set."""
    plain = "\n".join(QSUB.directives(CONTEXT, SiteConfig(), Request(), "left"))
    assert "-v" not in plain
    more = SiteConfig(pass_env=("HOME", "PATH", "WANDB_API_KEY"))
    assert "#PBS -v WANDB_API_KEY" in QSUB.directives(CONTEXT, more, Request(), "left")
    text = "#!/bin/bash\n#PBS -v A,B\n#PBS -v C\ntrue\n"
    assert passing(text, {"B": "1"}) == "#!/bin/bash\n#PBS -v B\n#\ntrue\n"


def test_what_pbs_cannot_be_asked_for_is_refused() -> None:
    with pytest.raises(ConfigError, match="qos"):
        QSUB.directives(CONTEXT, SiteConfig(), Request(qos="high"), "left")
    with pytest.raises(ConfigError, match="one node"):
        ray_allocation.render(CONTEXT, SiteConfig(), nodes=2, words=QSUB)
