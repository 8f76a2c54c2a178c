"""One window's graph, written down the slow and obvious way from the feature table: loops, dicts, statistics."""

from __future__ import annotations

import itertools
import math
import statistics

from candor.ids.captures.frames import ERROR, EXTENDED, REMOTE, FrameArrays
from candor.ids.graphs.features import EDGE_NAMES, NODE_NAMES
from candor.ids.graphs.profile import FD_LENGTHS, Profile


def _clip(value: float) -> float:
    return max(-6.0, min(6.0, value))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _bits_changed(a: list[int], b: list[int]) -> float:
    size = max(len(a), len(b))
    pad = [x + [0] * (8 - len(x)) for x in (a, b)]
    return sum((p ^ q).bit_count() for p, q in zip(*pad, strict=True)) / (8 * size) if size else 0.0


def _entropy(payload: list[int]) -> float:
    n = len(payload)
    if n < 2:
        return 0.0
    shares = [payload.count(v) / n for v in set(payload)]
    return -sum(p * math.log(p) for p in shares) / math.log(n)


def rows_of(frames: FrameArrays) -> list[dict]:
    """Bus frames as dicts, with the time and payload change since the previous frame of the same ID."""
    rows, last = [], {}
    for i in range(len(frames.t)):
        flags = int(frames.flags[i])
        if flags & ERROR:
            continue
        size = min(int(frames.dlc[i]), 8)
        row = {
            "t": float(frames.t[i]),
            "key": int(frames.id[i]) + (1 << 29 if flags & EXTENDED else 0),
            "data": None if flags & REMOTE else [int(b) for b in frames.data[i, :size]],
            "dlc": int(frames.dlc[i]),
            "y": int(frames.y[i]),
        }
        before = last.get(row["key"])
        row["dt"] = None if before is None else row["t"] - before["t"]
        comparable = before is not None and before["data"] is not None and row["data"] is not None
        row["change"] = _bits_changed(before["data"], row["data"]) if comparable else None
        last[row["key"]] = row
        rows.append(row)
    return rows


def graph(rows: list[dict], start: int, window_frames: int, profile: Profile) -> dict:
    """Node IDs (by first appearance), node features by name, edges with features by name, labels."""
    window = rows[start : start + window_frames]
    width = window_frames
    index = {int(k): i for i, k in enumerate(profile.key_P)}
    median = [float(m) for m in profile.median_interval_s_P]
    order = list(dict.fromkeys(r["key"] for r in window))
    duration = max(window[-1]["t"] - window[0]["t"], 0.0)
    transitions = [(a["key"], b["key"], b["t"], i) for i, (a, b) in enumerate(itertools.pairwise(window))]
    pairs = {(s, d) for s, d, _, _ in transitions}

    def early(r: dict) -> bool:
        return (
            r["key"] in index and r["dt"] is not None and r["dt"] < median[index[r["key"]]] * math.exp(-1.0)
        )

    expected = [min(duration / m, width) for m in median]
    count = {k: sum(r["key"] == k for r in window) for k in order}
    absent = sum(max(e - count.get(int(k), 0) - 1, 0.0) for e, k in zip(expected, profile.key_P, strict=True))
    usual = (width - 1) / profile.frames_per_s if profile.frames_per_s else None
    shared = {
        "window_load": _clip(math.log(usual / max(duration, 1e-6))) if usual else 0.0,
        "window_missing": absent / sum(expected) if sum(expected) > 0 else 0.0,
        "window_novel_share": sum(r["key"] not in index for r in window) / width,
        "window_early_share": sum(early(r) for r in window) / width,
    }
    nodes = [_node(k, window, order, pairs, profile, index, median, duration, early) | shared for k in order]
    return {
        "keys": order,
        "x": [[n[name] for name in NODE_NAMES] for n in nodes],
        "edges": _edges(order, transitions, pairs, width),
        "y": int(any(r["y"] for r in window)),
        "node_y": [int(any(r["y"] for r in window if r["key"] == k)) for k in order],
    }


