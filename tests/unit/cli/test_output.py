from __future__ import annotations

import pytest

from candor.cli import output
from candor.errors import ConfigError

ROWS = [
    ["known vehicle", "fusion", "0.997 [0.994, 1]"],
    ["known vehicle", "volume", "0.993"],
    ["unknown vehicle", "fusion", ""],
]
COLUMNS = [
    output.Column("scenario", whole=True),
    output.Column("detector", whole=True),
    output.Column("a heading longer than its cells", "s", "right", whole=True),
]


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_a_grouped_table_writes_the_first_column_once_above_its_rows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    output.table(COLUMNS, ROWS, title="T", grouped=True)
    lines = printed(capsys)
    assert lines[0] == "T"
    first = lines.index("known vehicle")
    assert "scenario / detector" in " ".join(" ".join(lines[1:first]).split()).replace(
        "scenario / longer", "scenario /"
    )
    body = lines[first:]
    assert body[0] == "known vehicle"
    assert body[1].startswith("  fusion")
    assert body[3] == "unknown vehicle"
    assert body[4].split() == ["fusion", "–"]


def test_cells_that_must_stay_whole_are_not_broken_where_the_terminal_is_narrow(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "44")
    output.table(COLUMNS, ROWS, grouped=True)
    text = "\n".join(printed(capsys))
    assert "0.997 [0.994, 1]" in text
    assert "unknown vehicle" in text


def test_an_error_is_one_line_with_fact_place_and_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    output.error(ConfigError("unknown key 'hiden'", place="--set", hint="Did you mean 'hidden'?"))
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    for part in ("unknown key 'hiden'", "--set", "Did you mean 'hidden'?"):
        assert part in err
