from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from flow_kit import Kit, toy_plan
from rich.console import Console

from candor.executors import display as display_module
from candor.executors.base import Skipped
from candor.executors.display import BarDisplay, PlainDisplay, seconds


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7620, "2 h 07 min"),
    ],
)
def test_durations_read_naturally(duration_s: float, text: str) -> None:
    assert seconds(duration_s) == text


@contextmanager
def bars(out: io.StringIO, total: int) -> Iterator[BarDisplay]:
    """Bars that are drawn when they are told to: a thread of Rich's may draw what it saw before a task ended."""
    shown = BarDisplay(Console(file=out, width=100, force_terminal=True), total)
    shown._bars.live.auto_refresh = False
    with shown:
        yield shown


def test_without_a_terminal_every_event_is_one_plain_line(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    shown = PlainDisplay(Console(file=out, width=40), 2)
    monkeypatch.setattr(display_module, "_PLAIN_EVERY_S", 1e9)
    shown.started(toy_plan().task("left"))
    shown.progress("left", 1, 4, "too soon to tell")
    monkeypatch.setattr(display_module, "_PLAIN_EVERY_S", 0.0)
    shown.progress("left", 1, 4, "epoch 1 [loss 0.3]")
    shown.finished(kit.run_task(toy_plan(), "left"))
    shown.finished(Skipped("total", "right"))
    lines = out.getvalue().splitlines()
    assert lines[:2] == ["[1/2] left ...", "[1/2] left: 25 % epoch 1 [loss 0.3]"]
    assert lines[2].startswith("[1/2] ✓ left (")
    assert lines[3] == "[2/2] - total (skipped, because right failed)"


def test_on_a_terminal_there_is_a_line_for_the_run_and_one_for_the_stage(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setenv("TOY_FAIL", "number")
    with bars(out, 3) as shown:
        shown.started(toy_plan().task("left"))
        shown.progress("left", 1, 2, "a note [in brackets] " + "that is much too long to fit beside a bar")
        shown._bars.refresh()
        shown.finished(kit.run_task(toy_plan(), "left"))
        shown._bars.refresh()
    text = out.getvalue()
    assert "0/3 tasks" in text
    assert "50 %" in text
    assert "a note [in brackets]" in text
    assert "1/3 tasks" in text
    assert "✗" in text
    assert "told to fail" in text


def test_tasks_that_run_at_once_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display_module, "_PLAIN_EVERY_S", 0.0)
    out = io.StringIO()
    shown = PlainDisplay(Console(file=out, width=60), 4)
    for name in ("left", "right"):
        shown.started(toy_plan().task(name))
    shown.progress("left", 1, 4)
    shown.progress("right", 1, 2)
    shown.finished(Skipped("left", "something"))
    shown.progress("right", 2, 2)
    lines = out.getvalue().splitlines()
    assert lines[2:4] == ["[1/4] left: 25 %", "[2/4] right: 50 %"]
    assert lines[5] == "[2/4] right: 100 %"


def test_on_a_terminal_each_task_at_work_has_its_line_until_it_ends() -> None:
    out = io.StringIO()
    with bars(out, 3) as shown:
        shown.started(toy_plan().task("left"))
        shown.started(toy_plan().task("right"))
        shown.progress("left", 1, 4)
        shown.progress("right", 1, 2)
        shown._bars.refresh()
        assert "25 %" in out.getvalue()
        assert "50 %" in out.getvalue()
        shown.finished(Skipped("left", "something"))
        out.truncate(0)
        shown._bars.refresh()
        assert "25 %" not in out.getvalue()
        assert "50 %" in out.getvalue()
