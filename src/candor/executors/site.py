"""A cluster as a preset describes it: what to ask for, and how a job finds its environment."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from candor.config.base import Config
from candor.config.layers import Layer, build, merge, set_layers
from candor.config.presets import load_preset
from candor.errors import ConfigError
from candor.flow.plan import PlannedTask

#: Values of directives: no space, quote or line end can smuggle in another one.
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.,:=@+&|%/-]+$")]
#: One line of shell.
Line = Annotated[str, Field(pattern=r"^[^\n\r]+$")]
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSW|PASSPHRASE|API_?KEY|ACCESS_?KEY|CREDENTIAL|PRIVATE_?KEY|(^|_)KEY$", re.IGNORECASE
)


class Request(Config):
    """What a job asks for; a field that is not stated is left to the layer below, in the end to the site's default."""

    account: Word | None = None
    partition: Word | None = None
    qos: Word | None = None
    constraint: Word | None = None
    gpus: Annotated[int, Field(ge=0)] | None = None
    #: As the site calls it, e.g. ``a100``.
    gpu_type: Word | None = None
    cpus: Annotated[int, Field(gt=0)] | None = None
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    time_limit_min: Annotated[int, Field(gt=0)] | None = None


class SiteConfig(Config):
    """``presets/sites/<name>.yaml``; a user's own lies in ``<data root>/presets/sites``.

    Attributes:
        extends: preset whose values this one changes.
        scheduler: what the site runs; None: whatever ``--on`` says.
        note: what a person should know; shown by ``--dry-run``.
        needs_account: refuse to submit without an account.
        max_jobs: so many jobs of one user may wait or run at a time; a plan of more is refused before its first job.
        defaults: for every task. gpu: on top of them, for tasks that ask for GPUs.
        stages: on top of both, for a stage or for a single task, by name.
        gpu_directive: how the site wants GPUs to be asked for.
        modules: loaded in this order. setup: shell lines after them.
        venv: folder of the virtual environment; the one that submits by default. ``$VARIABLES`` and ``~`` are left to the node.
        env: variables for every job; no secrets. pass_env: variables handed over from the shell that submits, by name only.
        stage_in: where tasks read from. ``scratch``: copies of raw data below the cache root; ``tmpdir``: copies on the
            node's own disk, of input artifacts too.
        array_limit: at most this many elements of one array run at a time.
        requeue: whether users may requeue their jobs; if not, a job submits its own successor.
        warning_s: how long before the time limit a job is told to write its checkpoint and go back to the queue.
        max_requeues: a task that has not finished after so many continuations stays stopped.
        extra: further directives, e.g. ``--exclusive``.
        on_stop: what Ctrl-C does to the jobs of the run that is waited for. ``leave``: a place in the queue took hours to get.
        poll_s: who waits looks at the queue this often.
        silent_min: a running job that has given no sign of life for so long, on a node that SLURM calls down, unresponsive
            or idle, is submitted anew by whoever waits for it; 0: never.
    """

    extends: str | None = None
    scheduler: Literal["slurm", "pbs"] | None = None
    note: str = ""
    needs_account: bool = False
    max_jobs: Annotated[int, Field(gt=0)] | None = None
    defaults: Request = Request()
    gpu: Request = Request()
    stages: dict[str, Request] = Field(default_factory=dict)
    gpu_directive: Literal["gpus-per-node", "gres", "gpus"] = "gpus-per-node"
    modules: tuple[Word, ...] = ()
    setup: tuple[Line, ...] = ()
    venv: Line | None = None
    env: dict[str, Line] = Field(default_factory=dict)
    pass_env: tuple[Word, ...] = ("HOME", "USER", "LANG", "PATH")
    stage_in: Literal["none", "scratch", "tmpdir"] = "none"
    array_limit: Annotated[int, Field(gt=0)] = 20
    requeue: bool = True
    warning_s: Annotated[int, Field(ge=5)] = 120
    max_requeues: Annotated[int, Field(ge=0)] = 50
    extra: tuple[Line, ...] = ()
    on_stop: Literal["leave", "cancel"] = "leave"
    poll_s: Annotated[float, Field(gt=0)] = 10.0
    silent_min: Annotated[float, Field(ge=0)] = 5.0

    @field_validator("env")
    @classmethod
    def _no_secret(cls, env: dict[str, str]) -> dict[str, str]:
        for name in env:
            if not _VARIABLE.fullmatch(name):
                raise ValueError(f"'{name}' is no name of a variable")
            if SECRET_NAME.search(name):
                raise ValueError(
                    f"'{name}' looks like a secret, and scripts are readable; name it in pass_env, or keep it in a file of your home"
                )
        return env

    @field_validator("extra")
    @classmethod
    def _directives(cls, extra: tuple[str, ...]) -> tuple[str, ...]:
        for line in extra:
            if not line.startswith("-"):
                raise ValueError(f"'{line}' is no directive; write it as --name=value")
        return extra

    def request(self, task: PlannedTask) -> Request:
        """What ``task`` asks for: defaults, its own resources, the site's word on its stage, then on the task itself."""
        own = task.resources
        stated = {
            # A share of a GPU: schedulers hand out whole ones.
            "gpus": math.ceil(own.gpus) or None,
            # One processor is what Resources says of any task; the site's default knows better.
            "cpus": None if own.cpus == 1 and self.defaults.cpus else own.cpus,
            "memory_gb": own.memory_gb,
            "time_limit_min": own.time_limit_min,
        }
        return self.named(task.stage, task.id, own=stated)

    def named(self, *names: str, own: Mapping[str, object] | None = None) -> Request:
        """Defaults, what a task asks for itself, and what ``stages`` says of ``names``, the last one strongest."""
        told = [self.stages[name].model_dump(exclude_none=True) for name in names if name in self.stages]
        layers = [self.defaults.model_dump(exclude_none=True), _stated(own or {}), *told]
        merged = {key: value for layer in layers for key, value in layer.items()}
        if merged.get("gpus"):
            general = {**layers[0], **self.gpu.model_dump(exclude_none=True)}
            merged = {key: value for layer in (general, *layers[1:]) for key, value in layer.items()}
        return Request(**{**merged, "gpus": merged.get("gpus") or None})


