"""Parts that the VGAE and the GAT share.

Shapes: N nodes, E edges, D node features, G graphs, H hidden width, V vocabulary.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GINEConv, GPSConv, GraphNorm
from torch_geometric.nn import TransformerConv as TransformerConvolution
from torch_geometric.nn.aggr import MultiAggregation

from candor.ids.config import (
    ConvConfig,
    CugraphGatConv,
    CugraphGatv2Conv,
    GatConfig,
    GatConv,
    Gatv2Conv,
    GpsConv,
    NodeInputConfig,
    Pooling,
    TransformerConv,
    VgaeConfig,
)
from candor.ids.graphs.scaler import Scaler
from candor.ids.graphs.vocabulary import Vocabulary
from candor.ids.models import fused_batches as fused
from candor.ids.models.cugraph import CugraphConvolution
from candor.ids.models.encodings import LookupEncoding, encoding
from candor.ids.models.fused_attention import FusedGatv2, elu
from candor.learn.batching import GraphBatch


class NodeInput(nn.Module):
    """Raw node features and arbitration IDs → what a model sees. Holds scaler and vocabulary, so weights are whole.

    The ID-aware features (bytes, raw intervals, positions in the window), the embedding and the edge features describe
    the vehicles that were trained. Where an ID is unknown they are blanked: the embedding becomes the unknown slot, the
    features of the node and of its edges 0 (the benign mean), and what is relative to the calibrated profile remains.
    Graphs with less than ``min_known_share`` known nodes are taken for an unknown vehicle's and blanked as a whole.
    Measured on hcrl_sa, student, seed 1: without blanking edges and positions, 3 to 8 % of the benign windows of the
    unknown vehicle alarm (the GAT takes its bus rhythm for flooding); with it, under 0.7 %.

    An empty vocabulary is that of a domain whose nodes have no names (hosts of network flows): nothing is blanked.
    """

    ids_V: Tensor
    mean_D: Tensor
    std_D: Tensor
    edge_mean_F: Tensor
    edge_std_F: Tensor
    aware_D: Tensor

    def __init__(
        self,
        config: NodeInputConfig,
        *,
        vocabulary: Vocabulary,
        nodes: Scaler,
        edges: Scaler,
        aware_D: Tensor,
    ) -> None:
        super().__init__()
        self.config = config
        #: Show every graph as if its vehicle were unknown.
        self.as_unknown = False
        self.register_buffer("ids_V", torch.as_tensor(vocabulary.ids.astype("int64")))
        self.register_buffer("mean_D", torch.as_tensor(nodes.mean, dtype=torch.float32))
        self.register_buffer("std_D", torch.as_tensor(nodes.std, dtype=torch.float32))
        self.register_buffer("edge_mean_F", torch.as_tensor(edges.mean, dtype=torch.float32))
        self.register_buffer("edge_std_F", torch.as_tensor(edges.std, dtype=torch.float32))
        self.register_buffer("aware_D", aware_D.bool())
        self.embedding = encoding(config.ids, len(vocabulary.ids) + 1)

    @property
    def width(self) -> int:
        """Width of the output."""
        return int(self.mean_D.numel()) + self.embedding.width

    @property
    def num_slots(self) -> int:
        """IDs in the vocabulary plus the unknown slot 0."""
        return int(self.ids_V.numel()) + 1

    def encode_ids(self, node_id_N: Tensor, batch_N: Tensor, num_graphs: int) -> tuple[Tensor, Tensor]:
        """Slot of each node, 0 for an unknown ID or a hidden one; and which are hidden: all of an unknown vehicle, and
        those that training hides.
        """
        if not self.ids_V.numel():
            return torch.zeros_like(node_id_N), torch.ones_like(node_id_N, dtype=torch.bool)
        at = torch.searchsorted(self.ids_V, node_id_N).clamp(max=self.ids_V.numel() - 1)
        slot_N = torch.where(self.ids_V[at] == node_id_N, at + 1, 0)
        ones_N = torch.ones_like(slot_N, dtype=torch.float32)
        size_G = ones_N.new_zeros(num_graphs).index_add_(0, batch_N, ones_N)
        known_G = ones_N.new_zeros(num_graphs).index_add_(0, batch_N, (slot_N > 0).float()) / size_G.clamp(
            min=1
        )
        hide_G = (known_G < self.config.min_known_share) | self.as_unknown
        if self.training:
            hide_G = hide_G | (torch.rand_like(known_G) < self.config.graph_id_dropout)
            hide_N = hide_G[batch_N] | (torch.rand_like(ones_N) < self.config.node_id_dropout)
        else:
            hide_N = hide_G[batch_N]
        return slot_N.masked_fill(hide_N, 0), hide_N

    def forward(self, batch: GraphBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns scaled features ``x_ND``, slots ``slot_N``, model input ``h_N(D+embedding)``, edges ``e_EF``."""
        if isinstance(self.embedding, LookupEncoding):
            table_VZ = self.embedding.table.weight
            given = (batch.x, batch.edge_attr, batch.edge_index, batch.node_id, batch.batch, table_VZ)
            if fused.on_cpu(*given) and not (batch.x.requires_grad or batch.edge_attr.requires_grad):
                return self._enter_on_cpu(batch, table_VZ)
        slot_N, hidden_N = self.encode_ids(batch.node_id, batch.batch, batch.num_graphs)
        clip = self.config.clip
        x_ND = ((batch.x - self.mean_D) / self.std_D).clamp(-clip, clip)
        x_ND = torch.where(self.aware_D & (slot_N == 0)[:, None], 0.0, x_ND)
        e_EF = ((batch.edge_attr - self.edge_mean_F) / self.edge_std_F).clamp(-clip, clip)
        if self.ids_V.numel():
            known_E = (slot_N[batch.edge_index] > 0).all(dim=0)
            e_EF = torch.where(known_E[:, None], e_EF, 0.0)
        vector_NW = self.embedding(batch.node_id, slot_N, hidden_N)
        return x_ND, slot_N, torch.cat([x_ND, vector_NW], dim=-1), e_EF

    def _enter_on_cpu(self, batch: GraphBatch, table_VZ: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The same in a few compiled passes."""
        slot_N = self._slots_on_cpu(batch)
        clip, named = self.config.clip, bool(self.ids_V.numel())
        h_NI = fused.enter_nodes(batch.x, slot_N, table_VZ, (self.mean_D, self.std_D, self.aware_D), clip)
        scaling = (self.edge_mean_F, self.edge_std_F)
        e_EF = fused.enter_edges(batch.edge_attr, batch.edge_index, slot_N, scaling, clip, blank=named)
        return h_NI[:, : batch.x.shape[1]].detach(), slot_N, h_NI, e_EF

    def _slots_on_cpu(self, batch: GraphBatch) -> Tensor:
        if not self.ids_V.numel():
            return torch.zeros_like(batch.node_id)
        slot_N, known_G = fused.slots(self.ids_V, batch.node_id, batch.batch, batch.num_graphs)
        hide_G, draw_N = (known_G < self.config.min_known_share) | self.as_unknown, None
        if self.training:
            hide_G = hide_G | (torch.rand_like(known_G) < self.config.graph_id_dropout)
            draw_N = torch.rand(len(slot_N))
        fused.hide(slot_N, batch.batch, hide_G, draw_N, self.config.node_id_dropout)
        return slot_N


def convolution(config: ConvConfig, in_width: int, out_width: int, edge_width: int) -> nn.Module:
    """An attention convolution of the configured kind, heads concatenated to ``out_width``.

    No self-loops are added: blocks carry a residual, which is what a self-loop is for.

    Raises:
        ValueError: ``out_width`` is not a multiple of the number of heads.
        ExtraMissing: the kind needs a library or a device that is not here.
    """
    if out_width % config.num_heads:
        raise ValueError(f"width {out_width} is not a multiple of num_heads {config.num_heads}")
    per_head, heads = out_width // config.num_heads, config.num_heads
    shape, edge = (in_width, per_head, heads), edge_width
    layer: nn.Module
    match config:
        case TransformerConv():
            layer = TransformerConvolution(*shape, edge_dim=edge, dropout=config.dropout)
        case Gatv2Conv():
            layer = FusedGatv2(*shape, add_self_loops=False, edge_dim=edge, dropout=config.dropout)
        case GatConv():
            layer = GATConv(*shape, add_self_loops=False, edge_dim=edge, dropout=config.dropout)
        case CugraphGatConv():
            layer = CugraphConvolution("gat", *shape, edge_dim=edge)
        case CugraphGatv2Conv():
            layer = CugraphConvolution("gatv2", *shape, edge_dim=edge)
        case GpsConv():
            layer = _gps(in_width, out_width, edge_width, config)
    return layer


def _gps(in_width: int, out_width: int, edge_width: int, config: GpsConv) -> nn.Module:
    """GPS layer: local messages over edge features, and attention over all nodes of a window.

    Its norms are over a node's channels: PyG's default, over the batch, would let windows see each other.

    Raises:
        ValueError: the widths differ; the layer adds its input to its output.
    """
    if in_width != out_width:
        raise ValueError(f"a gps layer keeps its width: {in_width} is not {out_width}")
    local = GINEConv(mlp([in_width, out_width, out_width]), edge_dim=edge_width)
    layer: nn.Module = GPSConv(
        in_width,
        local,
        heads=config.num_heads,
        dropout=config.dropout,
        norm="layer_norm",
        norm_kwargs={"mode": "node"},
        attn_type="multihead",
        attn_kwargs={"dropout": config.dropout},
    )
    return layer


class ConvStack(nn.Module):
    """Residual attention blocks; returns the output of every layer."""

    def __init__(self, config: GatConfig | VgaeConfig, inputs: NodeInput) -> None:
        super().__init__()
        hidden, layers, edge_width = config.hidden, config.layers, int(inputs.edge_mean_F.numel())
        self.enter = nn.Linear(inputs.width, hidden)
        self.convs = nn.ModuleList(
            convolution(config.conv, hidden, hidden, edge_width) for _ in range(layers)
        )
        graph_norm = config.norm == "graph"
        self.norms = nn.ModuleList(
            GraphNorm(hidden) if graph_norm else nn.LayerNorm(hidden) for _ in range(layers)
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, h_NI: Tensor, e_EF: Tensor, batch: GraphBatch) -> list[Tensor]:
        h_NH = self.enter(h_NI)
        h_NH = elu(h_NH) if fused.on_cpu(h_NH) else torch.nn.functional.elu(h_NH)
        outputs = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            if (
                isinstance(conv, FusedGatv2)
                and isinstance(norm, nn.LayerNorm)
                and conv.can_fuse(h_NH, batch.edge_index, e_EF)
            ):
                h_NH = conv(h_NH, batch.edge_index, e_EF, block=(norm, self.dropout))
            else:
                message_NH = self._message(conv, norm, h_NH, e_EF, batch)
                h_NH = h_NH + self.dropout(torch.nn.functional.elu(message_NH))
            outputs.append(h_NH)
        return outputs

    @staticmethod
    def _message(conv: nn.Module, norm: nn.Module, h_NH: Tensor, e_EF: Tensor, batch: GraphBatch) -> Tensor:
        of_graphs = (batch.batch, batch.num_graphs) if isinstance(norm, GraphNorm) else ()
        normed_NH = norm(h_NH, *of_graphs)
        if isinstance(conv, GPSConv):
            message_NH: Tensor = conv(normed_NH, batch.edge_index, batch.batch, edge_attr=e_EF)
        else:
            message_NH = conv(normed_NH, batch.edge_index, e_EF)
        return message_NH

    def share(self, other: ConvStack) -> None:
        """Use the other stack's blocks; the projection of the inputs to the hidden width stays its own."""
        self.convs, self.norms = other.convs, other.norms


class Pool(nn.Module):
    """One or several aggregations of node states, concatenated."""

    def __init__(self, kinds: tuple[Pooling, ...], width: int) -> None:
        super().__init__()
        self.kinds = kinds
        self.aggregate = MultiAggregation(list(kinds))
        self.out_width = width * len(kinds)

    def forward(self, h_NH: Tensor, batch_N: Tensor, num_graphs: int) -> Tensor:
        if self.kinds == ("mean", "max") and fused.on_cpu(h_NH, batch_N):
            return fused.mean_and_max(h_NH, batch_N, num_graphs)
        pooled_GP: Tensor = self.aggregate(h_NH, batch_N, dim_size=num_graphs)
        return pooled_GP


def mlp(widths: list[int], dropout: float = 0.0) -> nn.Sequential:
    """Linear layers with ELU and dropout between them."""
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        if i:
            layers += [nn.ELU(), nn.Dropout(dropout)]
        layers.append(nn.Linear(before, after))
    return nn.Sequential(*layers)


def per_graph(
    value_N: Tensor, batch_N: Tensor, num_graphs: int, reduce: Literal["mean", "amax", "amin"] = "mean"
) -> Tensor:
    """Reduce one value per node to one per graph; an empty graph gives 0."""
    out_G = value_N.new_zeros(num_graphs)
    return out_G.scatter_reduce_(0, batch_N, value_N, reduce=reduce, include_self=False)
