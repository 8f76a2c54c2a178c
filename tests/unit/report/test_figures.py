"""Figures draw what they are given, also where there is little or nothing."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from candor.report.figures import Bar, Curve, HeatCell, bars, curves, heat, histogram, score_axis
from candor.report.svg import Scale, tick_label


def parsed(drawing: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawing)


def texts(drawing: str) -> list[str]:
    return [e.text or "" for e in parsed(drawing).iter("text")]


def test_bars_state_values_and_why_one_is_missing() -> None:
    drawing = bars(
        "F1", [Bar("gat", 0.5, 0.4, 0.6, "red"), Bar("<vgae>", None, None, None, "red", "no attack windows")]
    )
    assert "0.500" in texts(drawing)
    assert "undefined: no attack windows" in texts(drawing)
    assert len(list(parsed(drawing).iter("rect"))) == 1


def test_a_bar_is_as_long_as_its_value() -> None:
    drawing = bars("F1", [Bar("a", 1.0, None, None, "red"), Bar("b", 0.25, None, None, "red")])
    whole, quarter = (float(r.attrib["width"]) for r in parsed(drawing).iter("rect"))
    assert quarter / whole == pytest.approx(0.25, abs=0.001)


def test_a_histogram_has_both_classes_and_the_threshold() -> None:
    benign, attack = np.array([0.1, 0.2, 0.2]), np.array([0.9])
    drawing = histogram("s", benign, attack, 0.5, score_axis(np.append(benign, attack), 0.5), bins=10)
    assert [p.attrib["class"] for p in parsed(drawing).iter("path")] == ["hist benign", "hist attack"]
    assert "threshold 0.5" in texts(drawing)


def test_a_histogram_of_one_class_or_none_still_draws() -> None:
    axis = score_axis(np.array([3.0]), 3.0)
    assert (
        len(list(parsed(histogram("s", np.array([3.0]), np.array([]), 3.0, axis, bins=5)).iter("path"))) == 1
    )
    assert texts(histogram("s", np.array([]), np.array([]), 3.0, axis, bins=5)) == ["no windows"]


def test_heavy_tails_bend_the_axis_and_shares_run_from_0_to_1() -> None:
    assert score_axis(np.array([0.1, 0.3]), 0.2) == score_axis(np.array([0.0, 1.0]), 0.5)
    assert score_axis(np.array([1.0, 2.0, 3.0]), 2.0).bend is None
    assert score_axis(np.array([1.0, 1.0, 1e6]), 2.0).bend == 1.0


def test_curves_leave_out_what_is_not_finite() -> None:
    drawing = curves("loss", [Curve("a", [(0, 1.0), (1, float("nan")), (2, 0.5)], "red")], x_label="epoch")
    (line,) = list(parsed(drawing).iter("path"))
    assert len(re.findall("[ML]", line.attrib["d"])) == 2
    assert texts(curves("loss", [Curve("a", [(0, float("inf"))], "red")], x_label="epoch")) == [
        "no finite values"
    ]


def test_one_point_is_a_dot_and_a_flat_line_is_drawn() -> None:
    assert list(parsed(curves("x", [Curve("a", [(0, 2.0)], "red")], x_label="epoch")).iter("circle"))
    assert list(parsed(curves("x", [Curve("a", [(0, 0.0), (1, 0.0)], "red")], x_label="epoch")).iter("path"))


def test_zero_has_its_own_place_on_a_logarithmic_axis() -> None:
    line = Curve("a", [(0.0, 0.5), (20.0, 1.0)], "red")
    drawing = curves("x", [line], x_label="FA/h", unit_range=True, log_x=True, steps=True)
    assert texts(drawing)[5:7] == ["0", "100"]


@pytest.mark.parametrize("span", [(0, 1), (-3, 7), (0.001, 0.0042), (5, 1e6)])
def test_ticks_are_few_and_inside(span: tuple[float, float]) -> None:
    ticks = Scale(*span, 0, 100).ticks()
    assert 2 <= len(ticks) <= 7
    assert all(span[0] - 1e-9 <= t <= span[1] + 1e-9 for t in ticks)


def test_a_scale_holds_values_at_its_edge() -> None:
    scale = Scale(1, 1000, 0, 300, log=True)
    assert [scale(v) for v in (0, 1, 10, 1000, 1e9)] == pytest.approx([0, 0, 100, 300, 300])
    assert [tick_label(v) for v in (0, 0.5, 1000, 1e5, 1e-6)] == ["0", "0.5", "1000", "1e5", "1e-6"]


def test_a_heat_map_draws_its_cells_in_their_places_and_no_others() -> None:
    cells = [HeatCell(0, 0, 0.0, 5), HeatCell(3, 1, 1.0, 2)]
    drawing = heat("w", cells, bins=4, x_label="x", y_label="y", colour="red")
    low, high = parsed(drawing).iter("rect")
    assert float(high.attrib["x"]) > float(low.attrib["x"])
    assert float(high.attrib["y"]) < float(low.attrib["y"])
    assert "fill-opacity:0.10" in low.attrib["style"]
    assert "fill-opacity:1.00" in high.attrib["style"]
    assert {".00", "1"} <= set(texts(drawing))
