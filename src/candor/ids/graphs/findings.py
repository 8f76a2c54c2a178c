"""What the audit found, in a form that JSON, the page and the command line share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from candor.config.layers import nearest
from candor.errors import ConfigError

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")

#: Every finding, the domain it belongs to ("" both), its usual severity, and what it means. ``--allow`` takes these names.
CHECKS: Final[dict[str, tuple[str, str, str]]] = {
    "identical_captures_across_splits": ("", "error", "one recording lies in training and in test"),
    "identical_captures_within_split": ("", "warning", "one recording counts more than once"),
    "near_duplicates_across_splits": (
        "",
        "error, or warning up to audit.max_shared_runs",
        "frames or flows of one capture lie in another one of the other split",
    ),
    "near_duplicates_within_split": ("can", "warning", "two captures of one split have one base capture"),
    "base_capture_across_splits": ("", "error", "captures derived from one recording are on both sides"),
    "windows_overlap_across_splits": ("", "error", "windows of two splits share frames, or their embargo"),
    "window_config_differs": ("can", "error", "the graphs have other windows than the audit was told"),
    "duplicate_windows_train_test": (
        "can",
        "error, or warning up to audit.max_duplicate_windows",
        "a test window repeats the IDs and payloads of training frames",
    ),
    "duplicate_windows_train_val": ("can", "warning", "a validation window repeats training frames"),
    "scaler_scope": ("", "error", "the scaler was fitted on other than benign training windows"),
    "vocabulary_scope": ("", "error", "the vocabulary knows names that no training window has"),
    "label_sanity": ("", "warning", "labels that cannot be right, or that contradict each other"),
    "attack_without_positive_labels": (
        "",
        "error where frames are labelled and no event is declared, else warning or info",
        "an attack capture holds no attack frame",
    ),
    "events_from_absence": (
        "can",
        "warning",
        "true events are those in which an ID is silent; the specialist `absence` looks for the same",
    ),
    "unlabelled_captures": ("", "warning", "captures without labels count as benign"),
    "few_attacks": ("", "warning", "a test capture has so few attacks that only its events mean anything"),
    "time_reversals": ("", "info", "rows of the raw file are not in order of time"),
    "constant_length": ("can", "info", "every frame is equally long: the converter may have lost the DLC"),
    "one_class_captures": ("", "warning", "every frame of a capture is an attack"),
    "validation_without_attack": ("", "warning", "an attack of training has no validation window"),
    "calibration_contaminated": ("can", "warning", "an attack falls into the calibration seconds"),
    "recording_filed_again": ("can", "info", "the published layout files a recording twice"),
    "recording_in_other_dataset": ("can", "warning", "another dataset holds a recording of this one"),
    "captures_without_time": ("can", "warning", "the format has no timestamps: every interval is made up"),
    "times_overlap": ("can", "info", "captures claim the same hours: never sort them together by time"),
    "injection_time_steps": ("can", "warning", "time stands still, or goes back, at attack frames alone"),
    "shortcut_delta_t": ("can", "error", "a time step of zero or less tells attacks"),
    "shortcut_row_order": ("can", "warning", "the place in the file tells attacks"),
    "shortcut_id": ("can", "warning", "the ID tells attacks"),
    "shortcut_payload": ("can", "warning", "the payload tells attacks"),
    "shortcuts": ("flow", "warning, or info", "one column of a flow tells attacks"),
    "flows_without_time": (
        "flow",
        "error, or warning for single flows",
        "the format has no times: windows, or the split, follow the order of rows",
    ),
    "addresses_in_clear": ("flow", "warning", "pseudonymise is off"),
    "sampled_traffic": ("flow", "warning", "single flows were drawn from the traffic"),
    "temporal_split": ("flow", "info", "captures are cut from one recording in time, with a gap"),
    "mostly_attack_windows": ("flow", "warning", "most windows of a split hold an attack"),
    "repeated_flows": ("flow", "warning", "most test flows equal a training flow in every measure"),
}


@dataclass(frozen=True)
class Finding:
    """One thing the audit saw.

    Attributes:
        id: name of the check, a key of CHECKS: what ``--allow`` takes.
        severity: an ``error`` stops the run unless allowed.
        message: fact and consequence in one sentence.
        evidence: names and numbers behind it.
    """

    id: str
    severity: Severity
    message: str
    evidence: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.id not in CHECKS:
            raise ValueError(f"finding '{self.id}' is not listed in CHECKS, so nobody could allow it")


def refuse_unknown(allow: Sequence[str]) -> None:
    """Raise ConfigError for a word that names no finding: it would allow nothing, and look as if it did."""
    unknown = [name for name in allow if name not in CHECKS]
    if unknown:
        near = nearest(unknown[0], CHECKS)
        meant = f"Did you mean '{near}'? " if near else ""
        raise ConfigError(
            f"the audit has no finding '{unknown[0]}'",
            place="--allow",
            hint=f"{meant}Findings: {', '.join(sorted(CHECKS))}.",
        )


def markdown() -> str:
    """The page of findings."""
    rows = [
        f"| `{name}` | {domain or 'both'} | {severity} | {what} |"
        for name, (domain, severity, what) in CHECKS.items()
    ]
    return "\n".join(
        [
            "# What the audit looks for",
            "",
            "`candor audit DATASET` looks on its own, and every run looks between its graphs and its first training.",
            "A finding of level error stops the run, unless `--allow FINDING` names it; it is then printed under every table",
            "and on every page made from that run. The threshold of every detector is checked later, where it is chosen:",
            "`evaluate` refuses scores whose validation windows are not those of the validation graphs.",
            "",
            "| finding | domain | severity | what it means |",
            "|:--|:--|:--|:--|",
            *rows,
        ]
    )
