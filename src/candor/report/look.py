"""What every figure of the page has in common: colours, dashes, names."""

from __future__ import annotations

from collections.abc import Iterable

from candor.report.tables import RIVALS

#: Line styles of variants beside the solid teacher.
DASHES = {"student_kd": "6 3", "student": "2 3"}


class Palette:
    """One colour per detector of ours, grey for those to beat; the same in every figure."""

    def __init__(self, detectors: Iterable[tuple[str, str]]) -> None:
        names = sorted({d for d, v in detectors if v not in RIVALS})
        self._colours = {name: f"var(--d{i % 6})" for i, name in enumerate(names)}

    def __getitem__(self, detector: str) -> str:
        return self._colours.get(detector, "var(--control)")

    def legend(self) -> list[tuple[str, str, str]]:
        return [
            *((n, c, "solid") for n, c in self._colours.items()),
            ("specialists, baselines, controls", "var(--control)", "solid"),
        ]


def scenario_name(scenario: str) -> str:
    """How a scenario is called above a figure: names may break between words."""
    return scenario.replace("_", " ") or "all test captures"
