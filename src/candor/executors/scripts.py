"""Job scripts, as text. Pure: nothing here asks the machine or writes a file. What a scheduler calls things is in its Words."""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from candor.config.fingerprint import digest
from candor.executors.site import Request, SiteConfig
from candor.flow.attempt import JOB_VARIABLE
from candor.flow.task import STAGE_IN_VARIABLE


@dataclass(frozen=True)
class ScriptContext:
    """What all scripts of a run share.

    Attributes:
        run: folder of the run. plan: ``plan.json``. logs: folder of the jobs' output.
        roots: the three ``CANDOR_*_ROOT`` variables.
        candor: words that call candor on the node, after the environment is active.
        venv: virtual environment to activate; empty for none.
    """

    run: Path
    plan: Path
    logs: Path
    roots: Mapping[str, str]
    candor: Sequence[str] = ("candor",)
    venv: str = ""


@dataclass(frozen=True)
class Words(ABC):
    """What one scheduler calls things in a script.

    Attributes:
        scheduler: its name, as ``--on`` has it; also names the folder of scripts and logs in a run.
        element: shell for the index of the array's element that runs.
        cpus: shell for the processors of the job on its node.
        restarts: shell for how often the job went back to the queue.
        requeue: the command with which a job goes back to the queue; empty where users have none.
        first_node: command that prints the name of the first node.
        pairs: whether the elements of an array can wait for those of another one, each for its own.
        handed_over: what a job that submitted its own successor does to its exit code, ``rc``.
    """

    scheduler: str
    element: str
    cpus: str
    restarts: str
    requeue: str
    first_node: str
    pairs: bool
    handed_over: str

    @abstractmethod
    def directives(
        self,
        context: ScriptContext,
        site: SiteConfig,
        request: Request,
        head: str,
        *,
        array: Mapping[int, str] | None = None,
        nodes: int = 1,
        exclusive: bool = False,
    ) -> list[str]:
        """What the job asks for. Raises ConfigError if the scheduler cannot be asked for that."""

    @abstractmethod
    def identity(self, context: ScriptContext, site: SiteConfig, head: str) -> list[str]:
        """Lines that export the job's number and whatever else comes before any of the site's own."""

    @abstractmethod
    def warning(self, site: SiteConfig, request: Request) -> list[str]:
        """Lines that have USR1 sent to this script ahead of the time limit; none if the scheduler does that."""

    @abstractmethod
    def successor(self, head: str) -> str:
        """The command with which the element of an array queues its script anew from the folder of the logs."""

    @abstractmethod
    def everywhere(self, nodes: int) -> list[str]:
        """Lines in front of a command that is to run on each node."""


#: What the lines of ``activation`` call.
FAIL = 'fail() { echo "candor: $1" >&2; exit 78; }'


def job_name(run: Path, head: str) -> str:
    """Name of a job in the queue: unique among the jobs that wait or run, also where two roots have the same run."""
    return f"candor.{run.name}.{head}.{digest(str(run))[:6]}"


def clock(minutes: int) -> str:
    """``HH:MM:00``, as schedulers read it; more than a day is more hours."""
    return f"{minutes // 60:02d}:{minutes % 60:02d}:00"


def render(
    context: ScriptContext, site: SiteConfig, request: Request, elements: Mapping[int, str], *, words: Words
) -> str:
    """The script of one task, or of an array of tasks (index → task ID). It calls ``candor task run PLAN TASK``.

    Ahead of the time limit it lets the task write its checkpoint and goes back to the queue; where the site refuses
    that, it submits its own successor.
    """
    head = next(iter(elements.values()))
    return "\n".join(
        [
            "#!/bin/bash",
            f"# {_told(elements)} of run {context.run.name}. Written by `candor run --on {words.scheduler}`.",
            *words.directives(context, site, request, head, array=elements if len(elements) > 1 else None),
            "",
            *environment(context, site, words, head),
            *_which_task(elements, words),
            f"plan={quoted(context.plan)}",
            f"logs={quoted(context.logs)}",
            f"script=$logs/{shlex.quote(head + '.sh')}",
            *SAMPLER,
            *supervised('"${candor[@]}" task run "$plan" "$task"', warning=words.warning(site, request)),
            *_end(site, words),
            "",
        ]
    )


def environment(context: ScriptContext, site: SiteConfig, words: Words, head: str) -> list[str]:
    """Roots, modules and the virtual environment."""
    lines = [FAIL]
    lines += [
        f"export {name}={quoted(value)}" for name, value in sorted({**context.roots, **site.env}.items())
    ]
    return [
        *lines,
        *words.identity(context, site, head),
        *([f"export {STAGE_IN_VARIABLE}={site.stage_in}"] if site.stage_in != "none" else []),
        *activation(site, context.venv),
        f"candor=({' '.join(quoted(word) for word in context.candor)})",
    ]


def activation(site: SiteConfig, venv: str) -> list[str]:
    """Modules, the site's own lines, and the virtual environment; ``fail`` must be defined."""
    lines = ["type module >/dev/null 2>&1 || . /etc/profile"] if site.modules else []
    lines += [f"module load {m} || fail {shlex.quote(f'module {m} does not load')}" for m in site.modules]
    lines += site.setup
    if venv:
        lines.append(f". {expanded(venv + '/bin/activate')} || fail 'no virtual environment to activate'")
    return lines


