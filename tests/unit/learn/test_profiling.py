"""Where the time of a training step goes."""

from __future__ import annotations

import gzip
import json
import time
from itertools import count
from pathlib import Path

import pytest
import torch
from tiny_world import TinyWorld
from torch import Tensor, nn
from training_kit import FAST, gat_training, train, vgae_training

from candor.ids.config import DistillationConfig, GatConfig, TrainingConfig
from candor.ids.models.gat import Gat
from candor.ids.models.training import WindowTeacher
from candor.learn.fit import PROFILE, run_steps, watched_modules
from candor.learn.profiling import (
    PARTS,
    TRACED,
    WARM_UP,
    DeviceClock,
    Part,
    StepProfile,
    StepProfiler,
    Stopwatch,
    busy_share,
    passes_messages,
)

PROFILED = FAST.model_copy(update={"profile": True, "max_epochs": 2})


class Ticks:
    """A clock on which every look takes a second."""

    def __init__(self) -> None:
        self.ticks = count()

    def mark(self) -> int:
        return next(self.ticks)

    def between(self, first: int, second: int) -> float:
        return second - first


def test_every_moment_is_charged_to_the_innermost_part_that_is_open() -> None:
    watch = Stopwatch(Ticks())
    watch.start()
    watch.enter("other compute")
    watch.enter("message passing")
    watch.leave("message passing")
    watch.leave("other compute")
    watch.enter("optimizer")
    watch.stop()
    assert watch.seconds() == {
        "message passing": 1,
        "other compute": 2,
        "optimizer": 1,
        "loading": 0,
        "idle": 2,
    }


def test_a_part_that_is_not_the_innermost_is_not_closed_and_nothing_counts_before_the_start() -> None:
    watch = Stopwatch(Ticks())
    watch.enter("loading")
    watch.leave("optimizer")
    watch.start()
    watch.leave("loading")
    watch.stop()
    assert watch.seconds()["loading"] == 1
    assert watch.seconds()["idle"] == 1


class _Slow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        time.sleep(0.004)
        return x * 1

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:  # type: ignore[override]
        time.sleep(0.008)
        return grad


class SlowConvolution(nn.Module):
    """4 ms forward, 8 ms backward."""

    passes_messages = True

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = [inner]  # Not a submodule: its own hooks would hide this one's.

    def forward(self, x: Tensor, *rest: Tensor) -> Tensor:
        return _Slow.apply(x)


@pytest.mark.parametrize(("said", "part"), [(True, "message passing"), (False, "other compute")])
def test_a_convolution_is_charged_forward_and_backward(
    world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bool, part: Part
) -> None:
    monkeypatch.setattr(SlowConvolution, "passes_messages", said)
    module = gat_training(world)()
    convs = module.model.convs.convs
    for k in range(len(convs)):
        convs[k] = SlowConvolution(convs[k])
    loader = world.loader("train", shuffle=True)
    profiler = StepProfiler(loader, tmp_path, watched_modules, timed=4)
    run_steps(module, loader, FAST, profiler)
    assert profiler.result is not None
    assert profiler.result.seconds[part] >= profiler.result.steps * 2 * 0.012
    if not said:
        assert profiler.result.seconds["message passing"] == 0


def test_profiling_changes_nothing_about_the_training(world: TinyWorld, tmp_path: Path) -> None:
    once = PROFILED.model_copy(update={"profile": False})
    plain = train(gat_training(world, once), world, tmp_path / "plain", once)
    watched = train(gat_training(world, PROFILED), world, tmp_path / "watched", PROFILED)
    assert watched[2].curve("train_loss") == plain[2].curve("train_loss")
    assert watched[1].best_loss == plain[1].best_loss
    assert plain[1].profile is None
    for name, weight in plain[0].state_dict().items():
        assert weight.equal(watched[0].state_dict()[name])


