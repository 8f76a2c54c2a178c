"""The supervised detector: attention convolutions, jumping knowledge, pooling, two logits per window.

Shapes: N nodes, E edges, G graphs, H hidden width, C = 2 classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.nn import JumpingKnowledge

from candor.ids.config import GatConfig
from candor.ids.models.blocks import ConvStack, NodeInput, Pool, mlp
from candor.learn.batching import GraphBatch


@dataclass
class GatOutput:
    """``logits_GC`` (benign, attack) and the pooled ``embedding_GH`` behind them."""

    logits_GC: Tensor
    embedding_GH: Tensor


class Gat(nn.Module):
    """Graph attention classifier of windows."""

    def __init__(self, config: GatConfig, inputs: NodeInput) -> None:
        super().__init__()
        self.config, self.inputs = config, inputs
        self.convs = ConvStack(config, inputs)
        self.jump = (
            None
            if config.jumping_knowledge == "last"
            else JumpingKnowledge(config.jumping_knowledge, channels=config.hidden, num_layers=config.layers)
        )
        width = config.hidden * (config.layers if config.jumping_knowledge == "cat" else 1)
        self.pool = Pool(config.pooling, width)
        self.embed = nn.Sequential(nn.Linear(self.pool.out_width, config.hidden), nn.ELU())
        self.classify = mlp([config.hidden, 2], config.dropout)

    def serving(self, inputs: NodeInput) -> Gat:
        """The same detector in another domain: its own projection of features to the hidden width, all else shared.

        A batch of either model trains what both have in common.
        """
        other = Gat(self.config, inputs)
        other.convs.share(self.convs)
        other.jump, other.pool, other.embed, other.classify = self.jump, self.pool, self.embed, self.classify
        return other

    def forward(self, batch: GraphBatch) -> GatOutput:
        _, _, h_NI, e_EF = self.inputs(batch)
        layers = self.convs(h_NI, e_EF, batch)
        h_NH = self.jump(layers) if self.jump is not None else layers[-1]
        embedding_GH = self.embed(self.pool(h_NH, batch.batch, batch.num_graphs))
        return GatOutput(self.classify(embedding_GH), embedding_GH)


def attack_probability(logits_GC: Tensor) -> Tensor:
    """Probability of the attack class, in double precision: a float32 softmax ties at 1."""
    return torch.softmax(logits_GC.double(), dim=-1)[:, 1]
