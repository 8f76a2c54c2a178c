from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from candor.cli.main import main
from candor.errors import NotFound, PresetNotFound
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
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty machine: no files, no artifacts."""
    for name in ("CANDOR_DATA_ROOT", "CANDOR_CACHE_ROOT", "CANDOR_RUN_ROOT", "CANDOR_SHARED_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CANDOR_ROOT", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
    with pytest.raises(SystemExit) as done:
        main(["data", *argv])
    assert done.value.code == code
    said = capsys.readouterr()
    return said.out, said.err


def test_datasets_without_files_are_listed_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = run(capsys, "list")
    assert "DoS-kia" in out
    assert "hcrl_sa: not ingested yet, and 11 of 11 files are missing" in err
    assert "synthetic: not ingested yet" in err


def test_ingested_captures_show_their_numbers(capsys: pytest.CaptureFixture[str], ingested: None) -> None:
    out, err = run(capsys, "list", "--dataset", "set_01")
    (line,) = [line for line in out.splitlines() if line.startswith("set_01")]
    assert line.split() == ["set_01", "a", "train", "–", "v1", "base", "dos", "40", "3.9", "1", "50.00", "1"]
    assert err == ""


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
