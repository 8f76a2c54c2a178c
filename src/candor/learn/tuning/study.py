"""A study on disk: what is searched, and a record per trial.

``<run_root>/studies/<study>/``:
    study.json         StudyInfo
    trials/<n>.json    TrialRecord, rewritten whole; the truth for tables, plots and resuming
    journal.log        Optuna's journal, which workers of one study share; see search.py on why that is safe
    best.yaml          the best values as an experiment preset, once there is one
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from candor.config.base import Config
from candor.config.fingerprint import digest
from candor.config.layers import Layer, merge, nearest
from candor.errors import ConfigError, NotFound
from candor.flow.storage import write_atomic
from candor.learn.tuning.spaces import Space, Value

log = logging.getLogger(__name__)

TrialState = Literal["running", "complete", "pruned", "failed"]


class StudyInfo(Config):
    """``study.json``: everything that a worker on another machine needs, except roots.

    Attributes:
        request: experiment, dataset, sets, allow of the runs that trials are.
        variant, seed: the lane whose metric counts.
        pruner: "median" stops trials that are behind the median of the others at the same epoch.
    """

    schema_version: int = 1
    study: str
    model: str
    space: Space
    experiment: str
    dataset: str
    sets: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    variant: str
    seed: int = 1
    sampler_seed: int = 0
    pruner: Literal["none", "median", "asha"] = "none"
    trials: int

    @property
    def task(self) -> str:
        """The task whose metric counts."""
        return f"{self.space.stage}.{self.variant}.s{self.seed}"

    def overrides(self, values: dict[str, Value]) -> list[str]:
        """``--set`` arguments of a trial with these values."""
        told = [f"variants.{self.variant}.{key}={json.dumps(value)}" for key, value in values.items()]
        return [*self.sets, *told]


class TrialRecord(Config):
    """One trial.

    Attributes:
        run: the ordinary run that it was.
        value: the metric at the epoch whose weights are kept (``Space.keeps``); None if it has none.
        curve: (epoch, metric) as far as it got.
        reason: why it failed or was pruned.
    """

    number: int
    values: dict[str, Value]
    state: TrialState = "running"
    run: str = ""
    value: float | None = None
    curve: tuple[tuple[int, float], ...] = ()
    duration_s: float | None = None
    reason: str = ""
    out_of_memory: bool = False


@dataclass(frozen=True)
class Study:
    """A study's folder."""

    path: Path

    @property
    def journal(self) -> Path:
        """Optuna's journal."""
        return self.path / "journal.log"

    def info(self) -> StudyInfo:
        """What is searched. Raises NotFound if ``study.json`` is gone or unreadable."""
        try:
            return StudyInfo.model_validate_json((self.path / "study.json").read_bytes())
        except (OSError, ValidationError) as e:
            raise NotFound(
                f"study '{self.path.name}' has no readable study.json", place=str(self.path)
            ) from e

    def write(self, record: TrialRecord, *, durable: bool = True) -> None:
        """Keep a trial's record; ``durable=False``: how far it is, which is written again with the next epoch."""
        path = self.path / "trials" / f"{record.number}.json"
        write_atomic(path, record.model_dump_json(indent=2), durable=durable)

    def note(self, record: TrialRecord) -> None:
        """Keep how far a running trial is, for who looks on; a full disk stops no trial for that."""
        try:
            self.write(record.model_copy(update={"state": "running"}), durable=False)
        except OSError as e:
            log.warning("trial %d: how far it is could not be noted: %s", record.number, e)

    def claim(self, values: dict[str, Value]) -> TrialRecord:
        """A record under the next free number; two claimants never get the same one, nor on NFS from version 3 on."""
        number = max((t.number for t in self.trials()), default=-1) + 1
        while True:
            try:
                (self.path / "trials" / f"{number}.json").open("x").close()
            except FileExistsError:
                number += 1
            else:
                record = TrialRecord(number=number, values=values)
                self.write(record)
                return record

    def set_aside_running(self) -> list[TrialRecord]:
        """Trials that say running though nobody works on the study, by number; their numbers are free again.

        Their values are kept, also by a second search that is killed before it repeats them, until ``repeated`` is told.
        """
        for trial in self.trials():
            if trial.state == "running":
                (self.path / "trials" / f"{trial.number}.json").rename(self._aside(trial.values))
        aside = (self.path / "trials").glob("*.lost")
        found = [TrialRecord.model_validate_json(path.read_bytes()) for path in aside]
        return sorted(found, key=lambda t: t.number)

    def repeated(self, values: dict[str, Value]) -> None:
        """A new record has the values of a trial that was set aside, if there was one."""
        self._aside(values).unlink(missing_ok=True)

    def _aside(self, values: dict[str, Value]) -> Path:
        return self.path / "trials" / f"{digest(values)[:16]}.lost"

    def trials(self) -> list[TrialRecord]:
        """All readable records, by number."""
        found = []
        for path in (self.path / "trials").glob("*.json"):
            try:
                found.append(TrialRecord.model_validate_json(path.read_bytes()))
            except (OSError, ValidationError):
                continue
        return sorted(found, key=lambda t: t.number)

    def best(self) -> TrialRecord | None:
        """The best completed trial; the earlier of two equal ones."""
        space, best = self.info().space, None
        for trial in self.trials():
            if trial.state != "complete" or trial.value is None:
                continue
            if best is None or best.value is None or space.better(trial.value, best.value):
                best = trial
        return best

    def write_best(self, experiment: Mapping[str, Any]) -> Path | None:
        """The experiment's preset with the best values in it, a preset of its own; None without a completed trial.

        Args:
            experiment: the values of the preset that the study started from.
        """
        best, info = self.best(), self.info()
        if best is None:
            return None
        values = Layer("best", _nested({f"variants.{info.variant}.{k}": v for k, v in best.values.items()}))
        preset = merge([Layer(info.experiment, experiment), values]).values
        head = (
            f"# {info.experiment} with the best of study {info.study}: trial {best.number}, {info.space.metric}\n"
            f"# {best.value:.6g} on validation windows of {info.dataset}, out of {info.trials} trials.\n"
        )
        path = self.path / "best.yaml"
        write_atomic(path, head + yaml.safe_dump(preset, sort_keys=False))
        return path


