"""What a policy does, as a table: the mean weight it gives, by what both detectors say and by kind of window."""

from __future__ import annotations

import numpy as np
import polars as pl

from candor.ids.fusion.policy import FusionData, Policy

#: Bins of each probability.
BINS = 10


def policy_table(policy: Policy, data: FusionData, family_G: np.ndarray) -> pl.DataFrame:
    """Training windows by kind and by both probabilities, with the weight the policy gives them.

    Args:
        family_G: name of each window's attack family, "" for benign.

    Returns:
        Columns family, shown_as_unknown, gat_bin, vgae_bin (0 to BINS − 1, lower edges at bin / BINS), windows,
        weight (mean α), fused (mean fused probability).
    """

    def bins(probability_G: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.clip((probability_G * BINS).astype(np.int64), 0, BINS - 1)
        return found

    alpha_G = policy.weight(data.states_GS, data.gat_G, data.vgae_G)
    table = pl.DataFrame(
        {
            "family": family_G.tolist(),
            "shown_as_unknown": data.unfamiliar_G.astype(bool),
            "gat_bin": bins(data.gat_G),
            "vgae_bin": bins(data.vgae_G),
            "alpha": alpha_G,
            "fused": alpha_G * data.gat_G + (1 - alpha_G) * data.vgae_G,
        }
    )
    key = ["family", "shown_as_unknown", "gat_bin", "vgae_bin"]
    means = [pl.len().cast(pl.Int64).alias("windows"), pl.col("alpha").mean().alias("weight")]
    return table.group_by(key).agg(*means, pl.col("fused").mean()).sort(key)
