"""docs/formats.md is what the importers do: its tables are made here, and compared.

``CANDOR_UPDATE_DOCS=1 pytest tests/docs/test_formats_page.py`` writes them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from candor.errors import CandorError
from candor.ids.captures import files, importing
from candor.ids.captures.flows import formats as flow_formats
from candor.ids.captures.formats import FORMATS
from candor.ids.captures.importing import ImportOptions
from candor.ids.captures.sources import RawFile

HERE = Path(__file__).resolve()
PAGE = HERE.parents[2] / "docs" / "formats.md"
PACK = Path(os.environ.get("CANDOR_SHARED_DATA") or HERE.parents[3] / "shared" / "data")
REQUIRED = bool(os.environ.get("CANDOR_REQUIRE_ALL"))

ANNOTATED = {"peak_trc/rusefi_happy.trc": "the file is grouped by ID, so its clock starts again"}


def section(page: str, name: str) -> str:
    """Text between the marks of a section."""
    return page.split(f"<!-- {name} -->\n")[1].split(f"<!-- /{name} -->")[0]


def check(name: str, table: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    if os.environ.get("CANDOR_UPDATE_DOCS"):
        before, _, rest = page.partition(f"<!-- {name} -->\n")
        page = f"{before}<!-- {name} -->\n{table}<!-- /{name} -->{rest.partition(f'<!-- /{name} -->')[2]}"
        PAGE.write_text(page, encoding="utf-8")
    assert section(page, name) == table, f"CANDOR_UPDATE_DOCS=1 pytest {HERE.name} writes the page"


def row(*cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |\n"


def test_the_page_lists_every_format() -> None:
    table = row("format", "files", "labels", "timestamps", "written too") + "|---|---|---|---|---|\n"
    for kind in FORMATS.values():
        marks = ["yes" if mark else "" for mark in (kind.labelled, kind.timed, kind.write)]
        table += row(f"`{kind.name}`", kind.title, *marks)
    check("formats", table)


@pytest.mark.skipif(not REQUIRED and not (PACK / "raw").is_dir(), reason="no shared data pack")
def test_the_page_says_what_becomes_of_every_raw_file_of_the_pack(tmp_path: Path) -> None:
    table = row("file", "format", "frames", "set aside", "or refused, because") + "|---|---|--:|---|---|\n"
    paths = sorted(path for path in (PACK / "raw").rglob("*") if path.is_file())
    assert len(paths) >= 80
    for path in paths:
        name = path.relative_to(PACK / "raw").as_posix()
        try:
            record = importing.import_file(RawFile(path), tmp_path, ImportOptions()).record
        except CandorError as e:
            table += row(name, "", "", "", e.fact)
            continue
        aside = ", ".join(f"{count} {reason}" for reason, count in record.reasons.items())
        note = f" ({ANNOTATED[name]})" if name in ANNOTATED else ""
        table += row(name, f"`{record.format}`", f"{record.frames:,}", aside + note, "")
    check("pack", table)


def test_the_page_lists_every_format_of_flows() -> None:
    table = row("format", "files", "hosts", "times", "labels") + "|---|---|---|---|---|\n"
    for layout in flow_formats.LAYOUTS.values():
        marks = [
            "yes" if layout.src is not None else "no: tabular baselines only",
            "yes" if layout.t_start is not None else "no: order of rows",
            f"where the file has `{layout.labelled}`" if layout.labelled else "yes",
        ]
        table += row(f"`{layout.name}`", layout.title, *marks)
    check("flows", table)


@pytest.mark.skipif(not REQUIRED and not (PACK / "raw").is_dir(), reason="no shared data pack")
def test_the_page_says_what_becomes_of_every_file_of_flows() -> None:
    table = row("file", "format", "flows", "attacks", "set aside", "graphs") + "|---|---|--:|--:|--:|---|\n"
    names = [
        line.split(" | ")[0][2:] for line in section(PAGE.read_text(encoding="utf-8"), "pack").splitlines()
    ]
    told = section(PAGE.read_text(encoding="utf-8"), "pack").splitlines()
    flows = [name for name, line in zip(names, told, strict=True) if "network flows" in line]
    assert len(flows) == 7
    for name in flows:
        read = flow_formats.read(files.read_bytes(PACK / "raw" / name), name)
        parsed, layout = read.parsed, read.layout
        graphs = "yes" if layout.src is not None else "refused: no addresses"
        counts = (
            f"{parsed.flows.height:,}",
            int(parsed.flows["label"].sum()),
            parsed.quarantined.height or "",
        )
        table += row(name, f"`{layout.name}`", *counts, graphs)
    check("flow pack", table)
