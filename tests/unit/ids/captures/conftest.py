"""Frame tables, stage outputs and sources for the capture tests."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pytest

from candor.flow.stage import Output
from candor.ids.captures import frames as fr
from candor.ids.config import CaptureSource

SUPPORT = next(p for p in Path(__file__).resolve().parents if p.name == "tests") / "support"
if str(SUPPORT) not in sys.path:
    sys.path.insert(0, str(SUPPORT))


@dataclass
class Told:
    """A recorder and a progress sink that remember."""

    steps: list[tuple[float, float, str]] = field(default_factory=list)

    def log(self, step: int, metrics: Mapping[str, float], *, kind: str = "epoch") -> None:
        raise AssertionError("capture stages log no metrics")

    def rewind(self, step: int, *, kind: str = "epoch") -> None:
        raise AssertionError("capture stages log no metrics")

    def __call__(self, done: float, total: float, note: str = "") -> None:
        self.steps.append((done, total, note))


@pytest.fixture
def stage_output(tmp_path: Path) -> Output:
    """Where a stage under test may write."""
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    out.mkdir()
    scratch.mkdir()
    told = Told()
    return Output(out, scratch, told, told)


@pytest.fixture
def make_frames() -> Callable[..., pl.DataFrame]:
    """Build a valid frame table from rows (timestamp, id, payload hex, label)."""

    def make(rows: list[tuple[float, int, str, int | None]], **columns: object) -> pl.DataFrame:
        payloads = [bytes.fromhex(data) for _, _, data, _ in rows]
        table = pl.DataFrame(
            {
                "timestamp": [t for t, _, _, _ in rows],
                "id": [i for _, i, _, _ in rows],
                "data": payloads,
                "dlc": [len(p) for p in payloads],
                "label": [y for _, _, _, y in rows],
                "attack": ["attack" if y == 1 else "" for _, _, _, y in rows],
                "flags": [fr.EXTENDED if i > fr.MAX_STANDARD_ID else 0 for _, i, _, _ in rows],
                "channel": [""] * len(rows),
            },
            schema=fr.COLUMNS,
        )
        return fr.validate(
            table.with_columns(**{k: pl.lit(v, dtype=fr.COLUMNS[k]) for k, v in columns.items()})
        )

    return make


@pytest.fixture
def make_source(tmp_path: Path) -> Callable[..., CaptureSource]:
    """Write a raw file and describe it."""

    def make(name: str, content: bytes | str, **known: object) -> CaptureSource:
        raw = content.encode() if isinstance(content, str) else content
        path = tmp_path / "raw" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(raw)
        about = {
            "capture": name.split(".")[0],
            "path": str(path),
            "sha256": hashlib.sha256(raw).hexdigest(),
            "split": "train",
            "vehicle": "car",
            "base_capture": name.split(".")[0],
        }
        return CaptureSource.model_validate({**about, **known})

    return make
