"""A small pipeline without any science: two numbers, their sum, a report. Also a command line over it.

``python toy_pipeline.py run toy --dataset small`` behaves like ``candor run``. Environment for misbehaviour:
``TOY_FAIL=stage`` raises in that stage, ``TOY_DIE=stage`` kills the process of its first attempt (``always``: of every
one), ``TOY_WAIT_S`` makes every step that slow, ``TOY_HOLD=4`` lets a number stay at its fourth step (``4,6``: and at
its sixth; see ``_hold``), ``TOY_EAT_MB`` lets every number hold so much memory.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from waiting import wait_until

from candor.cli.workload import Request
from candor.config.base import Config, Runtime
from candor.config.layers import Layer, build, merge, set_layers
from candor.config.settings import Settings
from candor.errors import PresetNotFound
from candor.flow.plan import TaskSpec
from candor.flow.stage import Inputs, Output, Result, Stage
from candor.flow.storage import write_atomic


class NumberConfig(Config):
    value: int = 1
    steps: int = 3
    workers: Annotated[int, Runtime] = 1


class SumConfig(Config):
    scale: float = 1.0


class ReportConfig(Config):
    title: str = "Toy"


class ToyConfig(Config):
    dataset: str
    twelve: bool = False
    seeds: tuple[int, ...] = (1,)
    left: NumberConfig = NumberConfig()
    right: NumberConfig = NumberConfig(value=2)
    total: SumConfig = SumConfig()
    report: ReportConfig = ReportConfig()


def _misbehave(stage: str) -> None:
    if os.environ.get("TOY_FAIL") == stage:
        raise ValueError(f"{stage} was told to fail")


def _die_once(stage: str, out: Output) -> None:
    told = os.environ.get("TOY_DIE")
    if told == "always" or (told == stage and not (out.scratch / "died").exists()):
        (out.scratch / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)


def _hold(step: int, out: Output) -> None:
    """Stay until a file ``go`` lies beside the checkpoint, or somebody ends the attempt; the next one is past this step."""
    if str(step) in os.environ.get("TOY_HOLD", "").split(","):
        wait_until((out.scratch / "go").exists, "leave to go on")


def let_go(root: Path) -> None:
    """Every number at work that TOY_HOLD keeps at a step goes on."""
    for path in root.glob("cache/scratch/*/*/step"):  # rglob fails where a folder goes while it looks.
        with suppress(FileNotFoundError):  # It ended meanwhile.
            (path.parent / "go").touch()


def number(config: NumberConfig, inputs: Inputs, out: Output) -> Result:
    """Count to ``steps``, resuming from the step noted in scratch."""
    del inputs
    checkpoint = out.scratch / "step"
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    out.recorder.rewind(first)
    logging.getLogger("toy").info("starting at step %d", first)
    warnings.warn("a warning of the toy", stacklevel=1)
    eaten = bytearray(os.urandom(1024) * 1024 * int(os.environ.get("TOY_EAT_MB", "0")))
    for step in range(first, config.steps):
        out.progress(step, config.steps, f"step {step}")
        out.recorder.log(step, {"value": config.value * (step + 1)})
        for part in range(step + 1):
            (out.path / f"part-{part}.bin").write_bytes(bytes(1000))
        write_atomic(checkpoint, str(step + 1), durable=False)
        time.sleep(float(os.environ.get("TOY_WAIT_S", "0")))
        _hold(step + 1, out)
        if step >= 1:
            _misbehave("number")
            _die_once("number", out)
    for part in range(config.steps):  # Resumed after its last step, it has written none of them.
        (out.path / f"part-{part}.bin").write_bytes(bytes(1000))
    (out.path / "value.json").write_text(json.dumps(config.value))
    del eaten
    return Result({"value": config.value, "resumed_from": first})


def total(config: SumConfig, inputs: Inputs, out: Output) -> Result:
    """Add the numbers."""
    _misbehave("total")
    _die_once("total", out)
    values = [json.loads((folder / "value.json").read_text()) for folder in inputs.group("number").values()]
    (out.path / "value.json").write_text(json.dumps(sum(values) * config.scale))
    return Result({"total": sum(values) * config.scale})


def report(config: ReportConfig, inputs: Inputs, out: Output) -> Result:
    """Leave a table and a page."""
    value = json.loads((inputs.path("total") / "value.json").read_text())
    columns = [
        {"name": "what", "unit": "", "align": "left"},
        {"name": "value", "unit": "apples", "align": "right"},
    ]
    table = {
        "title": config.title,
        "columns": columns,
        "rows": [["total", f"{value:.1f}"], ["nothing", None]],
    }
    (out.path / "table.json").write_text(json.dumps(table))
    (out.path / "index.html").write_text("<html></html>")
    return Result({})


STAGES: dict[str, Stage] = {"number": number, "total": total, "report": report}


def toy_tasks(config: ToyConfig) -> list[TaskSpec]:
    """left, right → total → report."""
    numbers = {"number.left": "left", "number.right": "right"}
    return [
        TaskSpec("left", "number", 1, config.left),
        TaskSpec("right", "number", 1, config.right),
        TaskSpec("total", "total", 1, config.total, numbers),
        TaskSpec("report", "report", 1, config.report, {"total": "total"}),
    ]


def twelve_tasks(config: ToyConfig) -> list[TaskSpec]:
    """Six numbers, three sums of two, two totals of all, a report."""
    numbers = [TaskSpec(f"n{i}", "number", 1, config.left.model_copy(update={"value": i})) for i in range(6)]
    sums = [
        TaskSpec(f"s{i}", "total", 1, SumConfig(), {"number.a": f"n{2 * i}", "number.b": f"n{2 * i + 1}"})
        for i in range(3)
    ]
    all_sums = {f"number.{s.id}": s.id for s in sums}
    return [
        *numbers,
        *sums,
        TaskSpec("total", "total", 1, config.total, all_sums),
        TaskSpec("double", "total", 1, SumConfig(scale=2.0), all_sums),
        TaskSpec("report", "report", 1, config.report, {"total": "total"}),
    ]


class ToyWorkload:
    """Experiments: toy, and twelve, which has as many tasks. Any dataset."""

    def resolve(self, request: Request, settings: Settings) -> tuple[ToyConfig, dict[str, str]]:
        del settings
        if request.experiment not in ("toy", "twelve"):
            raise PresetNotFound(f"no preset named '{request.experiment}'", hint="Available: toy, twelve.")
        named = Layer(
            "command line", {"dataset": request.dataset} | ({"seeds": request.seeds} if request.seeds else {})
        )
        shape = {"twelve": True} if request.experiment == "twelve" else {}
        preset = Layer("presets/experiments/toy.yaml", {"right": {"value": 20}} | shape)
        merged = merge([preset, named, *set_layers(request.sets)])
        return build(ToyConfig, merged), merged.origins

    def plan(self, config: Config) -> Sequence[TaskSpec]:
        assert isinstance(config, ToyConfig)
        return twelve_tasks(config) if config.twelve else toy_tasks(config)

    def stages(self) -> Mapping[str, Stage]:
        return STAGES


SCRIPT = Path(__file__)

if __name__ == "__main__":
    import toy_pipeline  # By its name, so that other processes can import the stages.

    from candor.cli.main import main

    main(workload=toy_pipeline.ToyWorkload())
