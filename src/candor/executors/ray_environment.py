"""Which variables of this process what runs on Ray sees too."""

from __future__ import annotations

from collections.abc import Mapping

from candor.flow.process import CODE_VERSION, code_version

_FORWARD = ("CANDOR_", "WANDB_")
_SECRETS = ("KEY", "TOKEN", "SECRET", "PASSWORD")


def forwarded(env: Mapping[str, str]) -> tuple[str, ...]:
    """Prefixes of variables that travel: Candor's own, W&B's, and those that ``CANDOR_FORWARD`` names (``HF_,MY_``)."""
    named = (prefix.strip() for prefix in env.get("CANDOR_FORWARD", "").split(","))
    return (*_FORWARD, *filter(None, named))


def travelling(env: Mapping[str, str], prefixes: tuple[str, ...]) -> dict[str, str]:
    """Variables of ``env`` that travel, secrets apart: what goes to other nodes is not encrypted."""
    ours = {n: value for n, value in env.items() if n.startswith(prefixes) and not n.endswith(_SECRETS)}
    return ours | {CODE_VERSION: code_version()}  # A node may have the code without its repository.
