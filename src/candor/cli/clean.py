"""``candor clean``: what killed runs left behind."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from candor.cli import options, output
from candor.cli.session import session

if TYPE_CHECKING:
    from candor.flow.orphans import Orphan

_SECONDS_PER_DAY = 24 * 3600.0


def clean(
    ctx: typer.Context,
    orphans: Annotated[
        bool, typer.Option("--orphans", help="What dead runs left: attempts, staging, scratch, locks.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    older_than_days: Annotated[
        float,
        typer.Option(
            "--older-than-days", min=0, help="Spare scratch and locks that were touched since then."
        ),
    ] = 1.0,
    as_json: options.AsJson = False,
) -> None:
    """Tidy up after runs that were killed. Published artifacts stay; a dead attempt keeps its record and metrics."""
    from candor.errors import ConfigError
    from candor.executors.job_ends import JobEnds
    from candor.flow.orphans import Clinic

    if not orphans:
        raise ConfigError("nothing was named to clean", hint="Use --orphans; with --dry-run to look first.")
    state = session(ctx)
    ends = JobEnds()
    clinic = Clinic(
        state.store, state.settings.run_root, job_ended=ends, older_than_s=older_than_days * _SECONDS_PER_DAY
    )
    found = [*(clinic.find() if dry_run else clinic.clean()), *_rays(dry_run=dry_run)]
    if ends.trouble:
        output.note(f"Attempts in jobs count as alive, since {ends.trouble}")
    if as_json:
        output.as_json([{"kind": o.kind, "path": str(o.path), "why": o.why} for o in found])
        return
    if found:
        output.table(["what", "why", "path"], [(o.kind, o.why, o.path) for o in found])
    output.say(_told(found, dry_run=dry_run))


def _rays(*, dry_run: bool) -> list[Orphan]:
    """Folders of Rays whose launcher was killed."""
    import shutil

    from candor.executors.ray_cluster import abandoned_folders
    from candor.flow.orphans import Orphan

    folders = list(abandoned_folders())
    for folder in [] if dry_run else folders:
        shutil.rmtree(folder, ignore_errors=True)
    return [Orphan("ray", folder, "its launcher was killed") for folder in folders]


def _told(found: list[Orphan], *, dry_run: bool) -> str:
    if not found:
        return "No orphans."
    counts = Counter(o.kind for o in found)
    buried = counts.pop("attempt", 0)
    parts = (
        [f"{output.count(buried, 'dead attempt')} {'would be ' if dry_run else ''}recorded as killed"]
        if buried
        else []
    )
    removed = ", ".join(f"{number} {kind}" for kind, number in counts.items())
    parts += [f"{'would be ' if dry_run else ''}removed: {removed}"] if removed else []
    return f"{'; '.join(parts)}."
