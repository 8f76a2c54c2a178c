"""Which Python and which candor there are, and where its roots lie."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys


def code_digest(folder: str) -> str:
    """SHA-256 over names and contents of the package's Python files: the same version may still be other code."""
    known = hashlib.sha256()
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if name.endswith(".py"):
                path = os.path.join(parent, name)
                known.update(os.path.relpath(path, folder).encode())
                with open(path, "rb") as f:
                    known.update(f.read())
    return known.hexdigest()


def main() -> None:
    """Print it."""
    told: dict[str, object] = {
        "python": ".".join(map(str, sys.version_info[:2])),
        "executable": sys.executable,
        "host": socket.gethostname(),
    }
    try:
        import candor
        from candor.config.settings import Settings

        told["candor"] = candor.__version__
        told["folder"] = os.path.dirname(os.path.abspath(str(candor.__file__)))
        told["code"] = code_digest(str(told["folder"]))
        told["roots"] = {name: str(path) for name, path in Settings.from_env().model_dump().items()}
    except Exception as e:  # Whatever a broken environment raises is what is to be told.
        told["error"] = f"{type(e).__name__}: {e}"
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
