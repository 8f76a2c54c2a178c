"""All checks in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace

from candor.cluster.doctor import access, environment, gpus, jobs, ray, roots, scheduler
from candor.cluster.doctor.findings import Finding, failed, skipped
from candor.cluster.doctor.patient import Chart, Patient


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
            except Exception as e:  # What a broken machine says may break a check in any way.
                found = failed(f"{type(e).__name__}: {e}", "What the machine said could not be understood.")
        found = replace(found, name=check.name, duration_s=time.monotonic() - began)
        chart.findings[check.name] = found
        yield found


CHECKS = (
    Check("ssh", access.check_ssh),
    Check("modules", access.check_modules, ("ssh",)),
    Check("environment", environment.check_environment, ("ssh", "modules")),
    Check("gpus", gpus.check_gpus, ("ssh", "environment")),
    Check("roots", roots.check_roots, ("ssh",)),
    Check("space", roots.check_space, ("ssh",)),
    Check("scheduler", scheduler.check_scheduler, ("ssh",)),
    Check("job", jobs.check_job, ("ssh", "environment", "roots", "scheduler")),
    Check("ray", ray.check_ray, ("ssh", "environment", "job")),
)
