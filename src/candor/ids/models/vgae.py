"""The unsupervised detector: a variational graph autoencoder of benign windows.

Shapes: N nodes, E edges, D node features, G graphs, Z latent width, V vocabulary slots.

Per node it reconstructs the scaled features (squared error), the ID's slot (cross-entropy) and the neighbourhood
(inner-product edge decoder of Kipf & Welling 2016, eq. 2, against one drawn non-edge per edge inside the window).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from candor.ids.config import VgaeConfig
from candor.ids.models.blocks import ConvStack, NodeInput, mlp, per_graph
from candor.learn.batching import GraphBatch

# exp(logvar) overflows fp16 past ±10.
_LOGVAR_LIMIT = 10.0


@dataclass
class VgaeOutput:
    """Per node: latents, and one error for each thing reconstructed. ``x_hat_ND`` is the reconstruction."""

    mu_NZ: Tensor
    logvar_NZ: Tensor
    x_hat_ND: Tensor
    feature_error_N: Tensor
    id_error_N: Tensor
    neighbourhood_error_N: Tensor

    def kl(self) -> Tensor:
        """KL to the unit normal prior, mean over nodes and latent dimensions; scalar."""
        return -0.5 * (1 + self.logvar_NZ - self.mu_NZ.square() - self.logvar_NZ.exp()).mean()


class Vgae(nn.Module):
    """Variational graph autoencoder with three decoders."""

    def __init__(self, config: VgaeConfig, inputs: NodeInput) -> None:
        super().__init__()
        self.config, self.inputs = config, inputs
        self.convs = ConvStack(config, inputs)
        self.to_latent = nn.Linear(config.hidden, 2 * config.latent)
        features = int(inputs.mean_D.numel())
        self.decode_features = mlp([config.latent, config.hidden, features])
        self.decode_ids = nn.Linear(config.latent, inputs.num_slots)

    def serving(self, inputs: NodeInput) -> Vgae:
        """The same model in another domain: its own projection of features and its own decoders, all else shared."""
        other = Vgae(self.config, inputs)
        other.convs.share(self.convs)
        other.to_latent = self.to_latent
        return other

    def forward(self, batch: GraphBatch) -> VgaeOutput:
        x_ND, slot_N, h_NI, e_EF = self.inputs(batch)
        h_NH = self.convs(h_NI, e_EF, batch)[-1]
        mu_NZ, logvar_NZ = self.to_latent(h_NH).chunk(2, dim=-1)
        logvar_NZ = logvar_NZ.clamp(-_LOGVAR_LIMIT, _LOGVAR_LIMIT)
        z_NZ = mu_NZ + torch.randn_like(mu_NZ) * (0.5 * logvar_NZ).exp() if self.training else mu_NZ
        x_hat_ND = self.decode_features(z_NZ)
        return VgaeOutput(
            mu_NZ,
            logvar_NZ,
            x_hat_ND,
            (x_hat_ND - x_ND).square().mean(dim=-1),
            F.cross_entropy(self.decode_ids(z_NZ), slot_N, reduction="none"),
            self._neighbourhood_error(z_NZ, batch),
        )

    def _neighbourhood_error(self, z_NZ: Tensor, batch: GraphBatch) -> Tensor:
        """Mean over a node's outgoing edges of the binary cross-entropy of the edge and of one drawn node pair."""
        source_E = batch.edge_index[0]
        graph_E = batch.batch[source_E]
        start_E, size_E = batch.ptr[graph_E], (batch.ptr[1:] - batch.ptr[:-1])[graph_E]
        # A drawn pair may be a real edge (about one in ten); the bias is the same for every window.
        other_E = start_E + (self._uniform(graph_E, batch.num_graphs) * size_E).long().clamp(max=size_E - 1)
        positive_E = edge_error(z_NZ, batch.edge_index)
        negative_E = F.softplus((z_NZ[source_E] * z_NZ[other_E]).sum(-1))
        total_N = z_NZ.new_zeros(z_NZ.shape[0]).index_add_(
            0, source_E, (positive_E + negative_E).to(z_NZ.dtype)
        )
        degree_N = z_NZ.new_zeros(z_NZ.shape[0]).index_add_(0, source_E, torch.ones_like(total_N[source_E]))
        return total_N / degree_N.clamp(min=1)

    def _uniform(self, graph_E: Tensor, num_graphs: int) -> Tensor:
        """Random draws in training; else the golden-ratio sequence over a graph's edges.

        A score must be a function of its window alone, whatever else is in the batch.
        """
        if self.training:
            return torch.rand(graph_E.shape, device=graph_E.device)
        graphs = torch.arange(num_graphs, device=graph_E.device)
        first_G = torch.searchsorted(graph_E, graphs)  # Edges lie graph by graph in a packed batch.
        position_E = torch.arange(graph_E.numel(), device=graph_E.device) - first_G[graph_E]
        return torch.frac(position_E.double() * 0.6180339887498949).float()

    def loss(self, output: VgaeOutput) -> Tensor:
        """Negative evidence lower bound with the configured weights; scalar."""
        config = self.config
        return (
            output.feature_error_N.mean()
            + config.id_weight * output.id_error_N.mean()
            + config.neighbourhood_weight * output.neighbourhood_error_N.mean()
            + config.kl_weight * output.kl()
        )


def edge_error(z_NZ: Tensor, edge_index: Tensor) -> Tensor:
    """Cross-entropy of every edge under the inner-product decoder, ``[E]``: how little the latents expect it."""
    source_E, target_E = edge_index
    return F.softplus(-(z_NZ[source_E] * z_NZ[target_E]).sum(-1))


def worst_nodes_mean(error_N: Tensor, batch_N: Tensor, num_graphs: int, count: int) -> Tensor:
    """Mean of each graph's ``count`` largest values (fewer where the graph is smaller); ``[G]``."""
    order = torch.argsort(error_N, descending=True)
    order = order[torch.argsort(batch_N[order], stable=True)]
    size_G = torch.bincount(batch_N, minlength=num_graphs)
    start_G = torch.cumsum(size_G, 0) - size_G
    rank_N = torch.arange(error_N.numel(), device=error_N.device) - start_G[batch_N[order]]
    keep = rank_N < count
    total_G = error_N.new_zeros(num_graphs).index_add_(0, batch_N[order][keep], error_N[order][keep])
    return total_G / size_G.clamp(min=1, max=count)


@dataclass
class VgaeErrors:
    """Per window: feature error over the worst nodes, mean ID error, mean neighbourhood error; ``[G]`` each."""

    feature_G: Tensor
    id_G: Tensor
    neighbourhood_G: Tensor


def window_errors(model: Vgae, output: VgaeOutput, batch: GraphBatch) -> VgaeErrors:
    """The three errors of every window."""
    graphs = batch.num_graphs
    return VgaeErrors(
        worst_nodes_mean(output.feature_error_N, batch.batch, graphs, model.config.worst_nodes),
        per_graph(output.id_error_N, batch.batch, graphs),
        per_graph(output.neighbourhood_error_N, batch.batch, graphs),
    )
