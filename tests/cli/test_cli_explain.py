"""``candor explain`` on a finished run: which windows, whose decisions, and what its page says of a false alarm and a miss."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from cli_kit import run
from kd_run import Candor

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("explain")]

FEATURE = re.compile(r"[a-z0-9_]+ of (0x[0-9A-F]+|the window): [+-]\d+\.\d sd")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Candor:
    """A run in which every detector that can be explained was judged."""
    candor = Candor(tmp_path_factory.mktemp("explain"))
    candor.run_kd(
        "variants.student_kd.temporal.windows=3", "payload.calibration_s=3", "frame_dynamics.calibration_s=3"
    )
    return candor


@pytest.fixture(autouse=True)
def root(finished: Candor, monkeypatch: pytest.MonkeyPatch) -> Candor:
    for name in ("CANDOR_DATA_ROOT", "CANDOR_CACHE_ROOT", "CANDOR_RUN_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CANDOR_ROOT", str(finished.root))
    monkeypatch.setenv("COLUMNS", "240")
    return finished


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(run(capsys, "explain", *arguments, "--json")[0])
    return told


def judged(finished: Candor, *, y: int, prediction: int) -> dict[str, Any]:
    """A test window whose truth and decision were these, by a detector whose features can be named."""
    table = pl.read_parquet(finished.artifact("evaluate") / "predictions.parquet")
    found = table.filter(
        pl.col("detector").is_in(["fusion", "gat", "vgae"]), variant="student_kd", y=y, prediction=prediction
    )
    assert len(found), "the tiny run has no such window"
    return found.row(0, named=True)


def card(told: dict[str, Any]) -> str:
    """The words of the page."""
    page = (Path(told["folder"]) / "index.html").read_text(encoding="utf-8")
    return unescape(re.sub(r"<[^>]+>", " ", page))


def test_top_says_how_many_windows_and_the_page_shows_each(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, "explain", "--top", "4")
    page = Path(out.strip().splitlines()[-1].removeprefix("Page: "))
    html = page.read_text(encoding="utf-8")
    windows = pl.read_parquet(page.with_name("windows.parquet"))
    assert len(windows) == 4
    assert html.count('class="card"') == 4
    assert "http://" not in html.replace("http://www.w3.org", "")
    for row in windows.iter_rows(named=True):
        assert f"{row['capture']}:{row['window']}" in out
    assert re.search(r"difference [+-]\d+\.\d\d \[[+-]\d+\.\d\d, [+-]\d+\.\d\d\]", out)
    assert "Without any edge the decision moves by" in out


@pytest.mark.parametrize("kind", ["false alarm", "missed"])
def test_the_page_of_one_window_names_the_features_that_drove_it(
    finished: Candor, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    row = judged(finished, y=int(kind == "missed"), prediction=int(kind == "false alarm"))
    asked = ("--window", f"{row['capture']}:{row['window']}", "--detector", row["detector"])
    told = explained(capsys, *asked)
    (window,) = told["windows"]
    assert (window["kind"], window["capture"], window["window"]) == (kind, row["capture"], row["window"])
    words = card(told)
    assert re.search(r"False alarm: score" if kind == "false alarm" else r"Missed \(\w+\): score", words)
    assert FEATURE.search(window["driven_by"])
    for driver in window["driven_by"].split("; "):
        assert driver in words


@pytest.mark.parametrize(
    ("detector", "answers"),
    [
        ("fusion", {"classifier", "autoencoder"}),
        ("gat", {"classifier"}),
        ("vgae", {"autoencoder"}),
        ("temporal", {"temporal"}),
        ("payload", {"payload"}),
        ("frame_dynamics", {"frame_dynamics"}),
    ],
)
def test_every_detector_answers_for_its_own_decisions(
    capsys: pytest.CaptureFixture[str], detector: str, answers: set[str]
) -> None:
    told = explained(capsys, "--detector", detector, "--top", "3")
    assert {w["detector"] for w in told["windows"]} == {detector}
    assert {w["answers"] for w in told["windows"]} <= answers
    assert set(told["fidelity"]) == {w["answers"] for w in told["windows"]} - {"payload", "frame_dynamics"}
    for own in told["fidelity"].values():
        assert {"edges", "nodes", "features"} <= set(own["of"])


def test_what_cannot_be_explained_is_refused_with_what_can(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Explained: fusion, gat" in run(capsys, "explain", "--detector", "volume", code=2)[1]
    assert "is no window" in run(capsys, "explain", "--window", "nonsense", code=2)[1]
    assert "no test window nowhere:3" in run(capsys, "explain", "--window", "nowhere:3", code=9)[1]
    assert "no variant 'pupil'" in run(capsys, "explain", "--variant", "pupil", code=2)[1]
