"""A tiny Ray where jobs run."""

from __future__ import annotations

import secrets
from typing import Any

from candor.cluster.doctor.findings import Finding, failed, ok, skipped
from candor.cluster.doctor.jobs import TinyJob
from candor.cluster.doctor.patient import Chart, Patient, last_json, python_of


def check_ray(patient: Patient, chart: Chart) -> Finding:
    """A Ray starts where jobs run, and a worker of it works; without a queue, on this machine."""
    a, b = 2 + secrets.randbelow(10**6), 2 + secrets.randbelow(10**6)
    body = python_of(patient.python, patient.ray_probe, str(a), str(b))
    if chart.is_ok("job"):
        ended = TinyJob(patient, chart, secrets.token_hex(8)).run(body)
        if ended.trouble:
            return failed(ended.trouble, ended.todo)
        told, said = last_json("\n".join(ended.lines)), "\n".join(ended.lines)
    elif not patient.host:
        ran = patient.in_environment(body, timeout_s=patient.job_timeout_s)
        told, said = last_json(ran.out), ran.said
    else:
        return skipped("no job runs there, and a login node is no place for it")
    return judge_ray(told, said, a * b)


def judge_ray(told: dict[str, Any], said: str, product: int) -> Finding:
    """Whether another process came to the right product. Pure."""
    if told.get("product") == product and told.get("elsewhere"):
        return ok(f"a worker of Ray {told['ray']} worked")
    why = told.get("error") or said or "it said nothing"
    todo = (
        "`pip install 'candor[ray]'` there."
        if "not installed" in why or "No module named 'ray'" in why
        else ""
    )
    return failed(
        f"no worker of Ray answered: {why}",
        todo or "Is the temporary folder ($TMPDIR, /tmp) writable, and do nodes have memory enough?",
    )
