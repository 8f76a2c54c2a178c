"""Damaging files at random, and keeping those that broke a rule."""

from __future__ import annotations

import hashlib
import os
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from candor.ids.captures.flows.formats import LAYOUTS
from candor.ids.captures.formats import FORMATS

#: Processor time for all parsers together: a busy machine tries as many files as an idle one. Not where a change is judged by
#: a seed: how far the same files are tried would be decided by the machine.
SECONDS = float(
    os.environ.get("CANDOR_FUZZ_SECONDS") or ("0" if os.environ.get("CANDOR_FUZZ_SEED") else "60")
)
SEED = int(os.environ.get("CANDOR_FUZZ_SEED", "0")) or random.SystemRandom().randrange(1 << 32)
#: A sample has under 10 kB; whatever takes longer than this hangs.
#: Processor time: a busy machine, or a kernel that is compiled on its first call, is no hang.
LIMIT_S = 60.0
BITS = [
    *(
        b"\n",
        b"\r\n",
        b"\x00",
        b"nan",
        b"inf",
        b"-1",
        b"1e308",
        b",",
        b";",
        b"#",
        b"##",
        b"R",
        b" ",
        b"\t",
        b"(",
        b")",
    ),
    *(
        "ü".encode(),
        b"\xff",
        b"\xef\xbb\xbf",
        b"99999999999999999999",
        b"FFFFFFFF",
        b"PAR1",
        b"//",
        b";",
        b"0x",
        b"\x1c",
    ),
]


def mutate(content: bytes, rng: random.Random) -> bytes:
    """A few random changes: flipped bits, cut, doubled, moved and invented bytes, numbers at their limits."""
    out = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        at, size = rng.randrange(len(out) + 1), rng.choice([1, 2, 4, 8, 40])
        match rng.randrange(8):
            case 0 if out:
                out[at % len(out)] ^= 1 << rng.randrange(8)
            case 1:
                del out[at : at + size]
            case 2:
                out[at:at] = out[at : at + size]
            case 3:
                out[at:at] = rng.choice(BITS)
            case 4:
                out[at : at + size] = rng.randbytes(size)
            case 5:
                out[at : at + 4] = rng.choice(
                    [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80"]
                )
            case 6:
                there = rng.randrange(len(out) + 1)
                out[there:there] = out[at : at + size * 4]
            case _:
                del out[at + rng.randrange(len(content)) :]
    return bytes(out)


def keep(corpus: Path, content: bytes, name: str) -> Path:
    """Write a file that broke a rule where it is found again."""
    corpus.mkdir(parents=True, exist_ok=True)
    path = corpus / f"{name}-{hashlib.sha256(content).hexdigest()[:12]}.bin"
    path.write_bytes(content)
    return path


def _spent_s() -> float:
    """Processor time of this process and those it started: some formats are read in one of their own."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def fuzz(
    name: str,
    contents: Sequence[bytes],
    corpus: Path,
    check: Callable[[bytes, random.Random], None],
    *,
    at_least: int,
) -> None:
    """Mutate files of a format for its share of the time, so many at least; keep and name the one that breaks a rule."""
    rng = random.Random(f"{SEED}{name}")
    #: A file that kills the interpreter is found here.
    last = Path(tempfile.gettempdir()) / f"candor-fuzz-{name}-{os.getpid()}.bin"
    until = _spent_s() + SECONDS / (len(FORMATS) + len(LAYOUTS))
    tries = 0
    while tries < at_least or _spent_s() < until:
        tries += 1
        content = mutate(rng.choice(contents), rng)
        last.write_bytes(content)
        try:
            check(content, rng)
        except (Exception, pl.exceptions.PanicException) as e:  # A panic of Polars is no Exception.
            path = keep(corpus, content, name)
            raise AssertionError(f"CANDOR_FUZZ_SEED={SEED}: {type(e).__name__} on {path.name}: {e}") from e
    last.unlink()
