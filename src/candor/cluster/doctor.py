"""``candor cluster doctor``: each check does on the cluster what candor will do there, and measures what comes of it.

A check is a function of the patient and of what earlier checks found. It runs scripts through the patient's shell, here
or over ssh, so that all of them can be tried against a broken machine.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from candor.cluster.shell import SSH_FAILED, Ran, Shell
from candor.errors import CandorError

State = Literal["ok", "failed", "skipped"]
PROBES = Path(__file__).with_name("probes")
_GB = 1024**3
#: A root with fewer free files than this fills up with checkpoints and records within days.
_MIN_FREE_FILES = 10_000


@dataclass(frozen=True)
class Finding:
    """What a check came to; ``todo``: what to change if it failed."""

    state: State
    told: str
    todo: str = ""
    name: str = ""
    duration_s: float = 0.0


def ok(told: str) -> Finding:
    """It works."""
    return Finding("ok", told)


def failed(told: str, todo: str) -> Finding:
    """It does not."""
    return Finding("failed", told, todo)


def skipped(told: str) -> Finding:
    """There is nothing to measure."""
    return Finding("skipped", told)


@dataclass(frozen=True)
class Expected:
    """What this environment is, and the other must be. ``code``: see probes/environment.py."""

    python: str
    candor: str
    code: str


@dataclass(frozen=True)
class Patient:
    """What is examined.

    Attributes:
        shell: of the machine that submits.
        host: its name for ssh; empty for this machine.
        python: word that calls Python once the environment is active.
        activation: lines of shell that load modules and activate the environment, as jobs do.
        roots: the three roots; None to ask candor there.
        refusal: why candor does not submit to this site; empty if it does.
        job: (roots, body) → script of a job that runs ``body`` in the environment.
        gpus: how many the jobs ask for.
        ray_probe: source of a Python script that multiplies its two arguments on Ray.
    """

    shell: Shell
    expected: Expected
    job: Callable[[Mapping[str, str], str], str]
    host: str = ""
    python: str = "python3"
    modules: tuple[str, ...] = ()
    activation: tuple[str, ...] = ()
    roots: Mapping[str, str] | None = None
    refusal: str = ""
    gpus: int = 0
    partition: str = ""
    min_free_gb: float = 10.0
    job_timeout_s: float = 600.0
    poll_s: float = 3.0
    ray_probe: str = ""

    def in_environment(self, script: str, *, timeout_s: float = 300.0) -> Ran:
        """Run ``script`` as a job would see it."""
        return self.shell("\n".join([*self.activation, script, ""]), timeout_s=timeout_s)

    def probe(self, name: str, *arguments: str, timeout_s: float = 300.0) -> tuple[dict[str, Any], Ran]:
        """What the probe told; empty if it said nothing that can be read."""
        text = (PROBES / f"{name}.py").read_text(encoding="utf-8")
        ran = self.in_environment(python_of(self.python, text, *arguments), timeout_s=timeout_s)
        return last_json(ran.out), ran


def python_of(python: str, text: str, *arguments: str) -> str:
    """Shell that runs a Python script given as text."""
    words = " ".join(shlex.quote(a) for a in arguments)
    return f"{python} - {words} <<'CANDOR_PROBE'\n{text}\nCANDOR_PROBE"


def last_json(text: str) -> dict[str, Any]:
    """The last line that is a JSON object: login shells greet, and libraries warn."""
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                return found
    return {}


@dataclass
class Chart:
    """What checks told so far: findings by name, and the roots."""

    roots: Mapping[str, str] = field(default_factory=dict)
    findings: dict[str, Finding] = field(default_factory=dict)

    def is_ok(self, name: str) -> bool:
        """Whether that check went well."""
        found = self.findings.get(name)
        return found is not None and found.state == "ok"


_SSH_HINTS = {
    "permission denied": "The key is not accepted: `ssh-copy-id HOST`, or name the key in ~/.ssh/config (IdentityFile).",
    "host key verification": "Log in once by hand and compare the host's fingerprint with the one the site publishes.",
    "could not resolve": "No machine of that name: check HostName in ~/.ssh/config.",
    "connection refused": "Nothing listens there: check Port and HostName in ~/.ssh/config.",
    "timed out": "Nobody answers: is the VPN on, and is the host up?",
    "no answer within": "It connects and then hangs: is the home folder on a file system that is away?",
}


def check_ssh(patient: Patient, chart: Chart) -> Finding:
    """A shell answers, and can count."""
    del chart
    if not patient.host:
        return skipped("this machine; name another one with --host")
    a, b = time.time_ns() % 9973, 7919
    ran = patient.shell(f"echo candor $(({a} * {b}))", timeout_s=60)
    if ran.code == 0 and f"candor {a * b}" in ran.out:
        return ok(f"a shell answers on {patient.host}")
    if ran.code == 0:
        return failed(
            "the shell prints something else than what it was told to",
            "Is the login shell bash, and do its start files end or replace it?",
        )
    hint = next(
        (h for words, h in _SSH_HINTS.items() if words in ran.err.lower()), "Try `ssh HOST true` by hand."
    )
    who = "ssh" if ran.code == SSH_FAILED else "the other end"
    return failed(f"{who}: {ran.said}", hint.replace("HOST", patient.host))


def check_modules(patient: Patient, chart: Chart) -> Finding:
    """Every module loads. Old versions of ``module`` end well whatever happened: what counts is what is loaded."""
    del chart
    if not patient.modules:
        return skipped("the site names none")
    lines = ["type module >/dev/null 2>&1 || . /etc/profile", "type module >/dev/null 2>&1 || exit 90"]
    lines += [f"module load {shlex.quote(m)}" for m in patient.modules]
    lines.append('echo "candor-loaded:$LOADEDMODULES"')
    ran = patient.shell("\n".join([*lines, ""]))
    if ran.code == 90:
        return failed(
            "there is no command 'module' here", "Remove `modules` from the site preset, or log in elsewhere."
        )
    told = [line for line in ran.out.splitlines() if line.startswith("candor-loaded:")]
    loaded = told[-1].partition(":")[2].split(":") if told else []
    missing = [
        m for m in patient.modules if not any(have == m or have.startswith(m + "/") for have in loaded)
    ]
    if missing:
        return failed(
            f"{', '.join(missing)} did not load: {ran.said}",
            f"`module spider {missing[0].partition('/')[0]}` lists what there is; put it in `modules` of the site preset.",
        )
    return ok(", ".join(patient.modules))


def check_environment(patient: Patient, chart: Chart) -> Finding:
    """Python, and the very same candor."""
    told, ran = patient.probe("environment")
    finding = judge_environment(told, ran, patient.expected)
    chart.roots = patient.roots or told.get("roots") or {}
    return finding


def judge_environment(told: Mapping[str, Any], ran: Ran, expected: Expected) -> Finding:
    """Compare what a probe told with what is expected. Pure."""
    if not told:
        return failed(f"no Python answers: {ran.said}", "Name the environment in `venv` of the site preset.")
    if told["python"] != expected.python:
        return failed(
            f"Python {told['python']} instead of {expected.python} ({told['executable']})",
            "Load another module, or make the environment anew with that Python.",
        )
    if "error" in told:
        return failed(
            f"candor cannot be imported: {told['error']} ({told['executable']})",
            "Install it there: `candor cluster sync --code`, then `pip install -e .` in the environment.",
        )
    if told["candor"] != expected.candor or told["code"] != expected.code:
        return failed(
            f"candor {told['candor']} with other code than {expected.candor} here ({told['folder']})",
            "`candor cluster sync --code` brings this code there.",
        )
    return ok(f"Python {told['python']}, candor {told['candor']}, {told['executable']}")


def check_gpus(patient: Patient, chart: Chart) -> Finding:
    """The driver's GPUs are torch's, and compute. Those of the nodes are looked at by the job."""
    del chart
    told, ran = patient.probe("gpus")
    return judge_gpus(told, ran, wanted=0)


def judge_gpus(told: Mapping[str, Any], ran: Ran, *, wanted: int) -> Finding:
    """Compare the driver's words with torch's. Pure."""
    if not told:
        return failed(
            f"the probe did not end: {ran.said}", "Read what it said; does `python -c 'import torch'` work?"
        )
    if "torch_error" in told:
        return failed(
            f"torch cannot be imported: {told['torch_error']}", "`pip install 'candor[train]'` there."
        )
    seen, used, cuda = list(told["gpus"]), int(told["torch_gpus"]), told["torch_cuda"]
    if len(seen) < wanted:
        why = told.get("smi_error") or "nvidia-smi shows none"
        why = f"nvidia-smi shows {len(seen)}" if seen else why
        return failed(
            f"{wanted} GPUs were asked for; {why}",
            "Check `gpu_directive`, `gpu` and the partition of the site.",
        )
    if not seen and "smi_error" in told:
        return failed(
            f"nvidia-smi: {told['smi_error']}", "The driver is broken on this machine; tell the site."
        )
    if not seen and not used:
        return skipped(f"no GPU on this machine (torch {told['torch']}); --gpus N looks at a job's")
    if cuda is None:
        return failed(
            f"torch {told['torch']} has no CUDA, and there is {seen[0]}", "Install a CUDA build of torch."
        )
    newest = told.get("driver_cuda")
    if newest and _version(cuda) > _version(newest) and used < max(len(seen), 1):
        return failed(
            f"torch was built for CUDA {cuda}, and the driver knows {newest} at most",
            f"Install torch for CUDA {newest} or older.",
        )
    if used < len(seen):
        return failed(
            f"torch sees {used} of {len(seen)} GPUs",
            "Is CUDA_VISIBLE_DEVICES set, or a GPU taken out of service?",
        )
    if "compute_error" in told:
        return failed(
            f"torch {told['torch']} does not compute on {seen[0]}: {told['compute_error']}",
            "Install a build of torch that has kernels for this GPU.",
        )
    return ok(f"{len(seen)} × {seen[0]}, torch {told['torch']} with CUDA {cuda}")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


_HINTS_OF_ROOTS = {
    "be looked at": "No Python ran there; see environment.",
    "make a folder": "Point CANDOR_{name} to a folder that you may write to.",
    "write": "Point CANDOR_{name} to a disk that is writable and has space.",
    "lock": "Locks do not work there (an NFS mounted with `nolock`?): put the cache elsewhere, CANDOR_{name}.",
    "link": "Symbolic links do not work there; studies need them: CANDOR_{name}.",
    "reserve": "The disk or your quota is full: free some space, or point CANDOR_{name} elsewhere.",
}


def check_roots(patient: Patient, chart: Chart) -> Finding:
    """In each root, what candor does there."""
    if not chart.roots:
        return skipped("nobody said where they are")
    trouble, todo = [], ""
    for name, root in chart.roots.items():
        told, ran = patient.probe("root", root)
        steps = told["failed"] if told else {"be looked at": ran.said}
        trouble += [f"{root}: cannot {step}: {why}" for step, why in steps.items() if step != "reserve"]
        first = next((step for step in steps if step != "reserve"), None)
        todo = todo or (_HINTS_OF_ROOTS[first].format(name=name.upper()) if first else "")
    if trouble:
        return failed("; ".join(trouble), todo)
    return ok(
        "written, forced, renamed, locked and linked in " + ", ".join(dict.fromkeys(chart.roots.values()))
    )


def check_space(patient: Patient, chart: Chart) -> Finding:
    """Free space and files of each root, space that is really taken, and quotas."""
    if not chart.roots:
        return skipped("nobody said where the roots are")
    trouble, seen = [], []
    for root in dict.fromkeys(chart.roots.values()):
        told, ran = patient.probe("root", root)
        if "free_bytes" not in told:
            trouble.append(f"{root}: {'; '.join(told.get('failed', {}).values()) or ran.said}")
            continue
        free, files = told["free_bytes"] / _GB, told["free_files"]
        seen.append(f"{root}: {free:.0f} GB free")
        if "reserve" in told["failed"]:
            trouble.append(f"{root}: 64 MB cannot be taken: {told['failed']['reserve']}")
        if free < patient.min_free_gb:
            trouble.append(f"{root}: {free:.1f} GB are free, {patient.min_free_gb:g} are wanted")
        if files is not None and files < _MIN_FREE_FILES:
            trouble.append(f"{root}: only {files} more files fit")
    quota = patient.shell("command -v quota >/dev/null && quota -w 2>&1")
    # A star marks what is over its limit; the last lines are one per file system.
    trouble += [
        f"over quota: {' '.join(line.split())}" for line in quota.out.splitlines() if _over_quota(line)
    ]
    if trouble:
        return failed(
            "; ".join(trouble),
            "Free some space, ask for a larger quota, or point CANDOR_CACHE_ROOT elsewhere.",
        )
    return ok("; ".join(seen))


def _over_quota(line: str) -> bool:
    return any(word.endswith("*") and word[:-1].rstrip("kKMGT").isdigit() for word in line.split()[1:])


_UP = (
    "idle",
    "mix",
    "mixed",
    "alloc",
    "allocated",
    "comp",
    "completing",
    "plnd",
    "planned",
    "resv",
    "reserved",
)


def check_scheduler(patient: Patient, chart: Chart) -> Finding:
    """The controller answers, nodes are up, and it would take a job of this site."""
    if patient.refusal:
        return failed(patient.refusal, "Choose another site with --site, or change its preset.")
    ran = patient.shell(
        "for c in sinfo squeue sbatch; do command -v $c >/dev/null || { echo no $c >&2; exit 90; }; done\n"
        "sinfo --noheader --Node --format='%R|%a|%t|%n' && squeue --noheader --user=\"$(id -un)\" --format=%i >/dev/null\n",
        timeout_s=90,
    )
    if ran.code == 90:
        return failed(
            f"there is no command '{ran.said.removeprefix('no ')}' here",
            "Run this on a login node of the cluster, or name one with --host.",
        )
    if ran.code:
        return failed(f"the scheduler does not answer: {ran.said}", "Wait and try again; then ask the site.")
    rows = [line.split("|") for line in ran.out.splitlines() if line.count("|") == 3]
    here = [row for row in rows if not patient.partition or row[0] in patient.partition.split(",")]
    if not here:
        names = ", ".join(sorted({row[0] for row in rows})) or "none"
        return failed(
            f"no partition called '{patient.partition}'" if patient.partition else "no partition",
            f"Partitions: {names}.",
        )
    # A star: the node does not answer. Other marks: it sleeps to save power, or is about to boot.
    up = [row for row in here if row[1] == "up" and "*" not in row[2] and row[2].rstrip("~#!%$@^-+") in _UP]
    nodes = len({row[3] for row in up})
    if not nodes:
        states = ", ".join(sorted({f"{row[0]} {row[1]}: {row[2]}" for row in here}))
        return failed(f"no node is up ({states})", "`sinfo -R` says why; ask the site.")
    return _would_be_taken(patient, chart, nodes)


def _would_be_taken(patient: Patient, chart: Chart, nodes: int) -> Finding:
    script = patient.job(chart.roots, "true")
    ran = patient.shell(f"sbatch --test-only <<'CANDOR_JOB'\n{script}\nCANDOR_JOB\n", timeout_s=90)
    if ran.code:
        return failed(
            f"a job of this site would be refused: {ran.said}",
            "Change what is asked for: --site-set defaults.account=, defaults.partition=, defaults.time_limit_min=.",
        )
    return ok(f"{nodes} nodes are up, and a job of this site would be taken")


@dataclass(frozen=True)
class Check:
    """A check, and those it makes no sense without."""

    name: str
    run: Callable[[Patient, Chart], Finding]
    needs: tuple[str, ...] = ()


def examine(patient: Patient, checks: Collection[Check], *, skip: Collection[str] = ()) -> Iterator[Finding]:
    """Every check in turn. One that raises has failed: a broken cluster must not pass by breaking the check."""
    chart = Chart(roots=patient.roots or {})
    for check in checks:
        began = time.monotonic()
        broken = next(
            (n for n in check.needs if n in chart.findings and chart.findings[n].state == "failed"), None
        )
        if check.name in skip:
            found = skipped("--skip")
        elif broken:
            found = skipped(f"because of {broken}")
        else:
            try:
                found = check.run(patient, chart)
            except (CandorError, OSError, ValueError, KeyError, TypeError) as e:
                found = failed(f"{type(e).__name__}: {e}", "What the machine said could not be understood.")
        found = replace(found, name=check.name, duration_s=time.monotonic() - began)
        chart.findings[check.name] = found
        yield found
