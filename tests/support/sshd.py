"""A real sshd of this machine's loopback for tests: a port, keys and a configuration of its own."""

from __future__ import annotations

import getpass
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ports import reserved_port
from waiting import LIMIT_S

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/sbin:/bin")


def available() -> bool:
    """Whether this machine can start one."""
    return SSHD is not None and all(shutil.which(p) for p in ("ssh", "ssh-keygen", "rsync"))


@dataclass(frozen=True)
class Sshd:
    """A running one."""

    folder: Path
    port: int

    @property
    def host(self) -> str:
        return f"{getpass.getuser()}@127.0.0.1"

    def command(self, key: str = "user") -> str:
        """ssh that trusts this sshd alone, with this key."""
        words = ["ssh", "-F", "none", "-p", str(self.port), "-i", str(self.folder / key)]
        for option in (
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            f"UserKnownHostsFile={self.folder / 'known_hosts'}",
            "StrictHostKeyChecking=yes",
        ):
            words += ["-o", option]
        return shlex.join(words)


def _key(path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path.with_name(path.name + ".pub").read_text()


@contextmanager
def sshd(folder: Path, environment: dict[str, str] | None = None) -> Iterator[Sshd]:
    """An sshd that lets in who has ``folder/user``, and not who has ``folder/stranger``.

    Args:
        environment: variables that sessions see.
    """
    with reserved_port() as port:
        yield from _serving(folder, port, environment or {})


def _serving(folder: Path, port: int, environment: dict[str, str]) -> Iterator[Sshd]:
    assert SSHD is not None
    folder.mkdir(parents=True, exist_ok=True)
    host_key, user_key = _key(folder / "host"), _key(folder / "user")
    _key(folder / "stranger")
    (folder / "authorized").write_text(user_key)
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {' '.join(host_key.split()[:2])}\n")
    lines = [
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {folder / 'host'}",
        f"AuthorizedKeysFile {folder / 'authorized'}",
        f"PidFile {folder / 'pid'}",
        "PermitRootLogin yes",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "UsePAM no",
        "StrictModes no",
    ]
    told = " ".join(f'"{name}={value}"' for name, value in environment.items())
    lines += [f"SetEnv {told}"] if told else []
    (folder / "config").write_text("\n".join(lines) + "\n")
    # It separates privileges into this folder, which a package makes at boot only.
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "config"], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + LIMIT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, "sshd ended"
                assert time.monotonic() < until, "sshd does not listen"
                time.sleep(0.05)
        yield Sshd(folder, port)
    finally:
        process.terminate()
        process.wait()
