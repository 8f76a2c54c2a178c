"""The page of a study."""

from __future__ import annotations

from candor.report.study import StudyTrial, study_page

TRIALS = [
    StudyTrial(
        n,
        "complete",
        {"gat.kind": kind, "lr": 10.0**-n, "layers": n % 3},
        1 / (n + 1),
        curve=[(0, 1.0), (1, 1 / (n + 1))],
    )
    for n, kind in enumerate(["gat", "gatv2", "gat", "gat", "<b>", "gat"])
]


def page(trials: list[StudyTrial], importances: dict[str, float] | None = None, best: int | None = 5) -> str:
    return study_page("s", "val_loss (min)", trials, importances or {}, best=best, lower_is_better=True)


def test_every_trial_is_a_line_and_the_best_is_drawn_last() -> None:
    html = page(TRIALS)
    drawing = html[html.index("parallel coordinates") : html.index("</svg>")]
    titles = [part.split(":")[0] for part in drawing.split("<title>trial ")[1:]]
    assert titles == ["0", "1", "2", "3", "4", "5"]
    assert "stroke-width:2.6" in drawing


def test_values_are_text_and_never_markup() -> None:
    assert "<b>" not in page(TRIALS, best=None)
    assert "&lt;b&gt;" in page(TRIALS)


def test_importances_are_bars() -> None:
    assert "0.750" in page(TRIALS, {"lr": 0.75, "layers": 0.25})
    assert "Not known yet" in page(TRIALS)


def test_a_study_whose_trials_all_failed_still_has_a_page() -> None:
    html = page([StudyTrial(0, "failed", {"lr": 0.1}, None, reason="out of memory")], best=None)
    assert "No trial has a value yet" in html
    assert "out of memory" in html
