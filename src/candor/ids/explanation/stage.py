"""The stage that explains windows: tables, a picture of every graph, and a page."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from candor.flow.stage import Inputs, Output, Result
from candor.ids.config import ExplainTask
from candor.ids.explanation.causes import Causes
from candor.ids.explanation.choose import choose
from candor.ids.explanation.detectors import UNITS, Detectors, Explanation
from candor.ids.explanation.tables import Names, Rows, drivers, rows_of
from candor.ids.graphs.store import GraphStore
from candor.ids.scoring import window_rows
from candor.report.explained import Explained, driver_text, explained_page, weight_text
from candor.report.graph import Edge, Node, graph_picture

#: Columns of state.parquet, which only a fusion fills.
_STATE: Final = {
    "capture": pl.String,
    "window": pl.Int64,
    "field": pl.String,
    "value": pl.Float64,
    "deviation_sd": pl.Float64,
    "weight_without": pl.Float64,
    "score_without": pl.Float64,
}


def explain(config: ExplainTask, inputs: Inputs, out: Output) -> Result:
    """Explain the detector on chosen windows: by the classifier, the autoencoder or the sequence, whichever decided.

    Inputs: ``evaluate`` (predictions.parquet), ``ingest`` (events.parquet), ``build_test`` (test/), ``vgae``, ``gat``,
    ``fusion``; ``temporal`` where that is explained; for the payload detector ``score_payload`` instead of the models.

    Writes windows.parquet (one row per window, with its fidelity), nodes.parquet, edges.parquet, features.parquet,
    state.parquet (what every field of the fusion state did to the weight), graphs/*.svg and index.html.

    Raises:
        DataError: the detector was not judged. NotFound: a window that was asked for does not exist.
    """
    predictions = pl.read_parquet(inputs.path("evaluate") / "predictions.parquet")
    events = pl.read_parquet(inputs.path("ingest") / "events.parquet")
    chosen = choose(predictions, events, config)
    folder = inputs.path("build_test") / "test"
    store, rows = GraphStore.open(folder), window_rows(folder, "test")
    place = {key: i for i, key in enumerate(rows.select("capture", "window").iter_rows())}
    detectors: Detectors | Causes
    if config.detector == "payload":
        detectors = Causes.load(inputs, store)
    else:
        detectors = Detectors.load(inputs, store, rows["window"].to_numpy())
    names = Names.of(config.dbc, store.meta.get("domain", "can"))
    (out.path / "graphs").mkdir()
    tables: dict[str, Rows] = {}
    shown: list[Explained] = []
    for done, row in enumerate(chosen.iter_rows(named=True)):
        out.progress(done, len(chosen), f"{row['capture']}:{row['window']}")
        one = detectors.explain(place[row["capture"], row["window"]], row, config)
        found = rows_of(one, row, names, store.meta["node_features"])
        picture = _picture(one, names)
        file = f"{_slug(row['capture'])}-{row['window']}.svg"
        (out.path / "graphs" / file).write_text(picture, encoding="utf-8")
        driving, (window,) = drivers(found["features"]), found["windows"]
        window["driven_by"] = "; ".join(driver_text(d) for d in driving)
        telling = [(f.field, f.weight_without) for f in one.verdict.telling()] if one.verdict else []
        window["weight_set_by"] = weight_text(telling) if one.verdict else None
        shown.append(Explained(window, driving, picture, f"graphs/{file}"))
        for name, added in found.items():
            tables.setdefault(name, []).extend(added)
    _write(tables, out)
    fidelity = _fidelity(tables["windows"])
    page = explained_page(f"Why {config.detector} {config.variant} decided so", shown, fidelity)
    (out.path / "index.html").write_text(page, encoding="utf-8")
    return Result({"windows": len(shown), "fidelity": fidelity})


def _write(tables: dict[str, Rows], out: Output) -> None:
    for name, rows in tables.items():
        schema = _STATE if name == "state" else None
        pl.DataFrame(rows, schema, infer_schema_length=None).write_parquet(out.path / f"{name}.parquet")


def _picture(one: Explanation, names: Names) -> str:
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


#: Title of what is named → (column of the loss, what random drops it is compared with).
_NAMED: Final = {
    "edges": ("named_edges_lost", "edges"),
    "edges of the masks": ("masked_edges_lost", "edges"),
    "features": ("named_features_lost", "features"),
}


def _fidelity(windows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """By who answers: means over its windows, and the share of them where the named ones hurt more than random ones."""
    found: dict[str, Any] = {}
    for answers, unit in UNITS.items():
        own = [w for w in windows if w["answers"] == answers]
        if not own:
            continue
        found[answers] = {"unit": unit, "windows": len(own), "of": {}}
        for name, (column, what) in _NAMED.items():
            if name == "edges of the masks" and answers == "temporal":  # It has none.
                continue
            named = np.array([w[column] for w in own])
            chance = np.array([w[f"random_{what}_lost"] for w in own])
            title = name.replace("masks", "errors") if answers == "autoencoder" else name
            found[answers]["of"][title] = {
                "named_lost": round(float(named.mean()), 4),
                "random_lost": round(float(chance.mean()), 4),
                "share_hurting_more": round(float((named > chance).mean()), 4),
            }
    return found


def _slug(name: str) -> str:
    safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
    return safe if safe == name else f"{safe}-{zlib.crc32(name.encode()):08x}"
