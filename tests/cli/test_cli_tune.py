"""``candor tune --on slurm`` before anything is submitted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cli_kit import Done

from candor.cli.main import main
from candor.config.presets import list_presets

TUNE = ("tune", "gat", "-d", "synthetic", "--trials", "3")


@pytest.fixture
def candor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("CANDOR_ROOT", str(tmp_path / "a röot"))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*args: str) -> Done:
        with pytest.raises(SystemExit) as ended:
            main(args)
        out, err = capsys.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    return call


def test_a_dry_run_prints_the_array_and_writes_nothing(candor) -> None:
    site = ("--site-set", "stages.tune.memory_gb=8", "--site-set", "stages.curriculum.memory_gb=4")
    done = candor(*TUNE, "--on", "slurm", "--max-concurrent", "8", "--gpus", "0.25", "--dry-run", *site)
    assert done.code == 0, done.err
    assert "#SBATCH --array=0,1,2%20\n" in done.out  # No more workers than trials.
    assert "#SBATCH --gpus-per-node=1\n" in done.out
    assert "#SBATCH --mem=8192M\n" in done.out
    assert not (Path(os.environ["CANDOR_ROOT"]) / "studies").exists()


def test_an_unknown_way_of_tracking_is_refused_before_anything_is_written(candor) -> None:
    done = candor(*TUNE, "--track", "sometimes")
    assert (done.code, "online, offline or off" in done.err) == (2, True)
    assert not (Path(os.environ["CANDOR_ROOT"]) / "studies").exists()


@pytest.mark.parametrize("model", list_presets("spaces"))
def test_every_space_names_parameters_and_a_stage_that_plans_have(candor, model: str) -> None:
    done = candor("tune", model, "-d", "synthetic", "--on", "slurm", "--dry-run")
    assert done.code == 0, done.err


def test_a_dry_run_elsewhere_and_a_site_of_another_scheduler_are_refused(candor) -> None:
    assert candor(*TUNE, "--dry-run").code == 2
    done = candor(*TUNE, "--on", "slurm", "--site", "imperial_cx3")
    assert (done.code, "PBS" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("begun", "on"), [("ray", ()), ("ray", ("--on", "slurm")), ("journal", ("--on", "ray"))]
)
def test_a_study_goes_on_as_it_began_or_is_left_alone(candor, begun: str, on: tuple[str, ...]) -> None:
    """Workers of a journal number their trials by it, and would write over those that Ray did."""
    study = Path(os.environ["CANDOR_ROOT"]) / "studies" / "gat-kd-synthetic"
    (study / "trials").mkdir(parents=True)
    (study / "trials" / "0.json").write_text("{}")
    if begun == "journal":
        (study / "journal.log").touch()
    before = sorted(study.rglob("*"))
    done = candor(*TUNE, *on)
    assert (done.code, "--name" in done.err) == (2, True), done.err
    assert sorted(study.rglob("*")) == before
