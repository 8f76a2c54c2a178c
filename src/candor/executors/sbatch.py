"""Job scripts for SLURM, as text. Pure: nothing here asks the machine or writes a file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from candor.config.fingerprint import digest
from candor.executors.site import Request, SiteConfig
from candor.flow.task import JOB_VARIABLE, STAGE_IN_VARIABLE


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


#: What the lines of ``activation`` call.
FAIL = 'fail() { echo "candor: $1" >&2; exit 78; }'


def job_name(run: Path, head: str) -> str:
    """Name of a job in the queue: unique among the jobs that wait or run, also where two roots have the same run."""
    return f"candor.{run.name}.{head}.{digest(str(run))[:6]}"


def render(context: ScriptContext, site: SiteConfig, request: Request, elements: Mapping[int, str]) -> str:
    """The script of one task, or of an array of tasks (index → task ID). It calls ``candor task run PLAN TASK``.

    Ahead of the time limit it lets the task write its checkpoint and goes back to the queue; where the site refuses
    that, it submits its own successor.
    """
    head = next(iter(elements.values()))
    return "\n".join(
        [
            "#!/bin/bash",
            f"# {_told(elements)} of run {context.run.name}. Written by `candor run --on slurm`.",
            *directives(context, site, request, head, array=elements if len(elements) > 1 else None),
            "",
            *environment(context, site),
            *_which_task(elements),
            f"plan={quoted(context.plan)}",
            f"logs={quoted(context.logs)}",
            f"script=$logs/{shlex.quote(head + '.sh')}",
            *SAMPLER,
            *_main(site),
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


def directives(
    context: ScriptContext,
    site: SiteConfig,
    request: Request,
    head: str,
    *,
    array: Mapping[int, str] | None = None,
    nodes: int = 1,
) -> list[str]:
    """The ``#SBATCH`` lines."""
    asked: list[tuple[str, object]] = [
        ("job-name", job_name(context.run, head)),
        ("account", request.account),
        ("partition", request.partition),
        ("qos", request.qos),
        ("constraint", request.constraint),
        ("nodes", nodes),
        ("ntasks-per-node", 1),
        ("cpus-per-task", request.cpus),
        ("mem", f"{round(request.memory_gb * 1024)}M" if request.memory_gb else None),
        ("time", _clock(request.time_limit_min) if request.time_limit_min else None),
        # Relative to the folder of the logs, which ``sbatch --chdir`` names: a directive cannot quote every path.
        ("output", f"{head}-%A_%a.out" if array else f"{head}-%j.out"),
        ("open-mode", "append"),
        ("signal", f"B:USR1@{site.warning_s}"),
        ("kill-on-invalid-dep", "yes"),
        ("export", ",".join(site.pass_env) or "NONE"),
    ]
    lines = [f"#SBATCH --{name}={value}" for name, value in asked if value is not None]
    lines += [f"#SBATCH {line}" for line in _gpu_lines(site, request)]
    lines.append("#SBATCH --requeue" if site.requeue else "#SBATCH --no-requeue")
    if array:
        lines.append(f"#SBATCH --array={','.join(map(str, sorted(array)))}%{site.array_limit}")
    return lines + [f"#SBATCH {line}" for line in site.extra]


def environment(context: ScriptContext, site: SiteConfig) -> list[str]:
    """Roots, modules and the virtual environment."""
    lines = [FAIL]
    lines += [
        f"export {name}={quoted(value)}" for name, value in sorted({**context.roots, **site.env}.items())
    ]
    lines += [
        f"export {JOB_VARIABLE}=${{SLURM_ARRAY_JOB_ID:+${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID}}",
        f"export {JOB_VARIABLE}=${{{JOB_VARIABLE}:-$SLURM_JOB_ID}}",
        "export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}",
        # What srun starts must see the whole environment of this script.
        "export SLURM_EXPORT_ENV=ALL",
    ]
    return [
        *lines,
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


def render_body(context: ScriptContext, site: SiteConfig, request: Request, head: str, body: str) -> str:
    """The script of a job that runs ``body`` in the environment and is no task of a plan."""
    return "\n".join(
        [
            "#!/bin/bash",
            *directives(context, site, request, head),
            "",
            *environment(context, site),
            body,
            "",
        ]
    )


def _gpu_lines(site: SiteConfig, request: Request) -> list[str]:
    if not request.gpus:
        return []
    count = f"{request.gpu_type}:{request.gpus}" if request.gpu_type else str(request.gpus)
    return [f"--gres=gpu:{count}" if site.gpu_directive == "gres" else f"--{site.gpu_directive}={count}"]


def _which_task(elements: Mapping[int, str]) -> list[str]:
    if len(elements) == 1:
        return [f"task={shlex.quote(next(iter(elements.values())))}"]
    cases = [f"  {number}) task={shlex.quote(task_id)};;" for number, task_id in sorted(elements.items())]
    return ["case $SLURM_ARRAY_TASK_ID in", *cases, "  *) fail 'no task of that index';;", "esac"]


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


def _main(site: SiteConfig) -> list[str]:
    again = [
        f'  if [ "${{SLURM_RESTART_COUNT:-0}}" -ge {site.max_requeues} ]; then',
        f"    echo 'candor: stopped after {site.max_requeues} continuations' >&2",
        f'  elif scontrol requeue "${JOB_VARIABLE}"; then',
        "    sleep 120",  # The requeue ends this script.
        "  else",
        '    "${candor[@]}" cluster resubmit "$plan" "$task" "$script"',
        "  fi",
    ]
    if not site.requeue:
        again = ['  "${candor[@]}" cluster resubmit "$plan" "$task" "$script"']
    return [
        "warned= woken= child=",
        # Near the time limit: SLURM warns this script alone. SIGTERM (preempted, cancelled) reaches the task by itself.
        "trap 'warned=1 woken=1; kill -TERM $child 2>/dev/null' USR1",
        "trap 'woken=1' TERM",
        '"${candor[@]}" task run "$plan" "$task" & child=$!',
        "while :; do",
        "  woken=",
        '  wait "$child"; rc=$?',
        '  [ -n "$woken" ] || break',  # A signal interrupts the wait.
        "done",
        'kill "$sampler" 2>/dev/null',
        'sample >>"$samples"',
        'if [ -n "$warned" ] && [ "$rc" = 130 ]; then',
        *again,
        "fi",
        '"${candor[@]}" cluster epilog "$plan" "$task" --job "$' + JOB_VARIABLE + '"',
        "exit $rc",
    ]


def _told(elements: Mapping[int, str]) -> str:
    head, more = next(iter(elements.values())), len(elements) - 1
    return f"{head} and {more} more" if more else head


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}:00"


def quoted(value: object) -> str:
    """One word of shell."""
    return shlex.quote(str(value))


def expanded(path: str) -> str:
    """One word of shell in which the node replaces ``~`` and ``$VARIABLES``."""
    path = "$HOME" + path[1:] if path.startswith("~/") else path
    return (
        '"' + path.replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`").replace("$(", "\\$(") + '"'
    )
