"""Plans of experiments whose files are only laid down, never read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from candor.config.settings import Settings
from candor.flow.plan import Plan, TaskSpec, render
from candor.ids.config import ExperimentConfig
from candor.ids.experiment import resolve
from candor.ids.pipeline import joint, plan


def settings_in(folder: Path) -> Settings:
    """Every root in one folder."""
    return Settings(data_root=folder / "data", cache_root=folder / "cache", run_root=folder)


def config_in(
    folder: Path, *sets: str, dataset: str = "synthetic", seeds: list[int] | None = None
) -> ExperimentConfig:
    """The experiment ``kd`` on a data set."""
    if dataset == "unsw_nb15":
        files = folder / "data" / dataset
        files.mkdir(parents=True, exist_ok=True)
        (files / "UNSW-NB15_1_first1000_with_header.csv").write_text("x")
    return resolve("kd", dataset, sets, seeds, settings=settings_in(folder))[0]


def flow_plan(
    folder: Path, *sets: str, tasks: Callable[[ExperimentConfig], Sequence[TaskSpec]] = plan
) -> Plan:
    """The plan on a network."""
    return render("kd-unsw_nb15", tasks(config_in(folder, *sets, dataset="unsw_nb15")))


def joint_plan(
    folder: Path,
    *sets: str,
    names: Sequence[str] = ("synthetic", "unsw_nb15"),
    variant: str = "student",
) -> Plan:
    """The plan of one classifier for a bus and a network."""
    return render("joint", joint.plan({n: config_in(folder, *sets, dataset=n) for n in names}, variant))


def changed(before: Plan, after: Plan) -> set[str]:
    """IDs of tasks whose key differs."""
    keys = {t.id: t.key for t in before.tasks}
    return {t.id for t in after.tasks if keys.get(t.id) != t.key}