def _nested(dotted: Mapping[str, Value]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in dotted.items():
        *folders, leaf = key.split(".")
        at = nested
        for name in folders:
            at = at.setdefault(name, {})
        at[leaf] = value
    return nested


def open_study(run_root: Path, info: StudyInfo) -> Study:
    """Make the study's folder, or take it up again, perhaps for more trials.

    Raises ConfigError if a study of that name searches something else: its trials would not compare.
    """
    study = Study(run_root / "studies" / info.study)
    with contextlib.suppress(NotFound):
        known = study.info().model_copy(update={"trials": info.trials})
        changed = [name for name in type(info).model_fields if getattr(known, name) != getattr(info, name)]
        if changed:
            raise ConfigError(
                f"study '{info.study}' exists with another {changed[0]}",
                place=str(study.path),
                hint="Give this one a name of its own: --name.",
            )
    (study.path / "trials").mkdir(parents=True, exist_ok=True)
    write_atomic(study.path / "study.json", info.model_dump_json(indent=2))
    return study


def check_searched_alike(study: Study, *, on_ray: bool) -> None:
    """Raise ConfigError if Ray began this study and workers of a journal are to go on with it, or the other way round.

    A worker numbers its trials by the journal, which knows none of Ray's: it would write over their records.
    """
    by_journal = study.journal.exists()
    if on_ray and by_journal:
        raise ConfigError(
            f"study '{study.path.name}' was begun without Ray",
            place=str(study.path),
            hint="Go on with it without `--on ray`, or give this one a name of its own: --name.",
        )
    if not on_ray and not by_journal and any((study.path / "trials").glob("*.json")):
        raise ConfigError(
            f"study '{study.path.name}' was begun on Ray",
            place=str(study.path),
            hint="Go on with it with `--on ray`, or give this one a name of its own: --name.",
        )


def list_studies(run_root: Path) -> list[Study]:
    """All studies, by name."""
    return [Study(path.parent) for path in sorted((run_root / "studies").glob("*/study.json"))]


def find_study(run_root: Path, name: str) -> Study:
    """The study called ``name``. Raises NotFound with the nearest one."""
    names = [study.path.name for study in list_studies(run_root)]
    if name in names:
        return Study(run_root / "studies" / name)
    near = nearest(name, names)
    hint = f"Did you mean '{near}'?" if near else f"Studies: {', '.join(names) or 'none'}."
    raise NotFound(f"no study called '{name}'", place=str(run_root / "studies"), hint=hint)
