"""The one table of node and edge features; kernels, scaler and documentation all read it.

Two views of a node. *agnostic*: relative to the vehicle's calibrated profile, so it means the same on a vehicle never
seen. *aware*: values that describe this ID on this vehicle; models blank them, and all edge features, where the ID is
unknown.

dt is the time since the previous frame of the same ID in the same capture, also across the window's edge, never across
captures; the first frame of an ID has no dt. Features that compare with the profile are 0 (neutral) for an ID the
profile does not know. A *shrunk* mean or share divides by n + 8 instead of n (PRIOR_FRAMES). Only the first 8 payload
bytes are looked at (CAN FD frames carry up to 64). Remote frames count as arrivals and have a DLC, but no payload.
Error frames are dropped before windowing and counted in the store's ``meta.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

View = Literal["agnostic", "aware"]
Scope = Literal["node", "edge", "window"]

#: Deviations are shrunk towards neutral as if this many ordinary frames had been seen too. One early frame of an ID
#: that sends one frame per window is no evidence: kia's ID 0x018 (hcrl_sa) is periodic, but events send extra frames,
#: and a plain share of 1 made 20 % of that drive's benign windows look like attacks.
PRIOR_FRAMES = 8.0

#: Log ratios are clipped here: e^6 is a factor of 400, beyond which more says no more.
LOG_CLIP = 6.0


@dataclass(frozen=True)
class Feature:
    """One column.

    Attributes:
        name: column name, unique in its table.
        unit: unit of the stored, unscaled value.
        view: ``agnostic`` or ``aware``; edge features are all aware, they describe one bus's rhythm.
        std_floor: smallest standard deviation the scaler divides by, in ``unit``. A share that is 0 in all benign
            windows but one would otherwise have a std of 1e-4, and an attack at 1 would arrive as 10 000.
        definition: how it is computed.
        scope: ``node`` or ``edge``; ``window`` if the value is the same on every node of the graph.
    """

    name: str
    unit: str
    view: View
    std_floor: float
    definition: str
    scope: Scope = "node"


def _agnostic(name: str, unit: str, floor: float, definition: str, scope: Scope = "node") -> Feature:
    return Feature(name, unit, "agnostic", floor, definition, scope)


def _aware(name: str, unit: str, floor: float, definition: str) -> Feature:
    return Feature(name, unit, "aware", floor, definition)


def _edge(name: str, unit: str, floor: float, definition: str) -> Feature:
    return Feature(name, unit, "aware", floor, definition, "edge")


NODE_FEATURES: tuple[Feature, ...] = (
    _aware("share", "share", 0.01, "frames of the ID / window_frames"),
    _agnostic(
        "rate_log_ratio",
        "ln",
        0.1,
        "ln((count + 0.5) / (expected + 0.5)), expected = window duration / profile median interval; clipped to ±6",
    ),
    _agnostic(
        "interval_log_ratio_mean",
        "ln",
        0.1,
        "shrunk mean over frames with a dt of ln(dt / profile median), clipped to ±6",
    ),
    _agnostic(
        "early_density", "share of window", 0.02, "early frames of the ID (see early_share) / window_frames"
    ),
    _agnostic("early_share", "share", 0.05, "shrunk share of frames with a dt whose dt < profile median / e"),
    _agnostic("late_share", "share", 0.05, "shrunk share of frames with a dt whose dt > 3 × profile median"),
    _agnostic(
        "payload_change",
        "share of bits",
        0.02,
        "shrunk mean share of payload bits changed since the ID's previous frame, minus the profile's mean share",
    ),
    _agnostic(
        "payload_change_abs",
        "share of bits",
        0.02,
        "shrunk mean over frames of |share of bits changed − the profile's mean share|",
    ),
    _agnostic(
        "byte_novelty",
        "share",
        0.05,
        "shrunk share of payload bytes outside the profile's [min, max] of that ID and byte (4 bytes count as a frame)",
    ),
    _agnostic(
        "dlc_novel", "share", 0.05, "shrunk share of frames with a DLC the profile never saw for that ID"
    ),
    _agnostic("id_novel", "0/1", 0.1, "1 if the profile does not know the ID"),
    _aware(
        "in_degree", "share of nodes", 0.01, "distinct predecessors (itself included if it repeats) / nodes"
    ),
    _aware(
        "out_degree", "share of nodes", 0.01, "distinct successors (itself included if it repeats) / nodes"
    ),
    _aware("first_position", "share of window", 0.05, "index of the ID's first frame / (window_frames − 1)"),
    _aware("last_position", "share of window", 0.05, "index of the ID's last frame / (window_frames − 1)"),
    _aware(
        "byte_entropy",
        "share of maximum",
        0.05,
        "mean over data frames of the entropy of the byte values within the payload / ln(bytes); 0 below two bytes",
    ),
    _agnostic(
        "window_load",
        "ln",
        0.1,
        "ln(duration expected at the profile's frame rate / real duration), clipped to ±6",
        "window",
    ),
    _agnostic(
        "window_missing",
        "share",
        0.02,
        "sum over profile IDs of max(0, expected − count − 1) / sum of expected (each at most window_frames)",
        "window",
    ),
    _agnostic(
        "window_novel_share",
        "share",
        0.05,
        "share of the window's frames with an ID the profile does not know",
        "window",
    ),
    _agnostic(
        "window_early_share",
        "share",
        0.05,
        "share of the window's frames that are early (see early_share)",
        "window",
    ),
    Feature(
        "log10_interval",
        "log10 s",
        "aware",
        0.1,
        "log10 of the median interval between the ID's frames inside the window, at least 1 µs; 0 (1 s) below two frames",
    ),
    *(
        Feature(
            f"byte_{i}_mean",
            "share of 255",
            "aware",
            0.1,
            f"mean of payload byte {i} / 255 over data frames, absent bytes 0",
        )
        for i in range(8)
    ),
    Feature(
        "dlc_mean", "8 bytes", "aware", 0.1, "mean payload length / 8; up to 8 for CAN FD frames of 64 bytes"
    ),
)

# A transition is a pair of consecutive frames inside the window; it happens when its second frame arrives.
# Source: the construction common in this field, e.g. github.com/RobertFrenken/DQN-Fusion (its intervals count
# frames; here they are seconds).
EDGE_FEATURES: tuple[Feature, ...] = (
    _edge("count", "transitions", 0.5, "times the transition source → target happens in the window"),
    _edge("frequency", "share", 0.005, "count / (window_frames − 1)"),
    _edge("interval_mean", "s", 0.001, "mean time between its occurrences; 0 below two"),
    _edge("interval_std", "s", 0.001, "population standard deviation of those times; 0 below two"),
    _edge(
        "regularity",
        "share",
        0.05,
        "1 / (1 + interval_std in ms); 0 for a transition that happens once. In seconds it would be 1 everywhere",
    ),
    _edge("first_position", "share of window", 0.05, "index of its first occurrence / (window_frames − 2)"),
    _edge("last_position", "share of window", 0.05, "index of its last occurrence / (window_frames − 2)"),
    _edge("span", "share of window", 0.05, "last_position − first_position"),
    _edge("reverse", "0/1", 0.1, "1 if target → source is an edge too; a self-loop is its own reverse"),
    _edge(
        "degree_product",
        "transitions²",
        1.0,
        "degree(source) × degree(target); degree = transitions in and out",
    ),
    _edge("degree_ratio", "ratio", 0.1, "degree(source) / degree(target)"),
)

NODE_NAMES: tuple[str, ...] = tuple(f.name for f in NODE_FEATURES)
EDGE_NAMES: tuple[str, ...] = tuple(f.name for f in EDGE_FEATURES)


def columns(*views: View) -> list[int]:
    """Indices into ``x_ND`` of the node features of these views (all of them if none is given)."""
    wanted = views or ("agnostic", "aware")
    return [i for i, f in enumerate(NODE_FEATURES) if f.view in wanted]


def markdown(features: Sequence[Feature] = NODE_FEATURES) -> str:
    """The table as Markdown; ``docs`` are generated from it, never typed."""
    bar = "\\|"  # A plain one would end the cell.
    rows = ["| # | name | view | scope | unit | definition |", "|--:|---|---|---|---|---|"]
    rows += [
        f"| {i} | `{f.name}` | {f.view} | {f.scope} | {f.unit} | {f.definition.replace('|', bar)} |"
        for i, f in enumerate(features)
    ]
    return "\n".join(rows) + "\n"