def test_a_training_leaves_a_table_and_a_trace_beside_its_weights(world: TinyWorld, tmp_path: Path) -> None:
    _, report, _ = train(vgae_training(world, PROFILED), world, tmp_path, PROFILED, only=0)
    assert report.profile is not None
    table = json.loads((tmp_path / "out" / PROFILE / "steps.json").read_text())
    assert table["steps"] == report.profile.steps > 0
    assert sum(table["shares"].values()) == pytest.approx(1, abs=1e-3)
    assert min(table["seconds"][part] for part in ("message passing", "other compute", "optimizer")) > 0
    assert table["nodes"] > table["steps"]


def test_the_trace_names_the_parts(world: TinyWorld, tmp_path: Path) -> None:
    loader = world.loader("train", shuffle=True)
    profiler = StepProfiler(loader, tmp_path, watched_modules, timed=2)
    run_steps(gat_training(world)(), loader, FAST, profiler)
    with gzip.open(tmp_path / "trace.json.gz") as file:
        events = json.load(file)["traceEvents"]
    names = [e["name"] for e in events if str(e.get("name", "")).startswith("candor: ")]
    assert set(names) == {f"candor: {part}" for part in PARTS if part != "idle"}
    assert names.count("candor: optimizer") == TRACED
    assert names.count("candor: message passing") == TRACED * 2 * 2


def test_a_short_training_is_timed_as_far_as_it_goes(world: TinyWorld, tmp_path: Path) -> None:
    once = PROFILED.model_copy(update={"max_epochs": 1})
    loader = world.loader("train", shuffle=True)
    steps = len(loader)
    _, report, _ = train(gat_training(world, once), world, tmp_path, once)
    assert report.profile is not None
    assert 0 < report.profile.steps == steps - WARM_UP


def test_a_teachers_convolutions_are_message_passing_too(world: TinyWorld) -> None:
    config = GatConfig.model_validate({"hidden": 16, "layers": 3})
    taught = gat_training(world, teacher=WindowTeacher(Gat(config, world.inputs()), DistillationConfig()))()
    alone = gat_training(world)()
    found = [sum(passes_messages(m) for m in watched_modules(module)) for module in (alone, taught)]
    assert found == [2, 5]


def test_nothing_watches_once_the_profile_is_there(world: TinyWorld, tmp_path: Path) -> None:
    loader, module = world.loader("train", shuffle=True), gat_training(world)()
    run_steps(module, loader, FAST, StepProfiler(loader, tmp_path, watched_modules, timed=1))
    hooks = [h for m in module.modules() for h in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks)]
    assert not any(hooks)
    with loader.waiting() as nothing:
        assert nothing is None


def test_asking_for_a_profile_changes_no_key() -> None:
    from candor.config.fingerprint import science

    assert science(TrainingConfig(profile=True)) == science(TrainingConfig())


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([], 0.0),
        ([(0, 10)], 1.0),
        ([(0, 2), (8, 10)], 0.4),
        ([(5, 6), (0, 4), (1, 3), (9, 10)], 0.6),
    ],
)
def test_the_busy_share_counts_overlaps_once(intervals: list[tuple[float, float]], expected: float) -> None:
    assert busy_share(intervals) == pytest.approx(expected)


@pytest.mark.parametrize(("share", "met"), [(0.31, True), (0.30, False), (0.0, False)])
def test_the_gate_is_a_share_above_thirty_percent(share: float, met: bool) -> None:
    seconds = dict.fromkeys(PARTS, 0.0) | {"message passing": share, "other compute": 1 - share}
    assert StepProfile(1, seconds, 1, 1, "cpu").meets_gate == met


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_a_part_is_charged_for_what_the_device_does_in_it() -> None:
    watch = Stopwatch(DeviceClock())
    x = torch.ones(4000, 4000, device="cuda")
    watch.start()
    watch.enter("other compute")
    for _ in range(50):
        x = (x @ x).clamp(max=1)
    watch.leave("other compute")
    watch.enter("optimizer")
    x = x + 1
    watch.leave("optimizer")
    watch.stop()
    assert watch.seconds()["other compute"] > 10 * watch.seconds()["optimizer"] > 0
