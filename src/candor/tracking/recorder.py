"""Metrics of a stage: rows in a file that survives attempts, a Parquet table once the stage succeeded."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pyarrow as pa

#: Name of the rows in scratch, and of the table inside the artifact (columns: task, kind, step, metric, value).
ROWS, TABLE = "metrics.jsonl", "metrics.parquet"


class JsonlRecorder:
    """Appends one JSON line per ``log``; NaN and infinities are kept, since a diverging loss is a fact worth having.

    Args:
        scratch: folder that survives attempts; rows of earlier attempts are kept.
        task: ID of the task, repeated in every row of the table.
    """

    def __init__(self, scratch: Path, task: str) -> None:
        self.rows_path, self._task = scratch / ROWS, task
        if not self.rows_path.exists() or _ends_whole(self.rows_path):
            return
        self._write(list(self.rows()))  # A line torn by a crash would swallow the next one.

    def log(self, step: int, metrics: Mapping[str, float], *, kind: str = "epoch") -> None:
        """Append one row of scalar metrics at ``step`` of the clock ``kind``."""
        row = {"kind": kind, "step": int(step), "metrics": {k: float(v) for k, v in metrics.items()}}
        with self.rows_path.open("a", encoding="utf-8") as f:
            f.write(json.dumps(row) + "\n")

    def rewind(self, step: int, *, kind: str = "epoch") -> None:
        """Forget rows of ``kind`` at or after ``step``."""
        rows = list(self.rows())
        kept = [r for r in rows if r["kind"] != kind or r["step"] < step]
        if len(kept) < len(rows):
            self._write(kept)

    def clear(self) -> None:
        """Forget every row."""
        self.rows_path.unlink(missing_ok=True)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every whole row so far: ``{"kind", "step", "metrics"}``."""
        yield from read_rows(self.rows_path)

    def publish(self, out: Path) -> None:
        """Write the table into ``out``; nothing if no row was logged."""
        flat = [
            (r["kind"], r["step"], name, value) for r in self.rows() for name, value in r["metrics"].items()
        ]
        if not flat:
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds, steps, names, values = zip(*flat, strict=True)
        columns = {
            "task": _words([self._task] * len(flat)),
            "kind": _words(kinds),
            "step": _numbers("q", steps),
            "metric": _words(names),
            "value": _numbers("d", values),
        }
        schema = pa.schema([pa.field(name, c.type, nullable=False) for name, c in columns.items()])
        pq.write_table(pa.table(list(columns.values()), schema=schema), out / TABLE)

    def _write(self, rows: list[dict[str, Any]]) -> None:
        temporary = self.rows_path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
        temporary.replace(self.rows_path)


# ``pa.array`` imports pandas wherever that is installed: 0.16 s and some 40 MB of every task. These lay the buffers out.


def _words(words: Sequence[str]) -> pa.Array:
    encoded = [word.encode() for word in words]
    ends = array("i", accumulate(map(len, encoded), initial=0))
    return _laid_out("string", len(words), ends, b"".join(encoded))


def _numbers(code: Literal["q", "d"], numbers: Sequence[float]) -> pa.Array:
    return _laid_out({"q": "int64", "d": "float64"}[code], len(numbers), array(code, numbers))


def _laid_out(kind: str, length: int, *buffers: array[int] | array[float] | bytes) -> pa.Array:
    import pyarrow as pa

    no_nulls = None
    return pa.Array.from_buffers(
        pa.type_for_alias(kind), length, [no_nulls, *(pa.py_buffer(b) for b in buffers)]
    )


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Every whole row of a rows file, none if there is no such file; a line torn by a crash is passed over."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as f:
        size = f.seek(0, 2)
        if size == 0:
            return True
        f.seek(size - 1)
        return f.read(1) == b"\n"