def _node(key, window, order, pairs, profile, index, median, duration, early) -> dict:
    width = len(window)
    own = [(i, r) for i, r in enumerate(window) if r["key"] == key]
    mine = [r for _, r in own]
    p = index.get(key)
    with_data = [r["data"] for r in mine if r["data"] is not None]
    ratios, deviations, outside, compared_bytes, new_dlc, lates = [], [], 0, 0, 0, 0
    if p is not None:
        timed = [r["dt"] for r in mine if r["dt"] is not None]
        ratios = [_clip(math.log(max(dt, 1e-6) / median[p])) for dt in timed]
        lates = sum(dt > 3 * median[p] for dt in timed)
        deviations = [r["change"] - float(profile.bit_change_P[p]) for r in mine if r["change"] is not None]
        for payload in with_data:
            compared_bytes += len(payload)
            outside += sum(
                not profile.byte_min_PB[p, j] <= b <= profile.byte_max_PB[p, j] for j, b in enumerate(payload)
            )
        for r in mine:
            code = min(c for c, length in enumerate(FD_LENGTHS) if length >= r["dlc"])
            new_dlc += not (int(profile.dlc_mask_P[p]) >> code) & 1
    gaps = [b["t"] - a["t"] for a, b in itertools.pairwise(mine)]
    node = {
        "share": len(mine) / width,
        "rate_log_ratio": _clip(math.log((len(mine) + 0.5) / (duration / median[p] + 0.5)))
        if p is not None
        else 0.0,
        "interval_log_ratio_mean": sum(ratios) / (len(ratios) + 8),
        "early_density": sum(early(r) for r in mine) / width,
        "early_share": sum(early(r) for r in mine) / (len(ratios) + 8),
        "late_share": lates / (len(ratios) + 8),
        "payload_change": sum(deviations) / (len(deviations) + 8),
        "payload_change_abs": sum(abs(d) for d in deviations) / (len(deviations) + 8),
        "byte_novelty": outside / (compared_bytes + 32),
        "dlc_novel": new_dlc / (len(mine) + 8),
        "id_novel": float(p is None),
        "in_degree": sum((k, key) in pairs for k in order) / len(order),
        "out_degree": sum((key, k) in pairs for k in order) / len(order),
        "first_position": own[0][0] / (width - 1),
        "last_position": own[-1][0] / (width - 1),
        "byte_entropy": _mean([_entropy(d) for d in with_data]),
        "log10_interval": math.log10(max(statistics.median(gaps), 1e-6)) if gaps else 0.0,
        "dlc_mean": _mean([min(r["dlc"], 64) / 8 for r in mine]),
    }
    for j in range(8):
        node[f"byte_{j}_mean"] = _mean([(d[j] if j < len(d) else 0) / 255 for d in with_data])
    return node


def _edges(order, transitions, pairs, width) -> dict[tuple[int, int], list[float]]:
    degree = {k: sum((s == k) + (d == k) for s, d, _, _ in transitions) for k in order}
    edges = {}
    for source, target in pairs:
        hits = [(t, i) for s, d, t, i in transitions if (s, d) == (source, target)]
        gaps = [b[0] - a[0] for a, b in itertools.pairwise(hits)]
        std = statistics.pstdev(gaps) if gaps else 0.0
        first, last = (hits[j][1] / max(width - 2, 1) for j in (0, -1))
        feature = {
            "count": len(hits),
            "frequency": len(hits) / (width - 1),
            "interval_mean": _mean(gaps),
            "interval_std": std,
            "regularity": 1 / (1 + 1000 * std) if gaps else 0.0,
            "first_position": first,
            "last_position": last,
            "span": last - first,
            "reverse": float((target, source) in pairs),
            "degree_product": degree[source] * degree[target],
            "degree_ratio": degree[source] / degree[target],
        }
        edges[order.index(source), order.index(target)] = [feature[name] for name in EDGE_NAMES]
    return edges
