"""Where a training step's time goes: message passing, other compute, optimizer, loading, idle. And a Chrome trace.

The first steps warm up, the next are timed by a stopwatch at the borders of the parts, the last are traced by
torch.profiler, which slows small operations too much to time anything by. On CUDA the stopwatch's marks are events in
the stream, so a part is charged for what the device does in it, not for how long the host took to ask.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import lightning as L
import torch
from torch import nn
from torch_geometric.nn import MessagePassing

from candor.learn.loading import GraphLoader

Part = Literal["message passing", "other compute", "optimizer", "loading", "idle"]
PARTS: tuple[Part, ...] = get_args(Part)
#: docs/batches-and-steps.md: cuGraph's kernels speed up message passing alone, so below this share of a step they cannot pay.
CUGRAPH_GATE = 0.30
WARM_UP, TIMED, TRACED = 3, 30, 5
TABLE, TRACE = "steps.json", "trace.json.gz"


@dataclass(frozen=True)
class StepProfile:
    """Where the time of some training steps went.

    Attributes:
        steps: timed. seconds: of all of them, by part; ``idle`` is what lies between parts (Lightning, logging).
        nodes, edges: of the timed batches together.
        device: type. device_idle: share of the traced steps in which no kernel ran; None on CPU.
    """

    steps: int
    seconds: dict[Part, float]
    nodes: int
    edges: int
    device: str
    device_idle: float | None = None

    def share(self, part: Part) -> float:
        """Share of the step's time."""
        total = sum(self.seconds.values())
        return self.seconds[part] / total if total else 0.0

    @property
    def meets_gate(self) -> bool:
        """Message passing takes so large a share that cuGraph's kernels could pay."""
        return self.share("message passing") > CUGRAPH_GATE

    def write(self, folder: Path) -> None:
        """Write ``steps.json``."""
        shares = {part: round(self.share(part), 4) for part in PARTS}
        facts = {"shares": shares, "gate": CUGRAPH_GATE, "meets_gate": self.meets_gate}
        (folder / TABLE).write_text(json.dumps({**asdict(self), **facts}, indent=2))


class Clock(Protocol):
    """Marks moments, and tells the seconds between two of them once all are past."""

    def mark(self) -> Any: ...
    def between(self, first: Any, second: Any) -> float: ...


class HostClock:
    """The wall clock."""

    def mark(self) -> float:
        return time.perf_counter()

    def between(self, first: float, second: float) -> float:
        return second - first


class DeviceClock:
    """Events in the current CUDA stream: a moment is when the device reaches it."""

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def between(self, first: torch.cuda.Event, second: torch.cuda.Event) -> float:
        second.synchronize()
        return float(first.elapsed_time(second)) / 1e3


