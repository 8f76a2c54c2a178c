"""The stage that explains windows: tables, a picture of every graph, and a page."""

from __future__ import annotations

import zlib
from typing import Final

import polars as pl

from candor.flow.stage import Inputs, Output, Result
from candor.ids.config import ExplainTask
from candor.ids.explanation.causes import Causes
from candor.ids.explanation.choose import choose
from candor.ids.explanation.detectors import Detectors, Explanation
from candor.ids.explanation.fidelity import fidelity
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
    ``fusion``; ``temporal`` where that is explained; for a detector of frames
    ``score_payload`` or ``score_frame_dynamics`` instead of the models.

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
    if config.detector in ("payload", "frame_dynamics"):
        detectors = Causes.load(inputs, store, config.detector)
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
    told = fidelity(tables["windows"])
    page = explained_page(f"Why {config.detector} {config.variant} decided so", shown, told)
    (out.path / "index.html").write_text(page, encoding="utf-8")
    return Result({"windows": len(shown), "fidelity": told})


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


def _slug(name: str) -> str:
    safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
    return safe if safe == name else f"{safe}-{zlib.crc32(name.encode()):08x}"