def render_body(
    context: ScriptContext, site: SiteConfig, request: Request, head: str, body: str, *, words: Words
) -> str:
    """The script of a job that runs ``body`` in the environment and is no task of a plan."""
    return "\n".join(
        [
            "#!/bin/bash",
            *words.directives(context, site, request, head),
            "",
            *environment(context, site, words, head),
            body,
            "",
        ]
    )


def does_task(script: Path, task_id: str, number: str) -> bool:
    """Whether the script in the file ``script`` does a task: alone, or as element ``number``."""
    try:
        lines = {line.strip() for line in script.read_text(encoding="utf-8").splitlines()}
    except OSError:
        return False
    word = f"task={shlex.quote(task_id)}"
    return (f"{number}) {word};;" if number else word) in lines


def _which_task(elements: Mapping[int, str], words: Words) -> list[str]:
    if len(elements) == 1:
        return [f"task={shlex.quote(next(iter(elements.values())))}"]
    cases = [f"  {number}) task={shlex.quote(task_id)};;" for number, task_id in sorted(elements.items())]
    return [f"case {words.element} in", *cases, "  *) fail 'no task of that index';;", "esac"]


#: How busy GPUs and disks were, for the epilog, and that the job lives, for ``silence``; a loop of the shell, since a
#: process of its own would cost memory.
SAMPLER = [
    f"samples=$logs/job-${JOB_VARIABLE}.samples",
    "sample() {",
    "  head -n 1 /proc/stat",
    "  nvidia-smi --query-gpu=index,utilization.gpu,memory.used,memory.total --format=csv,noheader,nounits 2>/dev/null",
    "}",
    'sample >>"$samples"',
    '( trap : USR1; while sleep 15; do sample; done ) >>"$samples" & sampler=$!',
]


def supervised(
    command: str, *, warning: Sequence[str] = (), stop: str = "kill -TERM $child 2>/dev/null"
) -> list[str]:
    """Lines that run ``command`` and leave its exit code in ``rc``, and in ``warned`` whether the time limit came near.

    Args:
        warning: see ``Words.warning``. stop: what interrupts the command then.
    """
    return [
        "warned= woken= child=",
        # Near the time limit this script alone is warned. SIGTERM (preempted, cancelled) reaches the task by itself.
        f"trap 'warned=1 woken=1; {stop}' USR1",
        "trap 'woken=1' TERM",
        *warning,
        f"{command} & child=$!",
        f'[ -z "$warned" ] || {{ {stop}; }}',  # The warning came before there was anything to stop.
        "while :; do",
        "  woken=",
        '  wait "$child"; rc=$?',
        '  [ -n "$woken" ] || break',  # A signal interrupts the wait.
        "done",
        *(['kill "$timer" 2>/dev/null'] if warning else []),
    ]


#: The command ended because of the warning: 130 says that it heard; 143, that the signal ended it while it was still loading.
_STOPPED = '[ -n "$warned" ] && { [ "$rc" = 130 ] || [ "$rc" = 143 ]; }'


def again(site: SiteConfig, words: Words, successor: str) -> list[str]:
    """Lines that queue the job anew if it was interrupted near its time limit: requeued, or by ``successor``, a command."""
    requeue = f"if {words.requeue}; then sleep 120; else {successor}; fi"  # The requeue ends this script.
    return [
        f'if {_STOPPED} && [ "{words.restarts}" -lt {site.max_requeues} ]; then',
        f"  {requeue if site.requeue and words.requeue else successor}",
        "fi",
    ]


def _end(site: SiteConfig, words: Words) -> list[str]:
    resubmit = f'"${{candor[@]}}" cluster resubmit "$plan" "$task" "$script" --at-most {site.max_requeues}'
    resubmit += words.handed_over
    lines = [f"  {resubmit}"]
    if site.requeue and words.requeue:
        lines = [
            f'  if [ "{words.restarts}" -ge {site.max_requeues} ]; then',
            f"    echo 'candor: stopped after {site.max_requeues} continuations' >&2",
            f"  elif {words.requeue}; then",
            "    sleep 120",  # The requeue ends this script.
            "  else",
            f"    {resubmit}",
            "  fi",
        ]
    return [
        'kill "$sampler" 2>/dev/null',
        'sample >>"$samples"',
        f"if {_STOPPED}; then",
        *lines,
        "fi",
        '"${candor[@]}" cluster epilog "$plan" "$task" --job "$' + JOB_VARIABLE + '"',
        "exit $rc",
    ]


def _told(elements: Mapping[int, str]) -> str:
    head, more = next(iter(elements.values())), len(elements) - 1
    return f"{head} and {more} more" if more else head


def quoted(value: object) -> str:
    """One word of shell."""
    return shlex.quote(str(value))


def expanded(path: str) -> str:
    """One word of shell in which the node replaces ``~`` and ``$VARIABLES``."""
    path = "$HOME" + path[1:] if path.startswith("~/") else path
    return (
        '"' + path.replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`").replace("$(", "\\$(") + '"'
    )
