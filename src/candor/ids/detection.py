"""The stage that scores validation and test windows with every detector of one variant and seed."""

from __future__ import annotations

import polars as pl
import torch

from candor.flow.stage import Inputs, Output, Result
from candor.ids.config import ScoreTask
from candor.ids.fusion.states import view_windows
from candor.ids.graphs.store import GraphStore
from candor.ids.models.nodes import WorstNodes
from candor.ids.models.store import load_gat, load_vgae
from candor.ids.scoring import score_frame, window_rows
from candor.ids.training import load_fusion, scoring_batches
from candor.learn.checkpoints import count_parameters
from candor.learn.fit import accelerator, use_threads


def score(config: ScoreTask, inputs: Inputs, out: Output) -> Result:
    """Scores of the VGAE (anomaly score), the GAT and the fusion (probabilities): ``scores.parquet``.

    ``weights.parquet`` keeps the fusion weight of every window beside its truth, ``nodes.parquet`` the IDs of each
    window that the VGAE finds oddest, with their errors.
    """
    use_threads(config.threads)
    device = torch.device(accelerator(config.device))
    vgae, gat = load_vgae(inputs.path("vgae")), load_gat(inputs.path("gat"))
    policy, scale = load_fusion(inputs.path("fusion"))
    tables, weights, nodes = [], [], []
    folders = {"val": inputs.path("build_train") / "val", "test": inputs.path("build_test") / "test"}
    for done, (split, folder) in enumerate(folders.items()):
        out.progress(done, len(folders), f"scoring {split} windows")
        store = GraphStore.open(folder)
        worst = WorstNodes(config.worst_nodes)
        views = view_windows(vgae, gat, scoring_batches(store), len(store), device, nodes=worst)
        states = views.states(scale)
        gat_G, vgae_G = views.gat_probability, views.anomaly_probability(scale)
        rows = window_rows(folder, split)
        nodes.append(worst.table(rows))
        scores = {
            "vgae": views.anomaly(scale),
            "gat": gat_G,
            "fusion": policy.fuse(states, gat_G, vgae_G),
        }
        tables += [
            score_frame(rows, values, detector=name, variant=config.variant, seed=config.seed)
            for name, values in scores.items()
        ]
        weights.append(rows.with_columns(pl.Series("weight", policy.weight(states, gat_G, vgae_G))))
    pl.concat(tables).write_parquet(out.path / "scores.parquet")
    pl.concat(weights).write_parquet(out.path / "weights.parquet")
    pl.concat(nodes).write_parquet(out.path / "nodes.parquet")
    parameters = {
        "vgae": count_parameters(vgae),
        "gat": count_parameters(gat),
        "fusion": count_parameters(policy),
    }
    return Result(
        {"parameters": {**parameters, "total": sum(parameters.values())}, "windows": len(weights[-1])}
    )
