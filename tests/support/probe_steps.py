"""Steps of a made-up training for probes: they run in another process, which imports this module."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import torch


def allocating(bytes_per_node: int) -> Callable[[int, int], None]:
    """Steps that touch so much memory for each node."""

    def steps(max_nodes: int, max_edges: int) -> None:
        held = torch.ones(max_nodes * bytes_per_node, dtype=torch.uint8)
        held.add_(1)

    return steps


def failing(at_nodes: int) -> Callable[[int, int], None]:
    """Steps with a bug that shows from so many nodes on."""

    def steps(max_nodes: int, max_edges: int) -> None:
        if max_nodes >= at_nodes:
            raise ValueError("shapes do not match")

    return steps


def killed(at_nodes: int) -> Callable[[int, int], None]:
    """Steps whose process the kernel kills from so many nodes on."""

    def steps(max_nodes: int, max_edges: int) -> None:
        if max_nodes >= at_nodes:
            os.kill(os.getpid(), signal.SIGKILL)

    return steps


def crashing(at_nodes: int) -> Callable[[int, int], None]:
    """Steps whose process crashes from so many nodes on."""

    def steps(max_nodes: int, max_edges: int) -> None:
        if max_nodes >= at_nodes:
            os.abort()

    return steps


def broken_before_the_first_step(_: int) -> Callable[[int, int], None]:
    raise KeyError("no such model")


def allocating_on_cuda(bytes_per_node: int) -> Callable[[int, int], None]:
    """As ``allocating``, on the device."""

    def steps(max_nodes: int, max_edges: int) -> None:
        torch.ones(max_nodes * bytes_per_node, dtype=torch.uint8, device="cuda").add_(1)

    return steps
