"""The stage that explains windows: tables, a picture of every graph, and a page."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from candor.flow.stage import Inputs, Output, Result
from candor.ids import signals
from candor.ids.config import ExplainTask
from candor.ids.explanation.choose import choose
from candor.ids.explanation.importance import Importance, explain_window
from candor.ids.graphs.store import GraphStore, PackedBatch
from candor.ids.graphs.vocabulary import EXTENDED_BIT
from candor.ids.models.gat import Gat, attack_probability
from candor.ids.models.store import load_gat, load_vgae
from candor.ids.models.vgae import Vgae
from candor.ids.scoring import window_rows
from candor.learn.batching import GraphBatch
from candor.report.explained import Explained, driver_text, explained_page
from candor.report.graph import Edge, Node, graph_picture

#: Driving features that the page names.
_NAMED = 5


@dataclass(frozen=True)
class _Names:
    """What nodes are called."""

    dbc: Any
    is_bus: bool

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


def explain(config: ExplainTask, inputs: Inputs, out: Output) -> Result:
    """Explain the classifier on chosen windows, beside the autoencoder's errors.

    Inputs: ``evaluate`` (predictions.parquet), ``ingest`` (events.parquet), ``build_test`` (test/), ``vgae``, ``gat``,
    ``score`` (weights.parquet).

    Writes windows.parquet (one row per window, with its fidelity), nodes.parquet, edges.parquet, features.parquet,
    graphs/*.svg and index.html.

    Raises:
        DataError: the detector was not judged. NotFound: a window that was asked for does not exist.
    """
    predictions = pl.read_parquet(inputs.path("evaluate") / "predictions.parquet")
    events = pl.read_parquet(inputs.path("ingest") / "events.parquet")
    chosen = choose(predictions, events, config)
    folder = inputs.path("build_test") / "test"
    store = GraphStore.open(folder)
    place = {
        key: i for i, key in enumerate(window_rows(folder, "test").select("capture", "window").iter_rows())
    }
    weights = pl.read_parquet(inputs.path("score") / "weights.parquet").filter(split="test")
    vgae, gat = load_vgae(inputs.path("vgae")), load_gat(inputs.path("gat"))
    names = _names(config, store)
    (out.path / "graphs").mkdir()
    tables: dict[str, list[dict[str, Any]]] = {"windows": [], "nodes": [], "edges": [], "features": []}
    shown: list[Explained] = []
    for done, row in enumerate(chosen.iter_rows(named=True)):
        out.progress(done, len(chosen), f"{row['capture']}:{row['window']}")
        index = place[row["capture"], row["window"]]
        one = _explained(store, index, gat, vgae, config)
        own = weights.filter(capture=row["capture"], window=row["window"])
        weight = float(own["weight"][0]) if len(own) else None
        for name, rows in one.rows(row, weight, names, store.meta).items():
            tables[name] += rows
        picture = _picture(one, names)
        file = f"{_slug(row['capture'])}-{row['window']}.svg"
        (out.path / "graphs" / file).write_text(picture, encoding="utf-8")
        drivers = _drivers(tables["features"], row)
        tables["windows"][-1]["driven_by"] = "; ".join(driver_text(d) for d in drivers)
        shown.append(Explained(tables["windows"][-1], drivers, picture, f"graphs/{file}"))
    for name, rows in tables.items():
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(out.path / f"{name}.parquet")
    fidelity = _fidelity(tables["windows"])
    page = explained_page(f"Why {config.detector} {config.variant} decided so", shown, fidelity)
    (out.path / "index.html").write_text(page, encoding="utf-8")
    return Result({"windows": len(shown), **fidelity})


@dataclass(frozen=True)
class _One:
    """One explained window."""

    graph: PackedBatch
    importance: Importance
    gat_probability: float
    vgae_error_N: np.ndarray[Any, Any]

    def rows(
        self, row: dict[str, Any], weight: float | None, names: _Names, meta: dict[str, Any]
    ) -> dict[str, list[dict[str, Any]]]:
        """Rows of the four tables. ``row``: of the predictions."""
        i, graph = self.importance, self.graph
        at = {"capture": row["capture"], "window": row["window"]}
        keys = graph.node_id_N.tolist()
        said = [names(k) for k in keys]
        window = {
            **{k: row[k] for k in ("scenario", "capture", "window", "t0", "t1", "y", "attack", "kind")},
            **{k: row[k] for k in ("detector", "variant", "seed", "score", "threshold")},
            "gat_probability": self.gat_probability,
            "fusion_weight": weight,
            "decided": i.decided,
            "log_odds": i.log_odds,
            "masked_edges_lost": i.masked_edges,
            "named_edges_lost": i.named_edges,
            "random_edges_lost": i.random_edges,
            "named_features_lost": i.named_features,
            "random_features_lost": i.random_features,
        }
        nodes = [
            {
                **at,
                "node": n,
                "id": keys[n],
                "name": said[n],
                "importance": float(i.node_N[n]),
                "vgae_error": float(self.vgae_error_N[n]),
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
        features = [
            {
                **at,
                "id": keys[n],
                "name": said[n],
                "feature": feature,
                "signal": names.byte(keys[n], feature),
                "deviation_sd": float(i.x_ND[n, d]),
                "importance": float(i.feature_ND[n, d]),
                "effect": float(i.feature_ND[n, d] * abs(i.x_ND[n, d])),
            }
            for n in range(len(keys))
            for d, feature in enumerate(meta["node_features"])
            if i.x_ND[n, d] != 0
        ]
        return {"windows": [window], "nodes": nodes, "edges": edges, "features": features}


def _explained(store: GraphStore, index: int, gat: Gat, vgae: Vgae, config: ExplainTask) -> _One:
    graph = store.gather([index])
    batch = GraphBatch.of(graph)
    gat.eval()
    vgae.eval()
    with torch.no_grad():
        probability = float(attack_probability(gat(batch).logits_GC)[0])
        error_N = vgae(batch).feature_error_N.numpy()
    rng = np.random.default_rng([config.seed, index])
    return _One(graph, explain_window(gat, batch, config, rng), probability, error_N)


def _names(config: ExplainTask, store: GraphStore) -> _Names:
    dbc = signals.load(Path(config.dbc)) if config.dbc else None
    return _Names(dbc, store.meta.get("domain", "can") == "can")


def _drivers(features: Sequence[dict[str, Any]], row: dict[str, Any]) -> list[dict[str, Any]]:
    """The window's own features with the most effect; a feature of the whole window once, not once per node."""
    own = [f for f in features if (f["capture"], f["window"]) == (row["capture"], row["window"])]
    seen: set[str] = set()
    found = []
    for f in sorted(own, key=lambda f: -f["effect"]):
        whole = f["feature"].startswith("window_")
        key = f["feature"] if whole else f"{f['feature']}@{f['name']}"
        if key not in seen:
            seen.add(key)
            found.append({**f, "name": "" if whole else f["name"]})
        if len(found) == _NAMED:
            break
    return found


def _picture(one: _One, names: _Names) -> str:
    graph, i = one.graph, one.importance
    top = float(i.node_N.max(initial=0.0)) or 1.0
    nodes = [
        Node(names(k), float(v) / top, bool(y))
        for k, v, y in zip(graph.node_id_N.tolist(), i.node_N, graph.node_y_N, strict=True)
    ]
    most = float(i.alone_E.max(initial=0.0)) or 1.0
    edges = [
        Edge(s, t, max(float(v), 0.0) / most, float(a))
        for (s, t), v, a in zip(graph.edge_index_2E.T.tolist(), i.alone_E, i.attention_E, strict=True)
    ]
    return graph_picture(nodes, edges, label="graph of the window")


def _fidelity(windows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over the windows, and the share of them where the named ones hurt more than random ones."""
    found: dict[str, Any] = {}
    for name, column, what in (
        ("edges", "named_edges_lost", "edges"),
        ("edges of the masks", "masked_edges_lost", "edges"),
        ("features", "named_features_lost", "features"),
    ):
        named = np.array([w[column] for w in windows])
        chance = np.array([w[f"random_{what}_lost"] for w in windows])
        found[name] = {
            "named_lost": round(float(named.mean()), 4),
            "random_lost": round(float(chance.mean()), 4),
            "share_hurting_more": round(float((named > chance).mean()), 4),
        }
    return {"fidelity": found}


def _slug(name: str) -> str:
    safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
    return safe if safe == name else f"{safe}-{zlib.crc32(name.encode()):08x}"
