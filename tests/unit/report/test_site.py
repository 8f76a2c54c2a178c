"""The page is whole, escapes what it is told, asks nobody for anything, and works in a browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from report_data import artifacts, output
from waiting import LIMIT_S

from candor.errors import ArtifactMissing, SourceMissing
from candor.flow.stage import Inputs
from candor.report.config import ReportConfig
from candor.report.site import report

TITLE = "<b>kd</b> & co"


def build(folder: Path, inputs: Inputs | None = None) -> Path:
    out = output(folder / "report")
    report(ReportConfig(title=TITLE), inputs or artifacts(folder), out)
    return out.path


class Balanced(HTMLParser):
    """Fails on tags that close out of order; collects ids and links."""

    void = frozenset({"meta", "link", "input", "line", "rect", "path", "circle", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        self.links += [str(v) for k, v in attrs if k in ("href", "src", "data", "action", "srcset")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.void:
            assert self.open.pop() == tag


def test_the_page_is_well_formed_and_its_links_stay_on_it(tmp_path: Path) -> None:
    parser = Balanced()
    parser.feed((build(tmp_path) / "index.html").read_text())
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    for link in parser.links:
        assert link == "data:," or (link.startswith("#") and link[1:] in parser.ids)


def test_the_page_has_every_part(tmp_path: Path) -> None:
    page = (build(tmp_path) / "index.html").read_text()
    for anchor in (
        "scenarios",
        "scores",
        "windows",
        "events",
        "operating",
        "training",
        "thresholds",
        "captures",
    ):
        assert f'<section id="{anchor}">' in page
    for told in (
        "no attack windows in this scenario",
        "validation holds no attack windows",
        "abc123",
        "k" * 64,
    ):
        assert told in page
    assert "prefers-color-scheme: dark" in page


def test_no_css_or_svg_reaches_outside(tmp_path: Path) -> None:
    page = (build(tmp_path) / "index.html").read_text()
    assert not re.search(r"url\(|@import|https?://|//cdn", page)
    assert "default-src 'none'" in page


def test_text_from_a_run_is_escaped(tmp_path: Path) -> None:
    page = (build(tmp_path) / "index.html").read_text()
    assert TITLE not in page
    assert "&lt;b&gt;kd&lt;/b&gt; &amp; co" in page
    assert "windows &lt;equal&gt; training" in page


def test_allowed_audit_errors_stand_in_page_table_and_markdown(tmp_path: Path) -> None:
    out = build(tmp_path)
    notes = json.loads((out / "table.json").read_text())["notes"]
    assert "The audit's error 'twins' was allowed: 41 test windows <equal> training windows." in notes
    assert "'twins' was allowed" in (out / "table.md").read_text()
    page = (out / "index.html").read_text()
    assert 'class="finding error"' in page
    assert "Audit, short: One capture is short." in page
    assert "Nothing else." not in page


def test_only_the_evaluation_is_needed(tmp_path: Path) -> None:
    inputs = artifacts(tmp_path)
    (inputs.path("evaluate") / "record.json").unlink()
    page = (build(tmp_path, Inputs({"evaluate": inputs.path("evaluate")})) / "index.html").read_text()
    assert "no record beside it" in page
    assert '<section id="training">' not in page


def test_missing_results_are_named(tmp_path: Path) -> None:
    inputs = artifacts(tmp_path)
    (inputs.path("evaluate") / "results.parquet").unlink()
    with pytest.raises(SourceMissing, match=r"results\.parquet"):
        build(tmp_path / "b", inputs)
    with pytest.raises(ArtifactMissing, match="evaluate"):
        build(tmp_path / "c", Inputs({}))


def test_the_same_input_gives_the_same_page(tmp_path: Path) -> None:
    inputs = artifacts(tmp_path)
    a, b = (build(tmp_path / n, inputs) / "index.html" for n in "ab")
    assert a.read_bytes() == b.read_bytes()


# ---------------------------------------------------------------- in a browser

_PROBE = """<script>
const head = [...document.querySelectorAll("#windows-table th")].find((h) => h.textContent === "F1");
const column = head.cellIndex;
const shown = () => [...document.querySelectorAll("#windows-table tbody tr")].filter((r) => !r.hidden);
const values = () => shown().map((r) => r.cells[column].dataset.sort);
const found = {start: shown().length};
head.querySelector("button").click(); found.up = values();
head.querySelector("button").click(); found.down = values();
const box = document.querySelector('[data-table="windows-table"] input');
box.value = "gat teacher"; box.dispatchEvent(new Event("input")); found.filtered = shown().length;
const visible = () => [...document.querySelectorAll("#scenarios .panel")].map((p) => p.offsetHeight > 0);
found.first = visible().indexOf(true);
document.getElementById("metric1").click(); found.second = visible().indexOf(true);
found.requests = performance.getEntriesByType("resource").map((r) => r.name);
found.wide = document.documentElement.scrollWidth > window.innerWidth;
document.body.dataset.found = JSON.stringify(found);
</script></body>"""


def browse(page: Path, folder: Path, *more: str) -> tuple[str, str]:
    """(the page's DOM after its scripts ran, the browser's log)."""
    browser = next((b for b in ("chromium", "chromium-browser", "google-chrome") if shutil.which(b)), None)
    if browser is None:
        if os.environ.get("CANDOR_REQUIRE_ALL") == "1":
            pytest.fail("CANDOR_REQUIRE_ALL=1, and no chromium is installed")
        pytest.skip("no chromium")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    # Containers often have 64 MB of /dev/shm for all processes together, and a page that finds it full crashes.
    flags += ["--disable-dev-shm-usage"]
    flags += [f"--user-data-dir={folder}", "--enable-logging=stderr", *more, "--dump-dom", page.as_uri()]
    done = subprocess.run([browser, *flags], capture_output=True, text=True, timeout=LIMIT_S, check=True)
    return done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("size", ["1280,900", "500,900"])
def test_the_page_works_in_a_browser(tmp_path: Path, size: str) -> None:
    page = build(tmp_path) / "index.html"
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text().replace("</body>", _PROBE))
    dom, log = browse(probed, tmp_path / "profile", f"--window-size={size}")
    assert "CONSOLE" not in log, log
    match = re.search(r'data-found="([^"]*)"', dom)
    assert match, "the page's scripts did not run"
    found = json.loads(match.group(1).replace("&quot;", '"'))
    assert (
        found["start"] == 8
    )  # Scenario rows of four detectors; captures and families wait behind the selector.
    defined = [float(v) for v in found["up"] if v]
    assert defined == sorted(defined)
    assert [float(v) for v in found["down"] if v] == defined[::-1]
    assert found["up"][-1] == found["down"][-1] == ""  # Undefined values stay last.
    assert found["filtered"] == 2
    assert (found["first"], found["second"]) == (0, 1)
    assert not found["wide"], "the page scrolls sideways"


@pytest.mark.slow
def test_the_browser_test_would_see_a_request(tmp_path: Path) -> None:
    """The policy inside the page turns any request into a console error."""
    page = build(tmp_path) / "index.html"
    bad = tmp_path / "bad.html"
    bad.write_text(page.read_text().replace("</body>", '<img src="http://127.0.0.1:9/x.png"></body>'))
    _, log = browse(bad, tmp_path / "profile")
    assert "Content Security Policy" in log


def test_the_page_shows_what_a_fusion_policy_does(tmp_path: Path) -> None:
    inputs = artifacts(tmp_path)
    page = (build(tmp_path, inputs) / "index.html").read_text()
    assert 'id="policy"' not in page
    rows = {
        "family": ["", "dos"],
        "shown_as_unknown": [False, True],
        "gat_bin": [0, 9],
        "vgae_bin": [1, 9],
        "windows": [30, 10],
        "weight": [0.25, 0.75],
        "fused": [0.05, 0.95],
    }
    pl.DataFrame(rows).write_parquet(inputs.path("history.fusion.teacher.s1") / "policy.parquet")
    out = output(tmp_path / "again")
    report(ReportConfig(title=TITLE), inputs, out)
    page = (out.path / "index.html").read_text()
    assert 'id="policy"' in page
    assert "0.250 over 30 windows" in page
    assert "dos" in page
