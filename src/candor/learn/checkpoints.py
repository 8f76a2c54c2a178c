"""Weights and resumable checkpoints without pickle: tensors in safetensors, everything else in its JSON header.

A Lightning checkpoint is a tree of dicts, lists, tensors and scalars. :func:`save_tree` flattens it: every tensor gets
a name in the safetensors payload, the rest of the tree is kept as JSON in the metadata, with a reference in each
tensor's place. Writes are atomic (temporary file, fsync, rename), so a kill leaves the previous checkpoint whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from candor.errors import ArtifactCorrupted, ArtifactMissing

_TENSOR, _DICT, _TUPLE = "$tensor", "$dict", "$tuple"


def _flatten(node: Any, tensors: dict[str, Tensor], at: str) -> Any:
    if isinstance(node, Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = node.detach().cpu().contiguous().clone()
        return {_TENSOR: name}
    if isinstance(node, Mapping):
        # JSON keys are strings; optimizer states are keyed by integers.
        return {
            _DICT: [[_flatten(k, tensors, at), _flatten(v, tensors, f"{at}.{k}")] for k, v in node.items()]
        }
    if isinstance(node, tuple):
        return {_TUPLE: [_flatten(v, tensors, f"{at}[{i}]") for i, v in enumerate(node)]}
    if isinstance(node, list):
        return [_flatten(v, tensors, f"{at}[{i}]") for i, v in enumerate(node)]
    if node is None or isinstance(node, bool | int | float | str):
        return node
    raise TypeError(f"a checkpoint cannot hold {type(node).__name__} at '{at}'")


def _unflatten(node: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(node, list):
        return [_unflatten(v, tensors) for v in node]
    if not isinstance(node, dict):
        return node
    if _TENSOR in node:
        return tensors[node[_TENSOR]]
    if _TUPLE in node:
        return tuple(_unflatten(v, tensors) for v in node[_TUPLE])
    return {_unflatten(k, tensors): _unflatten(v, tensors) for k, v in node[_DICT]}


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(tensors, temporary, metadata=metadata)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def save_tree(path: Path, tree: Mapping[str, Any]) -> None:
    """Write a tree of dicts, lists, tuples, tensors and scalars to ``path``, atomically.

    Raises:
        TypeError: a leaf is of another type; the message names where.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = _flatten(tree, tensors, "checkpoint")
    _write(path, tensors, {"tree": json.dumps(skeleton)})


def load_tree(path: Path) -> dict[str, Any]:
    """Read what :func:`save_tree` wrote. Raises ArtifactMissing or ArtifactCorrupted."""
    tensors, metadata = _read(path)
    tree: dict[str, Any] = _unflatten(json.loads(metadata["tree"]), tensors)
    return tree


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise ArtifactMissing(f"no file '{path.name}'", place=str(path.parent))
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ArtifactCorrupted(
            f"'{path.name}' is not readable safetensors ({error})",
            place=str(path.parent),
            hint="Remove it and run again.",
        ) from error


def save_weights(path: Path, module: nn.Module, **metadata: str) -> None:
    """Parameters and buffers of ``module``, and strings that describe it."""
    _write(path, {k: v.detach().cpu().contiguous().clone() for k, v in module.state_dict().items()}, metadata)


def load_weights(path: Path, module: nn.Module) -> None:
    """Load what :func:`save_weights` wrote; every name and shape must match. Raises ArtifactCorrupted."""
    tensors, _ = _read(path)
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise ArtifactCorrupted(
            f"the weights do not fit the model: {error}",
            place=str(path),
            hint="Was the config changed by hand?",
        ) from error


def count_parameters(module: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def seed_everything(*parts: int) -> None:
    """Seed torch from integers; the same parts give the same stream, so an epoch needs no saved generator state."""
    state = 0
    for part in parts:
        state = (state * 1_000_003 + part + 1) % (2**63 - 1)
    torch.manual_seed(state)
