"""Code and data to another machine, results from there, by rsync: only what changed, and never the last word on deleting.

What is sent is a pure function of what was asked for (``transfers``); ``carry`` is the one function that starts rsync.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from candor.errors import ConfigError, ExtraMissing, SourceMissing, SyncFailed

What = Literal["code", "data", "results"]

#: What never leaves: environments, caches, and files that tend to hold secrets.
NEVER = (
    ".venv/",
    "venv/",
    "node_modules/",
    "__pycache__/",
    "*.py[cod]",
    ".*_cache/",
    ".hypothesis/",
    "*.egg-info/",
    "/build/",
    "/dist/",
    ".git/",
    ".git",  # Of a worktree it is a file that leads nowhere else.
    ".DS_Store",
    ".env",
    ".env.*",
    "*.pem",
    "*.key",
    "id_rsa*",
    "id_ed25519*",
    ".netrc",
    ".aws/",
    ".ssh/",
    "credentials*",
    "*token.txt",
    "*secret*.txt",
    "secrets.*",
)
#: Files of a published artifact that people and tables read; weights and graphs stay where they were made.
SMALL_RESULTS = ("*.json", "*.jsonl", "*.csv", "*.parquet", "*.html", "*.svg", "*.yaml", "*.md", "*.txt")
SMALL_MB = 20
#: Parts of a file that was cut off wait here, and rsync goes on with them.
PARTIAL = ".candor-partial"


@dataclass(frozen=True)
class Remote:
    """``HOST:PATH``; ``ssh`` is the command that reaches it."""

    host: str
    path: str
    ssh: str = "ssh"

    def at(self, folder: str) -> str:
        """``HOST:PATH/folder/``, as rsync takes it."""
        return f"{self.host}:{self.path.rstrip('/')}/{folder}".rstrip("/") + "/"


@dataclass(frozen=True)
class Transfer:
    """One call of rsync.

    Attributes:
        receiving: results come here; all else goes there.
    """

    what: str
    argv: tuple[str, ...]
    local: Path
    receiving: bool = False


@dataclass(frozen=True)
class Carried:
    """What rsync did, or with a dry run would do: files, and bytes that differ from what was there."""

    what: str
    changed: tuple[str, ...]
    deleted: tuple[str, ...]
    sent_bytes: int


def parse_remote(text: str, ssh: str = "ssh") -> Remote:
    """``HOST:PATH``. Raises ConfigError."""
    found = re.fullmatch(r"([A-Za-z0-9_][A-Za-z0-9_.@-]*):(.+)", text)
    if not found:
        raise ConfigError(
            f"'{text}' names no folder of another machine",
            place="--to",
            hint="Write HOST:PATH, e.g. osc:/fs/scratch/PAS1234/me/candor; HOST as in ~/.ssh/config.",
        )
    if found[2].startswith("~"):
        raise ConfigError(
            f"'{text}' begins with ~", place="--to", hint="A path without / is below the home: HOST:candor."
        )
    return Remote(found[1], found[2], ssh)


def transfers(
    what: Sequence[What],
    remote: Remote,
    *,
    code: Path | None = None,
    data: Path,
    into: Path,
    dry_run: bool = False,
    delete: bool = False,
    bwlimit_kb: int | None = None,
) -> list[Transfer]:
    """The calls of rsync that bring ``what`` to ``remote``, or results from there. Pure.

    Below the remote path lie ``code/`` and, as ``CANDOR_ROOT`` lays them out, ``data/``, ``cache/`` and ``runs/``.

    Args:
        code: a checkout. data: the data root.
        into: results become a root of their own there. Beside artifacts made here they would pass for damaged ones, as
            their large files stay away.
        delete: also remove at the receiving end what the sending end has not; never what is excluded.
        bwlimit_kb: at most this many kilobytes per second.
    """
    found = []
    options = _options(remote, dry_run=dry_run, delete=delete, bwlimit_kb=bwlimit_kb)
    for one in what:
        if one == "code":
            if code is None:
                raise ConfigError(
                    "there is no checkout to send",
                    place="--code",
                    hint="Call it in the folder of pyproject.toml.",
                )
            git = ("--filter=:- .gitignore", *_excluded("/demo/", "/results/"))
            found.append(_push("code", (*options, *git), code, remote, dry_run=dry_run))
        elif one == "data":
            # Where one root holds all three, runs and artifacts are no data. A link that leads out of the data root
            # would lead nowhere at the other end: its file is sent.
            apart = (
                "--copy-unsafe-links",
                *_excluded("/runs/", "/studies/", "/cache/", "/doctor/", "/from/"),
            )
            found.append(_push("data", (*options, *apart), data, remote, dry_run=dry_run))
        else:
            found += _results(remote, options, into)
    return found


def _push(what: str, options: Sequence[str], here: Path, remote: Remote, *, dry_run: bool) -> Transfer:
    # --mkpath would need rsync 3.2.3 at the other end, and Red Hat 8 has none.
    folder = shlex.quote(f"{remote.path.rstrip('/')}/{what}")
    made = () if dry_run else (f"--rsync-path=mkdir -p {folder} && rsync",)
    return Transfer(what, (*options, *made, f"{here}/", remote.at(what)), here)


def _results(remote: Remote, options: Sequence[str], into: Path) -> Iterator[Transfer]:
    """Records, logs and studies whole; of artifacts the small files."""
    for folder in ("runs", "studies"):
        here = into / folder
        yield Transfer(folder, (*options, remote.at(folder), f"{here}/"), here, receiving=True)
    small = ("--include=*/", *(f"--include={name}" for name in SMALL_RESULTS), "--exclude=*")
    here = into / "cache/artifacts"
    size = (f"--max-size={SMALL_MB}m", "--prune-empty-dirs")
    yield Transfer(
        "artifacts", (*options, *size, *small, remote.at("cache/artifacts"), f"{here}/"), here, receiving=True
    )


def _excluded(*names: str) -> tuple[str, ...]:
    return tuple(f"--exclude={name}" for name in names)


def _options(remote: Remote, *, dry_run: bool, delete: bool, bwlimit_kb: int | None) -> tuple[str, ...]:
    return (
        "rsync",
        "--archive",
        "--compress",
        f"--partial-dir={PARTIAL}",
        "--timeout=300",
        # Paths are words, not shell, at the other end too.
        "--protect-args",
        "--itemize-changes",
        "--stats",
        "--no-human-readable",
        f"--rsh={remote.ssh}",
        *(("--dry-run",) if dry_run else ()),
        *(("--delete",) if delete else ()),
        *((f"--bwlimit={bwlimit_kb}",) if bwlimit_kb else ()),
        *_excluded(PARTIAL + "/", *NEVER),
    )


#: Exit codes of rsync that a person can do something about.
_ADVICE = {
    20: "It was stopped; the same command goes on.",
    10: "The connection broke; the same command goes on.",
    11: "Is a disk full, here or there?",
    12: "The connection broke, or there is no rsync at the other end; the same command goes on.",
    23: "Some files could not be read or written; the lines above say which.",
    24: "Files went away meanwhile; the same command again.",
    30: "The other end fell silent; the same command goes on.",
    255: "ssh does not get through: `candor cluster doctor --host HOST`.",
}
#: ssh's words; rsync itself only sees the connection close.
_NO_WAY_IN = re.compile(
    r"permission denied \(|could not resolve|connection refused|host key verif", re.IGNORECASE
)
#: Nothing of the kind is there yet.
_NOT_THERE = re.compile(r"(change_dir|link_stat).*failed: No such file", re.IGNORECASE)


def carry(transfer: Transfer) -> Carried:
    """Start rsync and wait for it.

    Raises:
        ExtraMissing: there is no rsync here.
        SourceMissing: what is to be sent is not there.
        SyncFailed: it did not come to its end; what it carried so far stays, and the same command goes on.
    """
    if not transfer.receiving and not transfer.local.is_dir():
        raise SourceMissing("there is nothing to send", place=str(transfer.local))
    if transfer.receiving and "--dry-run" not in transfer.argv:
        transfer.local.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            transfer.argv,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as e:
        raise ExtraMissing("there is no rsync here", hint="Install it, e.g. `apt-get install rsync`.") from e
    if done.returncode == 23 and transfer.receiving and _NOT_THERE.search(done.stderr):
        return Carried(transfer.what, (), (), 0)
    if done.returncode:
        code = 255 if _NO_WAY_IN.search(done.stderr) else done.returncode
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise SyncFailed(
            f"rsync ended with {done.returncode}: {said[0] if said else 'without a word'}".rstrip("."),
            place=transfer.what,
            hint=_ADVICE.get(code, f"Try it by hand: {shlex.join(transfer.argv)}"),
        )
    return parse_output(transfer.what, done.stdout)


def parse_output(what: str, text: str) -> Carried:
    """rsync's itemised lines and its statistics. Pure."""
    changed, deleted, sent = [], [], 0
    for line in text.splitlines():
        if line.startswith("*deleting"):
            deleted.append(line.split(maxsplit=1)[1])
        elif re.match(r"[<>ch][fL]", line):
            changed.append(line.split(" ", 1)[1].strip())
        elif line.startswith("Literal data:"):
            sent = int("".join(c for c in line if c.isdigit()))
    return Carried(what, tuple(changed), tuple(deleted), sent)
