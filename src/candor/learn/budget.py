"""The largest node and edge budget whose training step fits in memory: the search, and the batches it tries.

The search knows nothing of models or devices: it asks a probe (learn.probing has the real one) whether a budget fits.

Legend: G graphs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from candor.errors import ConfigError

I64 = npt.NDArray[np.int64]

#: Quantile of edges per node that a budget's edges allow for: a batch of graphs below it is bound by its nodes.
_RATIO_QUANTILE = 0.95
#: Share of the memory this machine can give now that a search may use where no limit is named.
_FREE_SHARE = 0.8
#: cgroup v1 says "no limit" with a number near 2^63.
_NO_LIMIT = 1 << 60


@dataclass(frozen=True)
class Probed:
    """One budget that was tried. ``peak_bytes``: None where the process did not live to tell; ``why``: it did not fit."""

    max_nodes: int
    max_edges: int
    fits: bool
    peak_bytes: int | None = None
    why: str = ""


Probe = Callable[[int, int], Probed]


@dataclass(frozen=True)
class Range:
    """Where a budget can lie.

    Attributes:
        least_nodes, least_edges: of the largest graph, which must fit alone.
        most_nodes: of all graphs together; more would never be filled.
        edges_per_node: edges of a budget for each of its nodes.
    """

    least_nodes: int
    least_edges: int
    most_nodes: int
    edges_per_node: float

    @classmethod
    def of(cls, nodes_G: npt.NDArray[np.integer[Any]], edges_G: npt.NDArray[np.integer[Any]]) -> Range:
        """The range for these graphs. Raises ConfigError if there are none."""
        if not len(nodes_G):
            raise ConfigError(
                "no graph to draw batches from",
                place="budget",
                hint="Give training traffic, or shorter windows.",
            )
        ratio = float(np.quantile(edges_G / np.maximum(nodes_G, 1), _RATIO_QUANTILE))
        return cls(int(nodes_G.max()), max(int(edges_G.max()), 1), int(nodes_G.sum()), max(ratio, 1e-3))

    def edges(self, max_nodes: int) -> int:
        """The edge budget that goes with a node budget."""
        return max(self.least_edges, math.ceil(max_nodes * self.edges_per_node))


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        max_nodes, max_edges: the budget, safety taken off.
        largest: the largest budget that fitted.
        probes: every budget tried, in order.
        whole: all graphs fitted in one batch.
    """

    max_nodes: int
    max_edges: int
    largest: Probed
    probes: tuple[Probed, ...]
    whole: bool


def find_budget(probe: Probe, within: Range, *, safety: float = 0.9, tolerance: float = 0.05) -> Found:
    """Double the budget until one does not fit, then halve the gap (by ratio) until it is below ``tolerance``.

    ``safety`` of the largest budget that fitted is what is found: real batches fragment memory in other ways, and
    others may use the machine.

    Raises ConfigError if not even the largest graph alone fits.
    """
    probes: list[Probed] = []

    def fits(nodes: int) -> bool:
        probes.append(probe(nodes, within.edges(nodes)))
        return probes[-1].fits

    low, high = within.least_nodes, 0
    if not fits(low):
        raise ConfigError(
            f"a step on the largest graph alone ({within.least_nodes} nodes, {within.least_edges} edges) does not fit: "
            f"{probes[-1].why}",
            place="budget",
            hint="Allow more memory, use a smaller model or shorter windows.",
        )
    while low < within.most_nodes and not high:
        step = min(2 * low, within.most_nodes)
        low, high = (step, 0) if fits(step) else (low, step)
    while high and high / low > 1 + tolerance and high - low > 1:
        middle = min(max(round(math.sqrt(low * high)), low + 1), high - 1)
        low, high = (middle, high) if fits(middle) else (low, middle)
    largest = max((p for p in probes if p.fits), key=lambda p: p.max_nodes)
    nodes = max(within.least_nodes, int(safety * low))
    return Found(nodes, within.edges(nodes), largest, tuple(probes), whole=not high)


def fullest_batches(
    nodes_G: npt.NDArray[np.integer[Any]],
    edges_G: npt.NDArray[np.integer[Any]],
    max_nodes: int,
    max_edges: int,
    rng: np.random.Generator,
) -> list[I64]:
    """The batches of a budget that ask most of memory, each filled as far as the next graph allows.

    Drawn at random as training draws them; the largest graphs; those with most edges per node (they fill the edge
    budget); the smallest (most graphs, and what is kept per graph). No graph comes twice in a batch.
    """
    density_G = edges_G / np.maximum(nodes_G, 1)
    orders = [
        rng.permutation(len(nodes_G)),
        np.argsort(-nodes_G, kind="stable"),
        np.argsort(-density_G, kind="stable"),
        np.argsort(nodes_G, kind="stable"),
    ]
    batches: list[I64] = []
    for order in orders:
        within = (np.cumsum(nodes_G[order]) <= max_nodes) & (np.cumsum(edges_G[order]) <= max_edges)
        batch = np.sort(order[: max(int(within.sum()), 1)]).astype(np.int64)
        if not any(np.array_equal(batch, other) for other in batches):
            batches.append(batch)
    return batches


def memory_limit(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes a search may use on CPU: a share of what is free, and of what the process's cgroup (a SLURM job) allows."""
    available = [_available(proc / "meminfo"), *_cgroup_limits(proc / "self" / "cgroup", cgroups)]
    return int(_FREE_SHARE * min(available))


def _available(meminfo: Path) -> int:
    for line in meminfo.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise ConfigError(
        "this system does not tell how much memory is free", place=str(meminfo), hint="Name it: --memory-gb."
    )


def _cgroup_limits(own: Path, root: Path) -> list[int]:
    """Limits of the process's cgroup and of those above it (version 2: memory.max; version 1: memory/)."""
    limits = []
    for line in own.read_text().splitlines() if own.is_file() else []:
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        base, name = (root / "memory", "memory.limit_in_bytes") if kinds else (root, "memory.max")
        folder = base / path.lstrip("/")
        for place in (folder, *folder.parents):
            text = (place / name).read_text().strip() if (place / name).is_file() else "max"
            if text.isdigit() and int(text) < _NO_LIMIT:
                limits.append(int(text))
            if place == base:
                break
    return limits
