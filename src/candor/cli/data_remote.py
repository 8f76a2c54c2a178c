"""``candor data push`` and ``candor data pull``: versions of data on a folder or an S3 bucket, through DVC."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from candor.cli import options, output
from candor.cli.session import session

if TYPE_CHECKING:
    from candor.ids.versions import Moved, Remote

Datasets = Annotated[
    list[str], typer.Argument(help="Datasets; all that are there by default.", show_default=False)
]
Url = Annotated[
    str,
    typer.Option(
        "--remote",
        "-r",
        envvar="CANDOR_REMOTE",
        help="Folder or s3://bucket/prefix; remembered.",
        show_default=False,
    ),
]
Endpoint = Annotated[
    str,
    typer.Option(
        "--endpoint",
        envvar="CANDOR_REMOTE_ENDPOINT",
        help="S3 endpoint where it is not Amazon's, e.g. of Cloudflare R2.",
        show_default=False,
    ),
]
Pointers = Annotated[
    Path | None,
    typer.Option("--pointers", "-p", help="Folder of the pointer files, e.g. in git.", show_default=False),
]


def push(
    ctx: typer.Context,
    datasets: Datasets = [],  # noqa: B006 - typer copies it.
    remote: Url = "",
    endpoint: Endpoint = "",
    pointers: Pointers = None,
    as_json: options.AsJson = False,
) -> None:
    """Keep this version of raw files and frames on a remote; links of 'data add' become files of their own."""
    from candor.ids import versions

    moved = versions.push(
        datasets, session(ctx).settings, remote=_remote(remote, endpoint), pointers=pointers
    )
    _print(moved, "pushed", as_json=as_json)


def pull(
    ctx: typer.Context,
    datasets: Datasets = [],  # noqa: B006
    remote: Url = "",
    endpoint: Endpoint = "",
    pointers: Pointers = None,
    as_json: options.AsJson = False,
) -> None:
    """Bring the version of raw files and frames that the pointer files name."""
    from candor.ids import versions

    moved = versions.pull(
        datasets, session(ctx).settings, remote=_remote(remote, endpoint), pointers=pointers
    )
    _print(moved, "pulled", as_json=as_json)


def _remote(url: str, endpoint: str) -> Remote | None:
    from candor.errors import ConfigError
    from candor.ids.versions import Remote

    if endpoint and not url:
        raise ConfigError(
            "an endpoint without a remote", place="--endpoint", hint="Name the bucket with --remote."
        )
    local = url and "://" not in url
    return Remote(str(Path(url).expanduser().absolute()) if local else url, endpoint) if url else None


def _print(moved: list[Moved], done: str, *, as_json: bool) -> None:
    if as_json:
        output.as_json([{"dataset": m.dataset, "what": m.what, "pointer": str(m.pointer)} for m in moved])
        return
    output.table(["dataset", "what", "pointer"], [(m.dataset, m.what, m.pointer) for m in moved])
    output.note(
        f"{output.count(len(moved), 'folder')} {done}. The pointer files name this version: keep them in git."
    )
