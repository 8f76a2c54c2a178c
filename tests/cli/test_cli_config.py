from __future__ import annotations

import json

from cli_kit import Cli


def test_show_tells_where_each_value_came_from(cli: Cli) -> None:
    shown = json.loads(
        cli("config", "show", "toy", "-d", "small", "--set", "left.steps=7", "--origin", "--json").out
    )
    assert shown["left.steps"] == {"value": 7, "origin": "--set left.steps"}
    assert shown["right.value"] == {"value": 20, "origin": "presets/experiments/toy.yaml"}
    assert shown["total.scale"] == {"value": 1.0, "origin": "default"}
    table = cli("config", "show", "toy", "-d", "small", "--origin").out
    assert table.splitlines()[0].split() == ["key", "value", "origin"]
    assert "origin" not in cli("config", "show", "toy", "-d", "small").out


def test_diff_says_which_fields_differ_and_what_ran_again_because_of_it(cli: Cli) -> None:
    cli("run", "toy", "-d", "small")
    cli("run", "toy", "-d", "small", "--set", "total.scale=2", "--set", "left.workers=9")
    newer, older = [r["run"] for r in json.loads(cli("status", "--json").out)]
    told = json.loads(cli("config", "diff", older, newer, "--json").out)
    assert told["fields"] == [
        {"key": "left.workers", "old": 1, "new": 9},
        {"key": "total.scale", "old": 1.0, "new": 2.0},
    ]
    assert told["tasks"] == [
        {"task": "total", "status": "changed", "why": "scale: 1.0 → 2.0"},
        {"task": "report", "status": "changed", "why": "input total changed"},
    ]
    shown = cli("config", "diff", older, newer).out
    assert "total.scale" in shown
    assert "Unchanged: 2 tasks." in shown
    assert "are the same" in cli("config", "diff", older, older).out


def test_diff_of_an_unknown_run_names_the_nearest(cli: Cli) -> None:
    cli("run", "toy", "-d", "small", "--until", "left")
    assert cli("config", "diff", "toy-smal-x", "toy-small").code == 9
