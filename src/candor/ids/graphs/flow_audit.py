"""The gate of flow data sets: what leaks between splits, and how far an address or a port alone would get.

Findings, their ids and severities work as in ``audit``. An address that betrays its attacks is a warning and not an
error: it is a property of every one of these data sets, and models are not shown addresses.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import polars as pl

from candor.flow.stage import Inputs, Output, Result
from candor.ids.config import FlowAuditConfig
from candor.ids.graphs import checks, common_checks, flow_shortcuts
from candor.ids.graphs.findings import Finding, Severity
from candor.ids.graphs.flow_features import flow_features
from candor.ids.graphs.flow_shortcuts import Flows, looks, y
from candor.ids.graphs.gate import close
from candor.ids.graphs.store import GraphStore


def audit_flows(config: FlowAuditConfig, inputs: Inputs, out: Output) -> Result:
    """Stage: writes ``findings.json`` ({"findings", "allowed", "shortcuts"}) and a page, ``index.html``.

    Inputs: ``ingest``; ``build_train`` and ``build_test`` where there are graphs. Without them (single flows) what is about
    windows is left out, and flows without times are a warning: nothing is said of them per hour.

    Raises AuditFailed, naming every finding of level error that ``config.allow`` does not; both files then lie in
    the task's scratch folder.
    """
    ingest = inputs.path("ingest")
    catalog = pl.read_parquet(ingest / "catalog.parquet")
    train, test = (
        Flows(ingest, tuple(catalog.filter(pl.col("split") == split)["capture"]))
        for split in ("train", "test")
    )
    graphs = "build_train" in inputs.paths
    findings = list(_catalog(config, ingest, catalog, graphs=graphs))
    findings += _stores(config, inputs) if graphs else ()
    measured = []
    # Without one of the splits there is nothing to carry over.
    if train.captures and test.captures:
        findings += [*_copies(config, train, test), *_contradictions(train), *_contradictions(test)]
        out.progress(1, 2, "shortcuts")
        measured = flow_shortcuts.measure(ingest, train, test)
        findings += flow_shortcuts.findings(ingest, measured)
    return close(findings, config.allow, {"shortcuts": [asdict(m) for m in measured]}, catalog, out)


def _catalog(
    config: FlowAuditConfig, ingest: Path, catalog: pl.DataFrame, *, graphs: bool
) -> Iterator[Finding]:
    """What the catalog tells."""
    steps: Sequence[Iterator[Finding]] = (
        _traffic(catalog, graphs=graphs),
        _identical(catalog),
        _temporal(config, catalog),
        common_checks.silent_attacks(catalog, pl.read_parquet(ingest / "events.parquet")),
        common_checks.one_class(catalog, "flow"),
        common_checks.few_attacks(catalog),
    )
    for step in steps:
        yield from step


def _stores(config: FlowAuditConfig, inputs: Inputs) -> Iterator[Finding]:
    """What the graphs tell."""
    ingest, folder = inputs.path("ingest"), inputs.path("build_train")
    train, val = GraphStore.open(folder / "train"), GraphStore.open(folder / "val")
    test = GraphStore.open(inputs.path("build_test") / "test")
    features = flow_features(json.loads((ingest / "features.json").read_text())["features"])
    steps: Sequence[Iterator[Finding]] = (
        common_checks.shared_captures(train, test),
        _embargo(config, train, val),
        common_checks.scaler_scope(folder, train, features),
        _vocabulary(json.loads((folder / "vocabulary.json").read_text())["ids"]),
        common_checks.validation(train, val),
        _attack_windows((("training", train), ("validation", val), ("test", test))),
    )
    for step in steps:
        yield from step


def _traffic(catalog: pl.DataFrame, *, graphs: bool) -> Iterator[Finding]:
    """What the files are, before any question of splits."""
    untimed = catalog.filter(pl.col("clock") == "order")["capture"].to_list()
    if untimed:
        what = (
            "windows follow the order of rows, a row stands for a second, and nothing can be said per hour"
            if graphs
            else "training and test are apart by the order of rows, which need not be that of time"
        )
        message = f"the format of {', '.join(untimed)} has no times: {what}"
        yield Finding("flows_without_time", "error" if graphs else "warning", message, {"captures": untimed})
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


def _vocabulary(ids: Sequence[int]) -> Iterator[Finding]:
    if ids:
        message = "the vocabulary names hosts; models would know attackers by name"
        yield Finding("vocabulary_scope", "error", message, {"hosts": len(ids)})


def _attack_windows(stores: Sequence[tuple[str, GraphStore]]) -> Iterator[Finding]:
    for name, store in stores:
        share = float(store.y_G.mean()) if len(store) else 0.0
        if share > 0.5:
            message = (
                f"{share:.0%} of the {name} windows hold an attack flow: shorter windows would tell more"
            )
            yield Finding("mostly_attack_windows", "warning", message, {"split": name, "share": share})


def _copies(config: FlowAuditConfig, train: Flows, test: Flows) -> Iterator[Finding]:
    """Test flows that training holds too: the very flow, by time, or one that looks the same at any time."""
    for more, limit in ((("t_start", "sport"), config.max_shared_flows), ((), config.max_repeated_flows)):
        known = train.columns([looks(train, *more)])["looks"].unique()
        found = {
            capture: float(test.of(capture, [looks(test, *more)])["looks"].is_in(known.implode()).mean() or 0)  # type: ignore[arg-type]
            for capture in test.captures
        }
        worst = max(found, key=lambda c: found[c])
        if found[worst] <= limit and (not more or not found[worst]):
            continue
        evidence = {"share": found[worst], "captures": found}
        if more:
            severity: Severity = "error" if found[worst] > limit else "warning"
            message = (
                f"{found[worst]:.1%} of the flows of {worst}, with their times and ports, lie in training too"
            )
            yield Finding("near_duplicates_across_splits", severity, message, evidence)
        else:
            message = f"{found[worst]:.0%} of the flows of {worst} equal a training flow in every measure: a look-up would do"
            yield Finding("repeated_flows", "warning", message, evidence)


def _contradictions(flows: Flows) -> Iterator[Finding]:
    """Flows between the same hosts, the same in every measure, of which some are labelled attack and some benign."""
    found = {}
    for capture in flows.captures:
        table = flows.of(capture, [looks(flows, "src", "dst"), y()])
        both = table.group_by("looks").agg(pl.len(), attacks=pl.col("y").sum())
        fewer = pl.min_horizontal(pl.col("attacks"), pl.col("len") - pl.col("attacks"))
        wrong = int(both.select(fewer.sum()).item() or 0)
        if wrong:
            found[capture] = {"flows": wrong, "share": wrong / table.height}
    if found:
        message = (
            f"flows of the same hosts and measures carry both labels in {', '.join(found)}: "
            "no detector of flows can tell these apart"
        )
        yield Finding("label_sanity", "warning", message, {"captures": found})
