"""The tables of docs/results.md hold what was asked of the fused student; `make results` writes them anew."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "results.md"
STUDENTS = ("student_kd", "student")
Place = tuple[str, str, str]


def rows(block: str) -> dict[Place, list[float]]:
    """(scenario, detector, variant) → first number of each cell, of a block of the page; – is NaN."""
    text = re.search(rf"<!-- {block}:begin -->(.*?)<!-- {block}:end -->", PAGE.read_text("utf-8"), re.DOTALL)
    assert text is not None
    found: dict[Place, list[float]] = {}
    scenario = ""
    for line in text[1].splitlines():
        if re.fullmatch(r"[a-z_]+_(attack|time)", line):
            scenario = line
        cells = re.split(r" {2,}", line.strip())
        if scenario and line.startswith("  ") and len(cells) == 8:
            numbers = [cell.split(" ")[0].lstrip("<>") for cell in cells[2:]]
            found[scenario, cells[0], cells[1]] = [float(n) if n != "–" else float("nan") for n in numbers]
    return found


@pytest.mark.parametrize("variant", STUDENTS)
def test_hcrl_sa_is_held_in_every_scenario_the_unknown_vehicle_included(variant: str) -> None:
    own = {s: numbers for (s, d, v), numbers in rows("hcrl_sa").items() if (d, v) == ("fusion", variant)}
    assert len(own) == 4
    for f1, auroc, fpr, *_ in own.values():
        assert f1 >= 0.97
        assert auroc >= 0.995
        assert fpr <= 0.02


@pytest.mark.parametrize("variant", STUDENTS)
def test_set_01_is_held_on_the_known_and_on_the_unknown_vehicle(variant: str) -> None:
    table = rows("set_01")
    f1, *_ = table["known_vehicle_known_attack", "fusion", variant]
    assert f1 >= 0.99
    _, auroc, _, recall, alarms, _ = table["unknown_vehicle_unknown_attack", "fusion", variant]
    assert auroc >= 0.95
    assert recall == 1
    assert alarms <= 1


@pytest.mark.parametrize("block", ["hcrl_sa", "set_01", "road_statgraph", "road_statgraph_reversed"])
def test_the_tables_are_means_of_three_seeds_and_have_every_kind_of_rival(block: str) -> None:
    variants = {variant for _, _, variant in rows(block)}
    assert {"specialist", "baseline", "control", *STUDENTS} <= variants
    assert f"$ candor run kd --dataset {block} --seed 1,2,3" in PAGE.read_text("utf-8")


@pytest.mark.parametrize("block", ["unsw_nb15", "cicids2017"])
def test_flows_have_three_seeds_too_and_the_page_says_plainly_how_they_stand_against_trees(
    block: str,
) -> None:
    variants = {variant for _, _, variant in rows(block)}
    assert {"baseline", "control", *STUDENTS} <= variants
    page = PAGE.read_text("utf-8")
    text = page[page.index(f"<!-- {block}:begin -->") : page.index(f"<!-- {block}:end -->")]
    assert f"$ candor run kd --dataset {block} --seed 1,2,3" in text
    for metric in ("macro-F1", "AUC-PR"):
        (line,) = (line for line in text.splitlines() if line.startswith(f"{metric}"))
        ours, trees = (
            re.search(r"our best, \S+ \S+ \(([\d.]+)\)", line),
            re.search(r"boosted_trees \(([\d.]+)\)", line),
        )
        assert ours is not None
        assert trees is not None
        # The prose above the tables gives the same figures.
        assert f"{ours[1]} against {trees[1]}" in page
