"""The gate of flow data sets: what leaks between splits, and how far an address or a port alone would get.

Findings, their ids and severities work as in ``audit``. An address that betrays its attacks is a warning and not an
error: it is a property of every one of these data sets, and models are not shown addresses.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from candor.errors import AuditFailed
from candor.flow.stage import Inputs, Json, Output, Result
from candor.ids.captures.flows.schema import FEATURE, MEASURES, WITHHELD
from candor.ids.config import FlowAuditConfig
from candor.ids.graphs import checks
from candor.ids.graphs.features import EDGE_FEATURES
from candor.ids.graphs.findings import Finding
from candor.ids.graphs.flow_features import flow_features
from candor.ids.graphs.scaler import Moments, Scaler
from candor.ids.graphs.store import GraphStore
from candor.learn.metrics import ranking_metrics

_BLOCK_GRAPHS = 8192
#: An AUROC from which one column alone is called a shortcut.
_SHORTCUT: Final = 0.9
_NAMED: Final = {"src": "source address", "dst": "destination address", "dport": "destination port"}


def audit_flows(config: FlowAuditConfig, inputs: Inputs, out: Output) -> Result:
    """Stage: writes ``findings.json`` ({"findings", "allowed"}).

    Raises AuditFailed, naming every finding of level error that ``config.allow`` does not; the findings then lie in
    the task's scratch folder.
    """
    findings = list(_findings(config, inputs))
    text = json.dumps({"findings": [asdict(f) for f in findings], "allowed": sorted(config.allow)}, indent=1)
    stopping = [f for f in findings if f.severity == "error" and f.id not in config.allow]
    folder = out.scratch if stopping else out.path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "findings.json").write_text(text, encoding="utf-8")
    if stopping:
        allow = " ".join(f"--allow {name}" for name in sorted({f.id for f in stopping}))
        raise AuditFailed(
            "the audit stops this run: " + "; ".join(f"[{f.id}] {f.message}" for f in stopping),
            place=str(folder / "findings.json"),
            hint=f"Fix the splits, or accept it knowingly with {allow}.",
        )
    summary: dict[str, Json] = {
        s: sum(f.severity == s for f in findings) for s in ("error", "warning", "info")
    }
    ids: list[Json] = list(dict.fromkeys(f.id for f in findings))
    return Result({**summary, "findings": ids, "allowed": list(config.allow)})


def _findings(config: FlowAuditConfig, inputs: Inputs) -> Iterator[Finding]:
    ingest, folder = inputs.path("ingest"), inputs.path("build_train")
    catalog = pl.read_parquet(ingest / "catalog.parquet")
    train, val = GraphStore.open(folder / "train"), GraphStore.open(folder / "val")
    test = GraphStore.open(inputs.path("build_test") / "test")
    flows = {
        split: pl.concat([pl.read_parquet(ingest / "flows" / f"{c}.parquet") for c in group["capture"]])
        for (split,), group in catalog.group_by("split", maintain_order=True)
    }
    steps: Sequence[Iterator[Finding]] = (
        _traffic(catalog),
        _identical(catalog),
        _temporal(config, catalog),
        _embargo(config, train, val),
        _scaler(ingest, folder, train),
        _attacks(train, val, test),
        _repeats(config, flows),
        _shortcuts(ingest, flows),
    )
    for step in steps:
        yield from step


def _traffic(catalog: pl.DataFrame) -> Iterator[Finding]:
    """What the files are, before any question of splits."""
    untimed = catalog.filter(pl.col("clock") == "order")["capture"].to_list()
    if untimed:
        message = (
            f"the format of {', '.join(untimed)} has no times: windows follow the order of rows, a row stands for a "
            "second, and nothing can be said per hour"
        )
        yield Finding("flows_without_time", "error", message, {"captures": untimed})
    clear = catalog.filter(~pl.col("pseudonymised"))["capture"].to_list()
    if clear:
        message = f"addresses are in clear (pseudonymise is off) in {', '.join(clear)}"
        yield Finding("addresses_in_clear", "warning", message, {"captures": clear})
    drawn = catalog.filter(pl.col("sampled"))["capture"].to_list()
    if drawn:
        message = f"single flows were drawn from the traffic of {', '.join(drawn)}: rates and company of flows are not the network's"
        yield Finding("sampled_traffic", "warning", message, {"captures": drawn})
    bare = catalog.filter(~pl.col("labelled"))["capture"].to_list()
    if bare:
        message = f"captures without labels count as benign: {', '.join(bare)}"
        yield Finding("unlabelled_captures", "warning", message, {"captures": bare})


def _identical(catalog: pl.DataFrame) -> Iterator[Finding]:
    for _, group in catalog.group_by("frames_sha256", maintain_order=True):
        if group.height > 1:
            names, across = group["capture"].to_list(), group["split"].n_unique() > 1
            where = "across_splits" if across else "within_split"
            message = f"{', '.join(names)} hold identical flows"
            yield Finding(
                f"identical_captures_{where}", "error" if across else "warning", message, {"captures": names}
            )


def _temporal(config: FlowAuditConfig, catalog: pl.DataFrame) -> Iterator[Finding]:
    """Captures cut from one recording must not touch: their flows are numbered by time in it."""
    embargo = config.split.embargo_frames
    for _, group in catalog.group_by("recording", maintain_order=True):
        if group["split"].n_unique() < 2:
            continue
        ordered = group.sort("first").to_dicts()
        for before, after in zip(ordered[:-1], ordered[1:], strict=True):
            gap = after["first"] - before["first"] - before["rows"]
            evidence = {"before": before["capture"], "after": after["capture"], "gap_flows": gap}
            if before["split"] == after["split"]:
                continue
            if gap < embargo:
                message = f"{after['capture']} begins {gap} flows behind {before['capture']}, within the embargo of {embargo}"
                yield Finding("windows_overlap_across_splits", "error", message, evidence)
            else:
                message = f"{before['capture']} and {after['capture']} are one recording, split in time with {gap} flows between"
                yield Finding("temporal_split", "info", message, evidence)
    for (base,), group in catalog.group_by("base_capture", maintain_order=True):
        if group["split"].n_unique() > 1 and group["recording"].n_unique() > 1:
            message = (
                f"captures of recording '{base}' are in training and test, and not cut from the same files"
            )
            yield Finding("base_capture_across_splits", "error", message, {"base_capture": base})


def _embargo(config: FlowAuditConfig, train: GraphStore, val: GraphStore) -> Iterator[Finding]:
    """Windows of seconds are cut inside the same segments as those of flows, so starts tell the distance of both."""
    width = getattr(config.window, "window_frames", 0)
    close = checks.closest_ranges(train, val, width)
    near = {name: gap for name, gap in close.items() if gap < (config.split.embargo_frames if width else 1)}
    if near:
        message = f"validation windows lie closer than the embargo of {config.split.embargo_frames} flows to training windows"
        yield Finding("windows_overlap_across_splits", "error", message, {"gap_flows": near})


def _scaler(ingest: Path, folder: Path, train: GraphStore) -> Iterator[Finding]:
    features = flow_features(json.loads((ingest / "features.json").read_text())["features"])
    saved = json.loads((folder / "scaler.json").read_text())
    nodes, edges = Moments(len(features)), Moments(len(EDGE_FEATURES))
    for start in range(0, len(train), _BLOCK_GRAPHS):
        stop = min(start + _BLOCK_GRAPHS, len(train))
        benign = train.y_G[start:stop] == 0
        for moments, values, ptr in (
            (nodes, train.x_ND, train.node_ptr),
            (edges, train.edge_attr_E11, train.edge_ptr),
        ):
            rows = values[int(ptr[start]) : int(ptr[stop])]
            moments.add(rows[np.repeat(benign, np.diff(ptr[start : stop + 1]))])
    wrong = []
    for part, moments, table in (("x", nodes, features), ("edge_attr", edges, EDGE_FEATURES)):
        ours, theirs = moments.scaler(table), Scaler.from_json(saved[part])
        same = np.isclose(ours.mean, theirs.mean, rtol=1e-6, atol=1e-9)
        same &= np.isclose(ours.std, theirs.std, rtol=1e-6, atol=1e-9)
        wrong += [f"{part}.{f.name}" for f, ok in zip(table, same, strict=True) if not ok]
    if wrong:
        message = "the scaler is not that of the benign training windows; it has seen other data"
        yield Finding("scaler_scope", "error", message, {"columns": wrong})
    if json.loads((folder / "vocabulary.json").read_text())["ids"]:
        message = "the vocabulary names hosts; models would know attackers by name"
        yield Finding("vocabulary_scope", "error", message)


def _attacks(train: GraphStore, val: GraphStore, test: GraphStore) -> Iterator[Finding]:
    seen, held = checks.windows_per_family(train), checks.windows_per_family(val)
    lacking = sorted(f for f, n in seen.items() if n and not held.get(f))
    if lacking:
        message = f"no validation window of: {', '.join(lacking)}; thresholds and early stopping do not see these attacks"
        yield Finding("validation_without_attack", "warning", message, {"train": seen, "val": held})
    for name, store in (("training", train), ("validation", val), ("test", test)):
        share = float(store.y_G.mean()) if len(store) else 0.0
        if share > 0.5:
            message = (
                f"{share:.0%} of the {name} windows hold an attack flow: shorter windows would tell more"
            )
            yield Finding("mostly_attack_windows", "warning", message, {"split": name, "share": share})


def _repeats(config: FlowAuditConfig, flows: dict[str, pl.DataFrame]) -> Iterator[Finding]:
    """Test flows whose measures and features, hosts and times left out, are those of some training flow."""
    if len(flows) < 2:
        return
    own = [c for c in flows["train"].columns if c.startswith(FEATURE)]
    columns = ["dport", "proto", *MEASURES, *own]
    known = flows["train"].select(columns).hash_rows(seed=0).unique()
    share = float(flows["test"].select(columns).hash_rows(seed=0).is_in(known.implode()).mean() or 0.0)  # type: ignore[arg-type]
    if share > config.max_repeated_flows:
        message = f"{share:.0%} of the test flows equal a training flow in every measure: a look-up would do"
        yield Finding("repeated_flows", "warning", message, {"share": share})


def _shortcuts(ingest: Path, flows: dict[str, pl.DataFrame]) -> Iterator[Finding]:
    """AUROC over test flows of the attack rate that one column's value had in training."""
    if len(flows) < 2:
        return
    train, test = (flows[s].with_columns(y=pl.col("label").fill_null(0)) for s in ("train", "test"))
    y = test["y"].to_numpy().astype(bool)
    if not y.any() or y.all() or not train["y"].sum():
        return
    withheld: dict[str, str] = json.loads((ingest / "features.json").read_text())["withheld"]
    found: dict[str, Any] = {}
    for column in (*_NAMED, *(WITHHELD + name for name in withheld)):
        value = ranking_metrics(y, _rates(train, test, column))["auroc"][0]
        found[column.removeprefix(WITHHELD)] = round(float(value), 4)
    strong = {name: value for name, value in found.items() if value >= _SHORTCUT}
    named = ", ".join(f"{_NAMED.get(name, name)} {value:.3f}" for name, value in strong.items())
    message = f"one column alone tells attack flows of the test split: {named or 'none'} (AUROC)"
    severity: Any = "warning" if strong else "info"
    yield Finding(
        "shortcuts", severity, message, {"auroc": found, "withheld": withheld, "models_see": "none of them"}
    )


def _rates(train: pl.DataFrame, test: pl.DataFrame, column: str) -> NDArray[np.float64]:
    """Attack rate of each test flow's value in training; that of all of training for a value it never saw."""
    rate = train.group_by(column).agg(pl.col("y").mean().alias("rate"))
    joined = test.select(column).join(rate, on=column, how="left", maintain_order="left")
    return joined["rate"].fill_null(train["y"].mean()).to_numpy()
