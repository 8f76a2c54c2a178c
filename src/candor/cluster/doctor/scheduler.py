"""Does the scheduler answer, are nodes up, and would it take a job of this site?"""

from __future__ import annotations

from candor.cluster.doctor.findings import Finding, failed, ok
from candor.cluster.doctor.patient import Chart, Patient

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
    # PBS
    "free",
    "busy",
    "job-busy",
    "job-exclusive",
    "resv-exclusive",
)


def check_scheduler(patient: Patient, chart: Chart) -> Finding:
    """The controller answers, nodes are up, and it would take a job of this site."""
    if patient.refusal:
        return failed(patient.refusal, "Choose another site with --site, or change its preset.")
    commands = " ".join(patient.queue.commands)
    ran = patient.shell(
        f"for c in {commands}; do command -v $c >/dev/null || {{ echo no $c >&2; exit 90; }}; done\n"
        f"{patient.queue.nodes(patient.partition)}\n",
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
    up = [row for row in here if row[1] == "up" and _is_up(row[2])]
    nodes = len({row[3] for row in up})
    if not nodes:
        states = ", ".join(sorted({f"{row[0]} {row[1]}: {row[2]}" for row in here}))
        return failed(f"no node is up ({states})", "`sinfo -R` or `pbsnodes -l` says why; ask the site.")
    return _would_be_taken(patient, chart, nodes)


def _is_up(state: str) -> bool:
    """PBS lists several states of a node; one that it is not known to be well in is enough."""
    return "*" not in state and all(part.rstrip("~#!%$@^-+") in _UP for part in state.split(","))


def _would_be_taken(patient: Patient, chart: Chart, nodes: int) -> Finding:
    script = patient.job(chart.roots, "true")
    ran = patient.shell(f"{{ {patient.queue.trial}; }} <<'CANDOR_JOB'\n{script}\nCANDOR_JOB\n", timeout_s=90)
    if ran.code:
        return failed(
            f"a job of this site would be refused: {ran.said}",
            "Change what is asked for: --site-set defaults.account=, defaults.partition=, defaults.time_limit_min=.",
        )
    return ok(f"{nodes} nodes are up, and a job of this site would be taken")
