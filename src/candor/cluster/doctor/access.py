"""Does a shell answer, and do the site's modules load?"""

from __future__ import annotations

import shlex
import time

from candor.cluster.doctor.findings import Finding, failed, ok, skipped
from candor.cluster.doctor.patient import Chart, Patient
from candor.cluster.shell import SSH_FAILED

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
