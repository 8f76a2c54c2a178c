"""Ray itself: one of this machine for one process alone, or a cluster that is there already.

A Ray of our own listens on loopback only, asks for a token that only this user can read, has a dashboard only if it was asked
for, which asks for the token too, picks free ports, and keeps its sockets and logs in a folder of its own, so that two jobs on one node never meet.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from candor.errors import ExtraMissing, RayUnavailable
from candor.flow.process import ProcessId
from candor.flow.storage import chain

#: Folders of our own Rays begin so; ``OWNER`` inside names the process that started it.
PREFIX, OWNER = "candor-", "owner.json"
#: A socket's path may have 107 bytes; Ray itself adds ``/session_<date>_<time>_<µs>_<pid>/sockets/plasma_store``.
_LONGEST_PATH = 107 - len("/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
#: Tasks hand over records, not data; Ray's default would take a third of the memory away from them.
_OBJECT_STORE_BYTES = 256 * 2**20

#: Ray gives its own processes 30 s to start, which on a busy machine (load 20 on two cores) they may miss once.
_START_ATTEMPTS = 3

#: Read by the processes that Ray starts. What the user has set wins.
_ALWAYS = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",  # It would tell the vendor what runs here.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "20",  # By default, survivors of a crash linger for a minute.
    "RAY_task_oom_retries": "1",  # By default, a task that needs too much memory begins again for ever.
}
#: What makes Ray bind to loopback, and reach a Ray that does, whatever its name says; read when Ray is imported.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_LOCAL = _LOOPBACK | {
    "AUTOSCALER_METRIC_PORT": "0",
    "DASHBOARD_METRIC_PORT": "0",
}


@contextmanager
def connected(
    address: str = "", *, cpus: int | None = None, gpus: float | None = None, dashboard: bool = False
) -> Iterator[str]:
    """This process is connected to Ray while inside; the address of the dashboard, empty if there is none.

    Args:
        address: ``HOST:PORT`` of a cluster that a process on this machine belongs to; empty: ``RAY_ADDRESS``, else a Ray
            of this machine that ends with the context.
        cpus, gpus: what a Ray of our own may use; by default the processors this process may use, and all its GPUs.
        dashboard: whether a Ray of our own has one.

    Raises:
        ExtraMissing: Ray is not installed.
        RayUnavailable: it does not start, cannot be reached, or refuses the token.
    """
    address = address or os.environ.get("RAY_ADDRESS", "")
    here = _LOOPBACK if address.startswith(("127.", "localhost:")) else {}
    with _environment(_ALWAYS | (here if address else _LOCAL)):
        if address:
            _join(address)
            try:
                yield ""
            finally:
                _leave()
            return
        with _private_folder() as folder, _environment(_token_path(folder)):
            url = _start(folder, cpus, gpus, dashboard=dashboard)
            try:
                yield url
            finally:
                _leave()


def _join(address: str) -> None:
    if "://" in address:
        raise RayUnavailable(
            "Ray Client addresses are not supported",
            place=address,
            hint="Run candor on a node of the cluster, such as in the job that started it, with HOST:PORT.",
        )
    ray = _ray()
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except Exception as e:  # Ray raises many classes here, Exception itself among them.
        # Told by the class of one of its causes, or, where Ray wraps that in text, by its words.
        refused = any(
            isinstance(cause, ray.exceptions.AuthenticationError) or "RAY_AUTH_TOKEN" in str(cause)
            for cause in chain(e)
        )
        raise RayUnavailable(
            "Ray refuses the token" if refused else f"no Ray answers: {_first_line(e)}",
            place=address,
            hint="Name the cluster's token file in RAY_AUTH_TOKEN_PATH; only for a cluster without tokens, set RAY_AUTH_MODE=disabled."
            if refused
            else "Check the address; this machine must be a node of that cluster. Without --address and RAY_ADDRESS a Ray is started here.",
        ) from e


def _start(folder: Path, cpus: int | None, gpus: float | None, *, dashboard: bool) -> str:
    ray = _ray()
    for attempt in range(_START_ATTEMPTS):
        # Ray would take 8265, or fail where another one has it.
        shown = {"dashboard_host": "127.0.0.1", "dashboard_port": _free_port()} if dashboard else {}
        try:
            found = ray.init(
                address="local",
                num_cpus=cpus or len(os.sched_getaffinity(0)),
                num_gpus=gpus,
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=dashboard,
                **shown,
                log_to_driver=False,
                configure_logging=False,
                _temp_dir=str(folder / str(attempt)),
            )
        except Exception as e:  # As above.
            if attempt + 1 < _START_ATTEMPTS:
                ray.shutdown()
                continue
            raise RayUnavailable(
                f"Ray did not start: {_first_line(e)}",
                place=str(folder),
                hint="Run with `--on inline`, or look whether this machine has memory, processes and space in its temporary folder left.",
            ) from e
        else:
            return f"http://{found.dashboard_url}" if dashboard else ""
    raise AssertionError


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _leave() -> None:
    ray = _ray()
    ray.shutdown()


def _ray() -> Any:
    fresh = "ray" not in sys.modules
    try:
        import ray
        import ray.exceptions
    except ImportError as e:
        raise ExtraMissing("Ray is not installed", hint="pip install 'candor[ray]'.") from e
    if not fresh:
        # Ray looks at RAY_AUTH_MODE when it is imported, and never again.
        from ray import _raylet

        _raylet.Config.initialize("")  # type: ignore[attr-defined]  # Compiled, without a stub.
    return ray


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


@contextmanager
def _environment(wanted: dict[str, str]) -> Iterator[None]:
    """Set what is not set, and take it back: a process may start Ray more than once."""
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@cache
def _token() -> str:
    """One per process, because Ray keeps the first that it reads."""
    return secrets.token_hex(32)


def _token_path(folder: Path) -> dict[str, str]:
    """A file rather than a variable: variables are copied into logs and crash reports."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return {}
    path = folder / "token"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as f:
        f.write(_token())
    return {"RAY_AUTH_TOKEN_PATH": str(path)}