def _stated(values: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in values.items() if value is not None}


def load_site(name: str, *, data_root: Path | None = None, sets: Iterable[str] = ()) -> SiteConfig:
    """The site ``name`` with changes ``a.b=value``.

    Raises:
        PresetNotFound: no such site.
        ConfigError: a value does not fit, or presets extend each other in a circle.
    """
    chain: list[Layer] = []
    seen: list[str] = []
    following: str | None = name
    while following:
        if following in seen:
            raise ConfigError(
                f"sites extend each other: {' → '.join([*seen, following])}", place="presets/sites"
            )
        seen.append(following)
        layer = load_preset("sites", following, data_root=data_root)
        chain.insert(0, layer)
        above = layer.values.get("extends")
        following = str(above) if above else None
    merged = merge([*chain, *set_layers(sets)])
    return build(SiteConfig, merged)


def check_submittable(name: str, site: SiteConfig, on: str = "") -> None:
    """Raises ConfigError if ``on``, the scheduler asked for, is not the site's, or an account is missing."""
    if on and site.scheduler not in (on, None):
        raise ConfigError(
            f"site '{name}' runs {site.scheduler.upper()}",
            place=f"presets/sites/{name}",
            hint=f"Say `--on {site.scheduler} --site {name}`.",
        )
    if site.needs_account and not site.defaults.account:
        raise ConfigError(
            f"site '{name}' charges an account, and none is named",
            place=f"presets/sites/{name}",
            hint="Add `--site-set defaults.account=NAME`, or a preset of your own that extends it.",
        )


def secrets_in(text: str, environment: Mapping[str, str]) -> list[str]:
    """Names of variables that look secret and whose value stands in ``text``."""
    return sorted(
        name
        for name, value in environment.items()
        if SECRET_NAME.search(name) and len(value) >= 8 and (value in text or _inside_quotes(value) in text)
    )


def _inside_quotes(value: str) -> str:
    """As ``shlex.quote`` writes it within a word."""
    return value.replace("'", "'\"'\"'")


def refuse_secrets(script: str, environment: Mapping[str, str], of: str = "") -> None:
    """Raise ConfigError if a script, ``of`` a task, would hold the value of a secret of this environment."""
    leaked = secrets_in(script, environment)
    if leaked:
        raise ConfigError(
            f"the script{f' of {of}' if of else ''} would hold the value of {', '.join(leaked)}",
            place="site preset",
            hint="Scripts are readable by others; name the variable in pass_env instead.",
        )
