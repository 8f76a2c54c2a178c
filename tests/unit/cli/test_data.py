from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import cli_kit
import pytest

from candor.cli.main import main
from candor.errors import NotFound, PresetNotFound, SourceMissing
from candor.flow.stage import Inputs, Output
from candor.ids.captures.ingest import ingest
from candor.ids.config import CaptureSource, IngestConfig

CSV = (
    "timestamp,arbitration_id,data_field,attack\n"
    + "".join(f"{t / 10},316,00,{t % 2}\n" for t in range(1, 41))
    + "x\n"
)


class Quiet:
    def log(self, *args: object, **kwargs: object) -> None: ...

    def rewind(self, *args: object, **kwargs: object) -> None: ...

    def __call__(self, *args: object) -> None: ...


@pytest.fixture(autouse=True)
def root(empty_machine: Path) -> Path:
    return empty_machine


@pytest.fixture
def ingested(root: Path) -> None:
    """set_01 with one ingested capture."""
    raw, folder = root / "a.csv", root / "cache" / "artifacts" / "ingest" / "k"
    raw.write_text(CSV)
    folder.mkdir(parents=True)
    quiet = Quiet()
    source = CaptureSource(
        capture="a", path=str(raw), sha256="", split="train", vehicle="v1", base_capture="base", attack="dos"
    )
    config = IngestConfig(dataset="set_01", sources=(source,))
    result = ingest(config, Inputs({}), Output(folder, folder, quiet, quiet))
    (folder / "record.json").write_text(json.dumps({"summary": result.summary, "created": "2026-01-01"}))