class Stopwatch:
    """Charges every moment to the innermost part that is open, or to ``idle``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: list[Part] = []
        self._marks: list[tuple[Part, Any]] = []
        self.running = False

    def start(self) -> None:
        """Begin to charge; parts that are open stay open."""
        self.running = True
        self._mark()

    def stop(self) -> None:
        """Charge up to here, and no further."""
        self._mark()
        self.running = False

    def enter(self, part: Part) -> None:
        """Open a part inside the one that is open."""
        self._open.append(part)
        self._mark()

    def leave(self, part: Part) -> None:
        """Close a part, if it is the innermost one."""
        if self._open and self._open[-1] == part:
            self._open.pop()
            self._mark()

    def seconds(self) -> dict[Part, float]:
        """What each part was charged."""
        total: dict[Part, float] = dict.fromkeys(PARTS, 0.0)
        for (part, begin), (_, end) in zip(self._marks[:-1], self._marks[1:], strict=True):
            total[part] += self._clock.between(begin, end)
        return total

    def _mark(self) -> None:
        if self.running:
            self._marks.append((self._open[-1] if self._open else "idle", self._clock.mark()))


class StepProfiler(L.Callback):
    """Lightning callback that profiles the first steps of a training and writes ``steps.json`` and ``trace.json.gz``.

    Args:
        loader: whose waits are loading. folder: where to write; made when there is something to.
        watched: the modules of the model and of its teacher; convolutions among them are the message passing.
        timed: steps to time.
    """

    def __init__(
        self,
        loader: GraphLoader,
        folder: Path,
        watched: Callable[[L.LightningModule], Iterator[nn.Module]],
        *,
        timed: int = TIMED,
    ) -> None:
        self._loader, self._folder, self._watched, self._timed = loader, folder, watched, timed
        self._watch = Stopwatch(HostClock())
        self._ranges: list[Any] = []
        self._hooks: list[Any] = []
        self._tracer: Any = None
        self._seen = self._counted = self._nodes = self._edges = 0
        self._device = "cpu"
        self._device_idle: float | None = None
        self.result: StepProfile | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._device = pl_module.device.type
        if self._device == "cuda":
            self._watch = Stopwatch(DeviceClock())
        self._loader.waiting = self._loading
        for module in self._watched(pl_module):
            if passes_messages(module):
                self._hooks += self._hook(module)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._enter("other compute")

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any
    ) -> None:
        self._leave("other compute")
        self._enter("optimizer")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._leave("optimizer")
        self._leave("other compute")  # Where gradients accumulate, not every batch has an optimizer step.
        self._seen += 1
        if self._watch.running:
            self._counted, self._nodes = self._counted + 1, self._nodes + batch.num_nodes
            self._edges += batch.num_edges
        if self._seen == WARM_UP:
            self._watch.start()
        elif self._seen == WARM_UP + self._timed:
            self._watch.stop()
            self._begin_trace()
        elif self._seen == WARM_UP + self._timed + TRACED:
            self._finish()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._finish()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._finish()

    def _hook(self, module: nn.Module) -> list[Any]:
        def begin(*_: Any) -> None:
            self._enter("message passing")

        def end(*_: Any) -> None:
            self._leave("message passing")

        return [
            module.register_forward_pre_hook(begin),
            module.register_forward_hook(end),
            module.register_full_backward_pre_hook(begin),
            module.register_full_backward_hook(end),
        ]

    @contextmanager
    def _loading(self) -> Iterator[None]:
        self._enter("loading")
        yield
        self._leave("loading")

    def _enter(self, part: Part) -> None:
        self._watch.enter(part)
        if self._tracer is not None:
            named: Any = torch.profiler.record_function(f"candor: {part}")
            named.__enter__()
            self._ranges.append(named)

    def _leave(self, part: Part) -> None:
        self._watch.leave(part)
        if self._ranges and self._ranges[-1].name == f"candor: {part}":
            self._ranges.pop().__exit__(None, None, None)

    def _begin_trace(self) -> None:
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # It tells stderr when it starts and stops.
        kinds = [torch.profiler.ProfilerActivity.CPU]
        if self._device == "cuda":
            kinds.append(torch.profiler.ProfilerActivity.CUDA)
        self._tracer = torch.profiler.profile(activities=kinds)
        self._tracer.__enter__()

    def _finish(self) -> None:
        """Write what there is, once; the training goes on unwatched."""
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._loader.waiting = [], nullcontext
        if self._watch.running:
            self._watch.stop()
        if not self._counted or self.result is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._tracer is not None:
            while self._ranges:
                self._ranges.pop().__exit__(None, None, None)
            self._tracer.__exit__(None, None, None)
            self._tracer.export_chrome_trace(str(self._folder / TRACE))
            if self._device == "cuda":
                self._device_idle = 1 - busy_share(_kernels(self._tracer))
            self._tracer = None
        self.result = StepProfile(
            self._counted, self._watch.seconds(), self._nodes, self._edges, self._device, self._device_idle
        )
        self.result.write(self._folder)


def passes_messages(module: nn.Module) -> bool:
    """The module is a convolution: PyG's, or one that says so."""
    return isinstance(module, MessagePassing) or getattr(module, "passes_messages", False) is True


def busy_share(intervals: list[tuple[float, float]]) -> float:
    """Share of the time from the first begin to the last end that at least one interval covers; 0 without any."""
    covered, until = 0.0, -float("inf")
    for begin, end in sorted(intervals):
        covered += max(0.0, end - max(begin, until))
        until = max(until, end)
    return covered / (until - min(intervals)[0]) if intervals and until > min(intervals)[0] else 0.0


def _kernels(tracer: Any) -> list[tuple[float, float]]:
    """Begin and end of everything the device did."""
    on_device = [e for e in tracer.events() or [] if e.device_type.name == "CUDA"]
    return [(e.time_range.start, e.time_range.end) for e in on_device if not e.name.startswith("candor: ")]
