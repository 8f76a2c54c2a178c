from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from waiting import LIMIT_S

from candor.flow.journal import Journal


def test_events_come_back_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    assert journal.read() == []
    journal.append("a", task="ü", n=1)
    journal.append("b")
    assert [(e["event"], e.get("task")) for e in journal.read()] == [("a", "ü"), ("b", None)]


@pytest.mark.parametrize("torn", [b'{"event":"hal', b"\xff\xfe", b"12"])
def test_a_torn_line_is_skipped_and_does_not_swallow_the_next(tmp_path: Path, torn: bytes) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.append("a")
    with journal.path.open("ab") as f:
        f.write(torn)
    assert [e["event"] for e in journal.read()] == ["a"]
    journal.append("b")
    assert [e["event"] for e in journal.read()] == ["a", "b"]


def _write_many(path: Path, name: str) -> None:
    for i in range(200):
        Journal(path).append(name, i=i, padding="x" * 300)


def test_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(path, name)) for name in ("a", "b")]
    for w in writers:
        w.start()
    for w in writers:
        w.join(LIMIT_S)
    events = Journal(path).read()
    assert len(events) == 400
    for name in ("a", "b"):
        assert [e["i"] for e in events if e["event"] == name] == list(range(200))
