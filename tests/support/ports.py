"""Ports for servers that have to be told theirs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port of loopback that the system gives to nobody else meanwhile; without a server there, clients are refused.

    It stays bound, without anybody listening, which lets a server bind it as well if it sets SO_REUSEADDR, as sshd and
    rclone do. A port that was only looked up may be somebody else's before the server has started.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
