"""Pages of docs/ that are generated stay equal to what the code says; CANDOR_UPDATE_DOCS=1 writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
NOTE = "<!-- Generated: CANDOR_UPDATE_DOCS=1 .venv/bin/pytest tests/docs. Do not edit. -->\n\n"


def check(name: str, text: str) -> None:
    path, whole = DOCS / name, NOTE + text.rstrip() + "\n"
    if os.environ.get("CANDOR_UPDATE_DOCS") == "1":
        path.write_text(whole, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == whole, f"docs/{name} is stale"


def test_the_command_line_page_is_what_help_prints(monkeypatch: pytest.MonkeyPatch):
    import typer.main
    from typer.core import TyperGroup
    from typer.testing import CliRunner

    from candor.cli.main import build_app

    for name, value in {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    app = build_app()
    root = typer.main.get_command(app)
    pages: list[str] = ["# The command line\n"]

    def visit(command: object, words: list[str]) -> None:
        printed = CliRunner().invoke(app, [*words, "--help"], terminal_width=100, prog_name="candor").output
        body = "\n".join(line.rstrip() for line in printed.strip().splitlines())
        pages.append(f"## candor {' '.join(words)}".rstrip() + f"\n\n```\n{body}\n```\n")
        if isinstance(command, TyperGroup):
            for name, child in command.commands.items():
                visit(child, [*words, name])

    visit(root, [])
    check("cli.md", "\n".join(pages))


def test_the_feature_page_is_the_feature_table():
    from candor.ids.graphs import features, flow_features

    pages = [
        "# Features of a window graph\n",
        features.__doc__,
        "## Nodes\n",
        features.markdown(features.NODE_FEATURES),
        "## Edges\n",
        features.markdown(features.EDGE_FEATURES),
        "## Hosts of network flows\n",
        flow_features.__doc__,
        features.markdown(flow_features.flow_features(["..."])),
    ]
    check("features.md", "\n".join(str(p) for p in pages))


def test_the_audit_page_is_the_list_of_findings():
    from candor.ids.graphs.findings import markdown

    check("audit.md", markdown())


def test_the_readme_lists_every_folder_of_the_package():
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    package = DOCS.parent / "src" / "candor"
    folders = [p.name for p in package.iterdir() if p.is_dir() and not p.name.startswith("_")]
    assert [f for f in folders if f"{f}/" not in readme] == []


def test_links_between_pages_lead_somewhere():
    import re

    for page in [DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md", *DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
