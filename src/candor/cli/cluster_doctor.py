"""``candor cluster doctor``: would a run work here, or on that host? Step by step, and what to do if not."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from candor.cli import options, output
from candor.cli.session import Session, session

if TYPE_CHECKING:
    from candor.cluster.doctor.findings import Finding
    from candor.cluster.doctor.patient import Expected, Patient
    from candor.executors.site import SiteConfig

Host = Annotated[
    str, typer.Option("--host", help="Examine that machine by ssh; this one by default.", show_default=False)
]
Ssh = Annotated[str, typer.Option("--ssh", metavar="COMMAND", help="ssh with options of your own.")]


def doctor(
    ctx: typer.Context,
    site: options.Site = "generic",
    site_sets: options.SiteSets = [],  # noqa: B006 - typer copies it.
    host: Host = "",
    ssh: Ssh = "ssh",
    gpus: Annotated[
        int, typer.Option("--gpus", min=0, help="GPUs that the tiny job asks for and tries.")
    ] = 0,
    skip: Annotated[
        list[str], typer.Option("--skip", metavar="CHECK", help="Leave a check out; repeatable.")
    ] = [],  # noqa: B006
    min_free_gb: Annotated[
        float, typer.Option("--min-free-gb", min=0, help="Less free space than this is a failure.")
    ] = 10.0,
    job_timeout_s: Annotated[
        float, typer.Option("--job-timeout-s", min=1, help="Wait for a tiny job so long.")
    ] = 600.0,
    as_json: options.AsJson = False,
) -> None:
    """Examine a cluster step by step, and say what to do for each failure. Ends with 1 if anything failed."""
    from candor.cluster.doctor.examination import CHECKS, examine
    from candor.config.layers import nearest
    from candor.errors import ConfigError

    names = [check.name for check in CHECKS]
    for unknown in [name for name in skip if name not in names]:
        near = nearest(unknown, names)
        hint = f"Did you mean '{near}'?" if near else f"Checks: {', '.join(names)}."
        raise ConfigError(f"there is no check '{unknown}'", place="--skip", hint=hint)
    patient = _patient(
        session(ctx),
        site,
        site_sets,
        host=host,
        ssh=ssh,
        gpus=gpus,
        min_free_gb=min_free_gb,
        job_timeout_s=job_timeout_s,
    )
    findings = []
    for finding in examine(patient, CHECKS, skip=skip):
        findings.append(finding)
        if not as_json:
            _say(finding)
    broken = [finding.name for finding in findings if finding.state == "failed"]
    if as_json:
        output.as_json(
            {"host": host or None, "site": site, "ok": not broken, "checks": [vars(f) for f in findings]}
        )
    else:
        output.say(
            f"{output.count(len(broken), 'check')} failed: {', '.join(broken)}." if broken else "All is well."
        )
    if broken:
        raise typer.Exit(1)


def _say(finding: Finding) -> None:
    output.say(f"{finding.state:<8} {finding.name:<12} {finding.told} ({finding.duration_s:.1f} s)")
    if finding.todo:
        output.say(f"{'':<8} {'':<12} → {finding.todo}")


def _patient(
    state: Session,
    name: str,
    site_sets: list[str],
    *,
    host: str,
    ssh: str,
    gpus: int,
    min_free_gb: float,
    job_timeout_s: float,
) -> Patient:
    from candor.cli.queue import program
    from candor.cluster.doctor.patient import Patient
    from candor.cluster.doctor.queues import QUEUES
    from candor.cluster.shell import LocalShell, ssh_shell
    from candor.errors import ConfigError
    from candor.executors import ray_probe, scripts
    from candor.executors.scheduler import scheduler_here
    from candor.executors.site import check_submittable, load_site

    site = load_site(name, data_root=state.settings.data_root, sets=site_sets)
    refusal = ""
    on = site.scheduler or ("slurm" if host else scheduler_here().words.scheduler)
    try:
        check_submittable(name, site)
    except ConfigError as e:
        refusal = str(e).rstrip(".")
    words, own = program()
    venv = site.venv or ("" if host else own)
    inside = bool(venv) or bool(site.setup)
    # Without an environment to activate, jobs call this very Python; another machine has one of its own.
    python = "python" if inside else "python3" if host else scripts.quoted(sys.executable)
    exports = [f"export {key}={scripts.quoted(value)}" for key, value in sorted(site.env.items())]
    return Patient(
        shell=ssh_shell(host, ssh) if host else LocalShell(),
        expected=_expected(),
        job=JobScripts(site, words, venv, gpus, on, host),
        queue=QUEUES[on],
        host=host,
        python=python,
        modules=site.modules,
        activation=(scripts.FAIL, *exports, *scripts.activation(site, venv)),
        roots=None if host else {key: str(path) for key, path in state.settings.model_dump().items()},
        refusal=refusal,
        gpus=gpus,
        partition=site.named("doctor").partition or "",
        min_free_gb=min_free_gb,
        job_timeout_s=job_timeout_s,
        poll_s=min(site.poll_s, 3.0),
        ray_probe=Path(ray_probe.__file__).read_text(encoding="utf-8"),
    )


class JobScripts:
    """Renders a job of the site."""

    def __init__(self, site: SiteConfig, words: list[str], venv: str, gpus: int, on: str, host: str) -> None:
        self._site, self._words, self._venv, self._gpus = site, words, venv, gpus
        self._on, self._host = on, host

    def __call__(self, roots: Mapping[str, str], body: str) -> str:
        from candor.executors.qsub import passing
        from candor.executors.scheduler import scheduler_named
        from candor.executors.scripts import ScriptContext, render_body
        from candor.executors.site import refuse_secrets

        # Ten minutes are plenty, and short jobs are started early.
        own = {"gpus": self._gpus or None, "time_limit_min": 10}
        variables = {f"CANDOR_{key.upper()}": value for key, value in roots.items()}
        folder = Path(roots.get("run_root", ".")) / "doctor"
        context = ScriptContext(folder, folder, folder, variables, self._words, self._venv)
        request = self._site.named("doctor", own=own)
        words = scheduler_named(self._on).words
        script = render_body(context, self._site, request, "doctor", body, words=words)
        refuse_secrets(script, os.environ, "the doctor")
        # What is set on another machine nobody knows here.
        return passing(script, {} if self._host else os.environ)


def _expected() -> Expected:
    import platform

    import candor
    from candor.cluster.doctor.patient import Expected
    from candor.cluster.probes.environment import code_digest

    python = ".".join(platform.python_version_tuple()[:2])
    return Expected(python, candor.__version__, code_digest(str(Path(candor.__file__).parent)))
