from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cli_kit
import pytest

from candor.cli import ingest
from candor.ids.captures.progress import Reading

REQUIRED = bool(os.environ.get("CANDOR_REQUIRE_ALL"))

LOG = "".join(f"({k / 10:.1f}) can0 1{k % 10:02X}#00\n" for k in range(50))


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CANDOR_DATA_ROOT", "CANDOR_CACHE_ROOT", "CANDOR_RUN_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CANDOR_ROOT", str(tmp_path / "root"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.log").write_text(LOG)
    (tmp_path / "logs" / "b.log").write_text(LOG + "garbage\n")
    (tmp_path / "logs" / "c.dbc").write_text('VERSION ""\nBO_ 1 M: 8 X\n')
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> tuple[str, str]:
    return cli_kit.run(capsys, "ingest", *argv, code=code)


def told(out: str) -> dict[str, dict[str, Any]]:
    return {Path(row["source"]).name: row for row in json.loads(out)["captures"]}


def test_a_folder_is_imported_and_what_is_no_capture_named(capsys, root: Path) -> None:
    out, err = run(capsys, "logs", "--json", "--vehicle", "kona")
    rows = told(out)
    assert [rows[name]["outcome"] for name in ("a.log", "b.log", "c.dbc")] == [
        "imported",
        "imported",
        "refused",
    ]
    assert rows["b.log"]["reasons"] == {"malformed": 1}
    assert rows["a.log"]["vehicle"] == "kona"
    assert rows["c.dbc"]["says"] == "a DBC signal database, not a capture"
    assert Path(json.loads(out)["folder"]) == root / "root" / "data" / "imported" / "logs"
    assert "[3/3]" in err


def test_a_second_run_finds_everything_there(capsys) -> None:
    run(capsys, "logs")
    out, _ = run(capsys, "logs", "--json")
    assert {row["outcome"] for row in told(out).values()} == {"present", "refused"}


def test_several_processes_do_the_same(capsys) -> None:
    one, _ = run(capsys, "logs", "--name", "one", "--json")
    two, _ = run(capsys, "logs", "--name", "two", "--workers", "2", "--json")
    kept = ("outcome", "rows", "frames_sha256", "sha256")
    one_rows, two_rows = told(one), told(two)
    assert {n: [r.get(k) for k in kept] for n, r in one_rows.items()} == {
        n: [r.get(k) for k in kept] for n, r in two_rows.items()
    }


@pytest.mark.slow
@pytest.mark.skipif(
    not REQUIRED and not all(map(find_spec, ("ray", "candor.executors.ray_workers"))), reason="needs Ray"
)
def test_ray_tasks_do_the_same(capsys) -> None:
    one, _ = run(capsys, "logs", "--name", "one", "--json")
    two, err = run(capsys, "logs", "--name", "two", "--on", "ray", "--json")
    kept = ("outcome", "rows", "frames_sha256", "sha256", "says")
    one_rows, two_rows = told(one), told(two)
    assert {n: [r.get(k) for k in kept] for n, r in one_rows.items()} == {
        n: [r.get(k) for k in kept] for n, r in two_rows.items()
    }
    assert "[3/3]" in err


def test_a_long_import_says_how_far_it_is(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = ingest._Reading()
    reading([Reading("drive", 250_000_000, 1_000_000_000)])
    reading([Reading("drive", 260_000_000, 1_000_000_000)])
    assert capsys.readouterr().err.splitlines() == ["  drive: 25% of 1,000 MB read"]


def test_copies_are_imported_once(capsys, root: Path) -> None:
    (root / "logs" / "copy.log").write_text(LOG)
    out, _ = run(capsys, "logs", "--json", "--workers", "2")
    rows = told(out)
    assert rows["a.log"]["folder"] == rows["copy.log"]["folder"]
    assert rows["copy.log"]["outcome"] == "present"


def test_a_named_file_that_is_refused_fails_the_command(capsys) -> None:
    _, err = run(capsys, "logs/c.dbc", "logs/a.log", code=3)
    assert "refused" in err


def test_a_table_says_why_rows_were_set_aside(capsys) -> None:
    out, _ = run(capsys, "logs/b.log")
    assert "1 malformed" in out


def test_an_unknown_format_names_the_nearest(capsys) -> None:
    _, err = run(capsys, "logs", "--format", "candmup", code=2)
    assert "Did you mean 'candump'?" in err


def test_nothing_to_import_is_an_error(capsys, root: Path) -> None:
    (root / "empty").mkdir()
    _, err = run(capsys, "empty", code=3)
    assert "no file in the folders" in err
