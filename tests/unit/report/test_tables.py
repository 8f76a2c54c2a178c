"""The printed table says what the results say, and no more."""

from __future__ import annotations

import polars as pl
import pytest
from report_data import frame, results, row

from candor.report.numbers import UNDEFINED, estimate, quantity, share
from candor.report.tables import headline, lowest_rate, markdown, summary_table, verdict


def test_rows_come_by_scenario_with_controls_at_the_bottom() -> None:
    table = summary_table(results())
    assert [tuple(r[:3]) for r in table["rows"]] == [
        (s, d, v)
        for s in ("s1", "s2")
        for d, v in [("gat", "teacher"), ("gat", "student_kd"), ("vgae", "teacher"), ("timing", "control")]
    ]
    assert all(len(r) == len(table["columns"]) for r in table["rows"])


def test_one_seed_shows_its_interval() -> None:
    assert summary_table(results())["rows"][0][3] == "0.900 [0.890, 0.910]"


def test_the_footer_says_what_the_intervals_are_of() -> None:
    def footer(*kinds: str) -> str:
        rows = [row("f1", 0.9, scenario=f"s{i}", interval=kind) for i, kind in enumerate(kinds)]
        (note,) = [n for n in summary_table(frame(rows))["notes"] if n.startswith("[low, high]")]
        return note

    assert footer("captures", "captures").endswith(
        "bootstrap of captures, then of blocks of windows within them."
    )
    assert "of which there is one of a kind (s1)" in footer("captures", "blocks")
    assert "then of blocks of windows within them (s0)" in footer("captures", "blocks")
    assert "exact binomial where no window" in footer("binomial")


def test_several_seeds_show_mean_and_spread_but_a_control_its_interval() -> None:
    rows = summary_table(results((1, 2, 3)))["rows"]
    assert rows[0][3] == "0.900 ± 0.012"
    assert "[" in rows[3][3]


def test_undefined_cells_are_dashes_explained_below() -> None:
    table = summary_table(results())
    assert table["rows"][4][3] == UNDEFINED
    assert any("no attack windows in this scenario" in note for note in table["notes"])


def test_reasons_of_metrics_that_are_not_shown_are_not_told() -> None:
    hidden = frame([row("f1", 0.9), row("precision", None, undefined_reason="no window was flagged")])
    assert not any("flagged" in note for note in summary_table(hidden)["notes"])


def test_the_strictest_rate_is_shown() -> None:
    assert lowest_rate(results()) == "@1/h"
    assert any(c["name"] == "event recall at 1 FA/h" for c in summary_table(results())["columns"])


def test_captures_and_families_stay_out_of_the_scenario_table() -> None:
    assert len(summary_table(results())["rows"]) == 8


def test_headline_takes_each_figure_once() -> None:
    for seeds in ((1,), (1, 2)):
        shown = headline(results(seeds))
        assert (
            not shown.select("detector", "variant", "scenario", "capture", "attack", "metric")
            .is_duplicated()
            .any()
        )


def test_markdown_is_a_table_with_its_notes() -> None:
    text = markdown(summary_table(results()))
    lines = text.splitlines()
    assert lines[0].startswith("| scenario | detector | variant | F1 |")
    assert lines[1].count("---") == lines[0].count("|") - 1
    assert lines[2].startswith("| s1 | gat | teacher |")
    assert lines[3].startswith("|  | gat | student_kd |")
    assert "Thresholds come from validation alone" in text


def test_an_empty_result_is_an_empty_table() -> None:
    assert summary_table(frame([]))["rows"] == []


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 3, UNDEFINED),
        (1.0, 3, "1"),
        (0.0, 3, "0"),
        (0.9996, 3, "0.9996"),
        (0.99999, 3, ">0.9999"),
        (0.0004, 3, "0.0004"),
        (0.000001, 4, "<0.00001"),
        (0.98765, 3, "0.988"),
        (-0.25, 3, "-0.250"),
    ],
)
def test_a_share_is_never_rounded_to_perfection(value: float | None, digits: int, text: str) -> None:
    assert share(value, digits) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, UNDEFINED), (0.0, "0"), (0.0391, "0.0391"), (1234.5, "1234"), (3e7, "3.00e+07")],
)
def test_quantities_have_three_digits(value: float | None, text: str) -> None:
    assert quantity(value) == text


def test_an_estimate_without_interval_is_its_value() -> None:
    assert estimate({"value": 0.5}) == "0.500"
    assert estimate({}) == UNDEFINED


def _judged(rows: list[tuple[str, str, str, float]]) -> pl.DataFrame:
    """(detector, variant, scenario, auroc) as results of one seed."""
    return pl.DataFrame(
        [
            {
                "detector": d,
                "variant": v,
                "seed": 1,
                "split": "test",
                "scenario": s,
                "capture": "",
                "attack": "",
                "level": "window",
                "metric": "auroc",
                "value": x,
            }
            for d, v, s, x in rows
        ]
    )


def test_the_verdict_says_plainly_who_wins_and_where_ours_is_behind() -> None:
    rows = [
        ("fusion", "student", "a", 0.99),
        ("fusion", "student", "b", 0.90),
        ("volume", "control", "a", 0.95),
        ("volume", "control", "b", 0.93),
    ]
    (line,) = verdict(_judged(rows))
    assert "our best, fusion student (0.945), beats the best of" in line
    assert line.endswith("volume (0.940); behind the best of them in b.")
    (line,) = verdict(
        _judged([*rows[:2], ("early", "specialist", "a", 1.0), ("early", "specialist", "b", 0.91)])
    )
    assert "does not beat" in line
    assert "early (0.955); behind the best of them in a, b." in line
    (line,) = verdict(_judged([rows[0], ("volume", "control", "a", 0.99)]))
    assert line.endswith("equals the best of specialists, baselines and controls, volume (0.990).")


def test_where_a_control_is_the_best_rival_the_best_of_the_trained_ones_is_told_too() -> None:
    rows = [("gat", "student", "a", 0.9), ("id_whitelist", "control", "a", 0.95)]
    trees, forest = ("boosted_trees", "baseline", "a", 0.88), ("isolation_forest", "baseline", "a", 0.7)
    (line,) = verdict(_judged([*rows, forest, trees]))
    assert "does not beat the best of specialists, baselines and controls, id_whitelist (0.950)" in line
    assert line.endswith("behind the best of them in a. It beats the best baseline, boosted_trees (0.880).")
    (line,) = verdict(_judged([rows[0], forest, trees]))
    assert "the best baseline" not in line  # It is the best of all.


def test_a_detector_without_a_value_in_every_scenario_is_not_the_best_on_the_mean() -> None:
    rows = [("gat", "student", "a", 0.9), ("gat", "student", "b", 0.9), ("vgae", "student", "a", 1.0)]
    (line,) = verdict(_judged([*rows, ("volume", "control", "a", 0.8), ("volume", "control", "b", 0.8)]))
    assert "gat student" in line
    assert verdict(_judged(rows)) == []


def test_a_data_set_may_show_other_metrics() -> None:
    table = summary_table(results(), metrics=("f1", "auc_pr", "fpr"))
    assert [c["name"] for c in table["columns"]][3:6] == ["F1", "AUC-PR", "FPR"]
    assert all(len(row) == len(table["columns"]) for row in table["rows"])
