"""``candor cluster sync`` and ``candor cluster stage``: files to and from a cluster, and closer to its nodes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from candor.cli import options, output
from candor.cli.output import Column
from candor.cli.session import session
from candor.errors import ConfigError

if TYPE_CHECKING:
    from candor.cluster.sync import What


def sync(
    ctx: typer.Context,
    to: Annotated[
        str,
        typer.Option("--to", metavar="HOST:PATH", envvar="CANDOR_REMOTE_ROOT", help="The other end's root."),
    ] = "",
    code: Annotated[bool, typer.Option("--code", help="Send this checkout.")] = False,
    data: Annotated[bool, typer.Option("--data", help="Send the data root.")] = False,
    results: Annotated[
        bool, typer.Option("--results", help="Fetch records, logs and the small files of artifacts.")
    ] = False,
    into: Annotated[
        Path | None,
        typer.Option("--into", help="Results become a root there; from/HOST of the run root by default."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be carried.")] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove at the receiving end what the sending end has not.")
    ] = False,
    bwlimit_kb: Annotated[
        int | None,
        typer.Option("--bwlimit", min=1, metavar="KB/S", help="At most so many kilobytes per second."),
    ] = None,
    ssh: Annotated[
        str, typer.Option("--ssh", metavar="COMMAND", help="ssh with options of your own.")
    ] = "ssh",
    as_json: options.AsJson = False,
) -> None:
    """Code and data to a cluster, results from there: by rsync, only what changed, going on where it stopped."""
    from candor.cluster.sync import carry, parse_remote, transfers

    if not to:
        raise ConfigError(
            "no other end was named", place="--to", hint="Write --to HOST:PATH, or set CANDOR_REMOTE_ROOT."
        )
    chosen: dict[What, bool] = {"code": code, "data": data, "results": results}
    what = [name for name, wanted in chosen.items() if wanted]
    if not what:
        raise ConfigError("nothing was named to carry", hint="Use --code, --data or --results.")
    settings, remote = session(ctx).settings, parse_remote(to, ssh)
    into = into or settings.run_root / "from" / remote.host.rpartition("@")[2]
    calls = transfers(
        what,
        remote,
        code=_checkout(),
        data=settings.data_root,
        into=into.absolute(),
        dry_run=dry_run,
        delete=delete,
        bwlimit_kb=bwlimit_kb,
    )
    done = []
    for call in calls:
        carried = carry(call)
        done.append(carried)
        if as_json:
            continue
        for name in carried.changed if dry_run else ():
            output.say(f"{carried.what}/{name}")
        for name in carried.deleted:
            output.say(f"{'would be removed' if dry_run else 'removed'}: {carried.what}/{name}")
        word = "would be carried" if dry_run else "carried"
        output.note(
            f"{carried.what}: {output.count(len(carried.changed), 'file')} {word}, {carried.sent_bytes} bytes."
        )
    if as_json:
        output.as_json([vars(c) for c in done])
    elif results and not dry_run:
        output.say(f"Look at them with CANDOR_ROOT={into} candor status")


def _checkout() -> Path | None:
    """The nearest folder at or above this one that is a project."""
    here = Path.cwd()
    return next((p for p in (here, *here.parents) if (p / "pyproject.toml").is_file()), None)


def stage(
    ctx: typer.Context,
    names: Annotated[
        list[str],
        typer.Argument(metavar="[FOLDER]...", help="Folders of the data root; all of it by default."),
    ] = [],  # noqa: B006 - typer copies it.
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", help="On to this folder of the node's own disk, e.g. $TMPDIR/candor.", show_default=False
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Copy raw data below the cache root, with checksums, only what changed; jobs of a site with stage_in do it too."""
    from candor.cluster.staging import StageIn, raw_files

    settings = session(ctx).settings
    files = raw_files(settings.data_root, names)
    local = to.absolute() if to else None
    place, done = StageIn(settings.data_root, settings.cache_root, local).data(files)
    if as_json:
        output.as_json({"place": str(place), **vars(done)})
        return
    output.table(
        [Column("copied", "", "right"), Column("bytes", "", "right"), Column("kept", "", "right"), "place"],
        [(len(done.copied), done.copied_bytes, len(done.kept), place)],
    )
