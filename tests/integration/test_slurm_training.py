"""Training that a time limit interrupts goes on in the next job, along the curve of an undisturbed one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from kd_run import TINY, Candor
from slurm_cluster import SlurmCluster
from slurm_kit import FAST
from waiting import wait_until

pytestmark = pytest.mark.slow
TASK = "autoencoder.student.s1"
#: An epoch takes a tenth of a second: enough of them for whoever warns the training to come late.
LONG = ("--until", TASK, "--set", "training.max_epochs=100", "--set", "training.patience=0")


def test_a_training_stopped_for_its_time_limit_repeats_the_undisturbed_curve(
    tmp_path: Path, slurm: SlurmCluster
) -> None:
    flags = [part for value in TINY for part in ("--set", value)]
    command = ("run", "kd", "--dataset", "synthetic", *flags, *LONG)
    calm, disturbed = Candor(tmp_path / "calm"), Candor(tmp_path / "disturbed")
    calm(*command)
    # What comes before the training is the same for both; jobs for it would only take time.
    made = shutil.ignore_patterns("autoencoder", "scratch", "runs", "staging")
    shutil.copytree(calm.root, disturbed.root, ignore=made)
    passed = json.dumps(["HOME", "USER", "PATH", "LANG", "PYTHONPATH"])
    site = (*FAST, "--site-set", f"pass_env={passed}", "--site-set", "defaults.memory_gb=2.5")
    with (
        slurm.hurry(),
        subprocess.Popen(
            disturbed.argv(*command, *site), env=disturbed.env, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        rows = disturbed.root / "cache/scratch/autoencoder"
        epochs = 0
        while epochs < 4:
            assert process.poll() is None, process.communicate()
            epochs = sum(p.read_text().count("\n") for p in rows.glob("*/metrics.jsonl"))
            time.sleep(0.1)
        (record,) = disturbed.root.glob(f"runs/*/tasks/{TASK}/attempt-1/record.json")
        slurm.call("scancel", "--batch", "--signal=USR1", json.loads(record.read_text())["job"])
        _, told = process.communicate(timeout=450)
    assert process.returncode == 0, told
    attempts = [json.loads((record.parents[1] / f"attempt-{n}/record.json").read_text()) for n in (1, 2)]
    assert [a["outcome"] for a in attempts] == ["interrupted", "succeeded"], attempts
    assert curve(disturbed) == curve(calm)
    assert weights(disturbed) == weights(calm)


def curve(candor: Candor) -> list[dict[str, object]]:
    import polars as pl

    return (
        pl.read_parquet(candor.artifact("autoencoder") / "metrics.parquet").sort("step", "metric").to_dicts()
    )


def weights(candor: Candor) -> dict[str, str]:
    record = json.loads((candor.artifact("autoencoder") / "record.json").read_text())
    return {name: f["sha256"] for name, f in record["files"].items() if name.endswith(".safetensors")}


@pytest.mark.skipif(not os.environ.get("CANDOR_LONG"), reason="three minutes; set CANDOR_LONG=1")
def test_slurm_itself_warns_before_the_real_time_limit(tmp_path: Path, slurm: SlurmCluster) -> None:
    from slurm_kit import Toy

    toy = Toy(tmp_path)
    sets = ("--set", "left.steps=70", "--set", "right.steps=2", "--until", "left")
    site = ("--site-set", "stages.number.time_limit_min=2", "--site-set", "warning_s=50")
    with slurm.hurry():
        toy.run("--no-wait", *sets, *site, TOY_WAIT_S="1.5")
        wait_until(
            lambda: (toy.folder / "tasks/left/attempt-2/record.json").exists(), "the second start", 200
        )
        toy.run(*sets, *site, TOY_WAIT_S="1.5")
    first, second = toy.record("left"), toy.record("left", 2)
    assert (first["outcome"], first["error"], second["outcome"]) == ("interrupted", "Requeued", "succeeded")
    assert second["summary"]["resumed_from"] > 10