def run(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> tuple[str, str]:
    return cli_kit.run(capsys, "data", *argv, code=code)


def test_datasets_without_files_are_listed_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = run(capsys, "list")
    assert "DoS-kia" in out
    assert "hcrl_sa: not ingested yet, and 11 of 11 files are missing" in err
    assert "synthetic: not ingested yet" in err


def test_ingested_captures_show_their_numbers(capsys: pytest.CaptureFixture[str], ingested: None) -> None:
    out, err = run(capsys, "list", "--dataset", "set_01")
    group, line = [line for line in out.splitlines() if line.startswith(("set_01", "  a "))]
    assert group.strip() == "set_01"
    # A column that says nothing of any capture, here the scenario, is left out.
    assert line.split() == ["a", "train", "v1", "base", "dos", "40", "3.9", "1", "50.00", "1"]
    assert err == ""


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_no_name_is_broken_however_narrow_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    out, err = run(capsys, "list", "--domain", "automotive", "--attack", "masquerade")
    rows = json.loads(run(capsys, "list", "--domain", "automotive", "--attack", "masquerade", "--json")[0])
    cells = {word for line in out.splitlines() for word in line.split()}
    assert {row["capture"] for row in rows} <= cells
    assert {word for row in rows for word in row["attack"].split("_")} <= cells
    assert ("Left out, as the terminal is narrow: base capture" in err) == (width < 140)
    assert max(map(len, out.splitlines())) <= max(width, 90)


def test_json_is_for_machines(capsys: pytest.CaptureFixture[str], ingested: None) -> None:
    (row,) = json.loads(run(capsys, "list", "-d", "set_01", "--json")[0])
    assert (row["rows"], row["quarantined"], row["ingested"]) == (40, 1, True)
    shown = json.loads(run(capsys, "show", "set_01", "a", "--json")[0])
    assert shown["events"][0]["attack"] == "dos"
    dataset = json.loads(run(capsys, "show", "set_01", "--json")[0])
    assert [c["capture"] for c in dataset["captures"]] == ["a"]
    planned = json.loads(run(capsys, "list", "-d", "hcrl_sa", "--json")[0])
    assert {row["rows"] for row in planned} == {None}


def test_one_capture_shows_quarantine_reasons_and_events(
    capsys: pytest.CaptureFixture[str], ingested: None
) -> None:
    out, _ = run(capsys, "show", "set_01", "a")
    assert '{"malformed": 1}' in out
    assert "from [s]" in out


def test_a_dataset_shows_its_terms(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, "show", "hcrl_sa")
    assert "academic use only" in out
    assert "Han, B. I. Kwak" in out


def test_a_wrong_name_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    _, err = run(capsys, "show", "hcrl_sa", "DoS-ki", code=NotFound.exit_code)
    assert "Did you mean 'DoS-kia'?" in err
    _, err = run(capsys, "list", "-d", "hcrlsa", code=PresetNotFound.exit_code)
    assert "Did you mean 'hcrl_sa'?" in err


def test_listing_loads_neither_torch_nor_ray(root: Path) -> None:
    code = (
        "import sys\nfrom candor.cli.main import main\n"
        "try:\n    main(['data', 'list'])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'ray', 'pandera'} & set(sys.modules), 'loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


OWN = """\
name: mine
title: Mine
domain: can
licence: ask first
citation: none
obtain: Ask the author.
captures:
  - {capture: free, path: free, split: train, vehicle: v}
  - {capture: hit, path: hit, split: test, scenario: s, vehicle: v, attack: dos}
"""


@pytest.fixture
def own(root: Path) -> Path:
    """A dataset that is one YAML in the data root, and a folder with its download."""
    (root / "data" / "presets" / "datasets").mkdir(parents=True)
    (root / "data" / "presets" / "datasets" / "mine.yaml").write_text(OWN)
    download = root / "download"
    download.mkdir()
    return download


def test_a_new_dataset_is_one_yaml(capsys: pytest.CaptureFixture[str], own: Path) -> None:
    for name in ("free", "hit"):
        (own / f"{name}.csv").write_text(CSV.replace(",1\n", ",0\n") if name == "free" else CSV)
    out, err = run(capsys, "add", "mine", str(own))
    assert "2 of 2 captures found" in out
    assert "ask first" in err
    with pytest.raises(SystemExit) as done:
        main(["run", "kd", "--dataset", "mine", "--until", "ingest"])
    assert done.value.code == 0
    capsys.readouterr()
    rows = json.loads(run(capsys, "list", "-d", "mine", "--json")[0])
    assert [(r["capture"], r["rows"], r["quarantined"], r["ingested"]) for r in rows] == [
        ("free", 40, 1, True),
        ("hit", 40, 1, True),
    ]


def test_an_incomplete_download_says_what_is_missing_and_brings_the_rest(
    capsys: pytest.CaptureFixture[str], own: Path
) -> None:
    (own / "free.csv").write_text(CSV)
    (own / "other.csv").write_text(CSV)
    out, err = run(capsys, "add", "mine", str(own), "--check", code=SourceMissing.exit_code)
    assert "Unexpected, left out" in out
    assert "other.csv" in out
    assert "mine lacks 1 of 2 captures: hit" in err
    assert "Ask the author" in err
    assert not (own.parent / "data" / "mine").exists()
    out, _ = run(capsys, "add", "mine", str(own), "--json", code=SourceMissing.exit_code)
    assert json.loads(out)["added"] == ["free"]


def test_captures_are_found_by_domain_attack_and_vehicle(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(run(capsys, "list", "--domain", "automotive", "--attack", "masquerade", "--json")[0])
    assert {row["dataset"] for row in rows} >= {"road", "set_04"}
    assert all("masquerade" in row["attack"] for row in rows)
    assert (
        json.loads(run(capsys, "list", "--domain", "can", "--vehicle", "kia", "--json")[0])[0]["dataset"]
        == "hcrl_sa"
    )
    _, err = run(capsys, "list", "--domain", "automotiv", code=2)
    assert "no domain 'automotiv'" in err
    assert "Did you mean 'automotive'?" in err
    out, err = run(capsys, "list", "--domain", "network", "--vehicle", "kia")
    assert (out, err.strip()) == ("", "No capture of domain 'network', of vehicle 'kia'.")
    _, err = run(capsys, "list", "--attack", "masquerade")
    assert "hcrl_sa" not in err


def test_signals_of_an_ingested_capture_have_their_names(
    capsys: pytest.CaptureFixture[str], ingested: None, root: Path, needs: Callable[[bool, str], None]
) -> None:
    needs(find_spec("cantools") is not None, "cantools (candor[dbc])")
    dbc = root / "car.dbc"
    dbc.write_text(
        'VERSION ""\nBU_: ECU\nBO_ 790 ENGINE: 1 ECU\n SG_ Level : 0|8@1+ (0.5,1) [0|0] "bar" ECU\n'
    )
    out, _ = run(
        capsys, "signals", "set_01", "a", "--dbc", str(dbc), "--json", "--out", str(root / "v.parquet")
    )
    (row,) = json.loads(out)["signals"]
    assert row == {
        "message": "ENGINE",
        "signal": "Level",
        "unit": "bar",
        "frames": 40,
        "min": 1.0,
        "mean": 1.0,
        "max": 1.0,
    }
    assert (root / "v.parquet").is_file()
    out, _ = run(capsys, "signals", "set_01", "a", "--dbc", str(dbc))
    assert "Level" in out
    _, err = run(capsys, "signals", "set_01", "z", "--dbc", str(dbc), code=SourceMissing.exit_code)
    assert "'z' is not ingested" in err
