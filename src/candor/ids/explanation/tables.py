"""Rows of the tables that an explanation leaves, and the features that the page names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from candor.ids import signals
from candor.ids.explanation.detectors import UNITS, Explanation
from candor.ids.graphs.vocabulary import EXTENDED_BIT

#: Driving features that the page names.
_NAMED = 5

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Names:
    """What nodes are called."""

    dbc: Any
    is_bus: bool

    @classmethod
    def of(cls, dbc: str, domain: str) -> Names:
        """With the names of a DBC file, "" for none."""
        return cls(signals.load(Path(dbc)) if dbc else None, domain == "can")

    def __call__(self, key: int) -> str:
        if not self.is_bus:
            return f"host {key}"
        extended, identifier = bool(key & int(EXTENDED_BIT)), key & ~int(EXTENDED_BIT)
        message = self.dbc.message(identifier, extended=extended) if self.dbc else None
        return f"{message.name} (0x{identifier:X})" if message else f"0x{identifier:X}"

    def byte(self, key: int, feature: str) -> str:
        """The signal behind a feature of one byte, "" for others."""
        if not (self.is_bus and self.dbc and feature.startswith("byte_") and feature.endswith("_mean")):
            return ""
        at = int(feature.split("_")[1])
        extended, identifier = bool(key & int(EXTENDED_BIT)), key & ~int(EXTENDED_BIT)
        return signals.label(self.dbc, identifier, at, at + 1, extended=extended)


def rows_of(
    one: Explanation, row: Mapping[str, Any], names: Names, node_features: Sequence[str]
) -> dict[str, Rows]:
    """Rows of windows, nodes, edges, features and state. ``row``: of the predictions."""
    i, graph = one.importance, one.graph
    at = {"capture": row["capture"], "window": row["window"]}
    keys = graph.node_id_N.tolist()
    said = [names(k) for k in keys]
    nodes = [
        {
            **at,
            "node": n,
            "id": keys[n],
            "name": said[n],
            "importance": float(i.node_N[n]),
            "vgae_error": None if one.vgae_error_N is None else float(one.vgae_error_N[n]),
            "attack": int(graph.node_y_N[n]),
        }
        for n in range(len(keys))
    ]
    edges = [
        {
            **at,
            "source": said[s],
            "target": said[t],
            "importance": float(i.edge_E[e]),
            "attention": float(i.attention_E[e]),
            "lost_alone": float(i.alone_E[e]),
        }
        for e, (s, t) in enumerate(graph.edge_index_2E.T.tolist())
    ]
    features: Rows = [
        {
            **at,
            "id": keys[n],
            "name": said[n],
            "feature": feature,
            "signal": names.byte(keys[n], feature),
            "deviation_sd": float(i.x_ND[n, d]),
            "expected_sd": None if i.expected_ND is None else float(i.expected_ND[n, d]),
            "importance": float(i.feature_ND[n, d]),
            "effect": float(i.effect_ND[n, d]),
        }
        for n in range(len(keys))
        for d, feature in enumerate(node_features)
        if i.x_ND[n, d] != 0 or i.effect_ND[n, d] > 0
    ]
    if one.cause is not None:
        view, key = one.cause
        cause = {"id": key, "name": names(key), "feature": f"{view} of bytes", "signal": ""}
        told = {"deviation_sd": None, "expected_sd": None, "importance": 1.0, "effect": row["score"]}
        features.append({**at, **cause, **told})
    state = [{**at, **asdict(f)} for f in one.verdict.fields] if one.verdict else []
    window = _window(one, row)
    return {"windows": [window], "nodes": nodes, "edges": edges, "features": features, "state": state}


def _window(one: Explanation, row: Mapping[str, Any]) -> dict[str, Any]:
    i, v = one.importance, one.verdict
    share_T = one.window_share_T
    return {
        **{k: row[k] for k in ("scenario", "capture", "window", "t0", "t1", "y", "attack", "kind")},
        **{k: row[k] for k in ("detector", "variant", "seed", "score", "threshold")},
        "answers": one.answers,
        "gat_probability": one.gat_probability,
        "vgae_probability": one.vgae_probability,
        "fusion_weight": v.weight if v else None,
        "gat_part": v.gat_part if v else None,
        "vgae_part": v.vgae_part if v else None,
        "window_share": None if share_T is None else [round(float(s), 4) for s in share_T],
        "decided": i.decided,
        "margin": i.margin,
        "unit": UNITS.get(one.answers, "score"),
        **{f"{part}_lost": lost for part, lost in asdict(i.lost).items()},
    }


def drivers(features: Rows) -> Rows:
    """A window's features with the most effect; a feature of the whole window once, not once per node."""
    seen: set[str] = set()
    found = []
    for f in sorted(features, key=lambda f: -f["effect"]):
        whole = f["feature"].startswith("window_")
        key = f["feature"] if whole else f"{f['feature']}@{f['name']}"
        if key not in seen:
            seen.add(key)
            found.append({**f, "name": "" if whole else f["name"]})
        if len(found) == _NAMED:
            break
    return found
