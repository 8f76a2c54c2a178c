"""The identity of a config: its science as canonical JSON, hashed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Set
from typing import Any

from pydantic import BaseModel

from candor.config.fields import is_runtime, is_unsaid
from candor.errors import ConfigError


def science(config: BaseModel) -> dict[str, Any]:
    """JSON of ``config`` without its Runtime fields, at any depth (models, lists, mappings, unions).

    Fields marked ``Later`` are left out where they have their default.
    """
    pruned = _prune(config, config.model_dump(mode="json"))
    assert isinstance(pruned, dict)
    return pruned


def _prune(value: Any, dumped: Any) -> Any:
    """Walk a value beside its JSON dump; the value knows the models, the dump knows how leaves are written."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        own = {n: getattr(value, n) for n, f in fields.items() if not is_runtime(f)}
        return {n: _prune(v, dumped[n]) for n, v in own.items() if not is_unsaid(fields[n], v)}
    if isinstance(value, Mapping):
        # The dump turns keys into text and keeps their order.
        return {key: _prune(v, d) for v, (key, d) in zip(value.values(), dumped.items(), strict=True)}
    if isinstance(value, list | tuple):
        return [_prune(v, d) for v, d in zip(value, dumped, strict=True)]
    if isinstance(value, Set):
        # Sets have no order of their own; text hashing differs between processes.
        return sorted((_prune(v, d) for v, d in zip(value, dumped, strict=True)), key=canonical)
    return dumped


def canonical(obj: Any) -> str:
    """JSON with sorted keys and no whitespace; floats in their shortest exact form.

    Raises ConfigError for NaN, infinities and anything JSON has no word for.
    """
    try:
        return json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError) as e:
        raise ConfigError(f"a value cannot be part of a fingerprint: {e}") from e


def digest(obj: Any) -> str:
    """SHA-256 (64 hex characters) of the canonical JSON of ``obj``."""
    return hashlib.sha256(canonical(obj).encode()).hexdigest()