@contextmanager
def _private_folder() -> Iterator[Path]:
    """A folder that only this user can enter; Ray opens its own one, inside, to everybody."""
    for old in abandoned_folders():
        shutil.rmtree(old, ignore_errors=True)
    folder = _made_folder()
    try:
        (folder / OWNER).write_text(ProcessId.current().model_dump_json(), encoding="utf-8")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bases() -> list[str]:
    return list(dict.fromkeys([tempfile.gettempdir(), "/tmp", "/var/tmp"]))


def _made_folder() -> Path:
    for base in _bases():
        with suppress(OSError):
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
            if len(os.fsencode(folder / "0")) <= _LONGEST_PATH:
                return folder
            folder.rmdir()
    raise RayUnavailable(
        "no temporary folder has a path short enough for Ray's sockets",
        place=tempfile.gettempdir(),
        hint=f"Set TMPDIR to a folder that you may write to, whose path has at most {_LONGEST_PATH - 18} characters.",
    )


def largest_node() -> dict[str, float]:
    """The most of ``CPU``, ``GPU`` and ``memory`` that one node of the cluster has. This process must be connected."""
    import ray

    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return {name: max((n.get(name, 0.0) for n in alive), default=0.0) for name in ("CPU", "GPU", "memory")}


def abandoned_folders() -> Iterator[Path]:
    """Folders of our own Rays whose process was killed before it could remove them."""
    for base in _bases():
        for note in sorted(Path(base).glob(f"{PREFIX}*/{OWNER}")):
            with suppress(OSError, ValidationError):
                if note.stat().st_uid == os.getuid() and not _lives(note):
                    yield note.parent


def _lives(note: Path) -> bool:
    return ProcessId.model_validate_json(note.read_bytes()).is_alive()
