"""The temporal detector: attention over the states of a GRU-GCN that walks through consecutive windows.

After T-GCN (Zhao et al. 2020, arXiv:1811.05320, eq. 5 to 8) and A3T-GCN (Bai et al. 2021, arXiv:2006.11583): a graph
convolution feeds a gated recurrent unit, and the states of all windows of a sequence are weighed by attention. Here the
nodes are arbitration IDs, which come and go: each ID keeps its own state from window to window, and a window's state is
pooled over the IDs it holds. A slow attack changes no window much; it changes where a sequence goes.

Shapes: S sequences, T windows of a sequence (oldest first, the last is the one that is judged), N nodes of all their
windows, K pairs of sequence and ID, H hidden width, C = 2 classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch_geometric.nn import GCNConv

from candor.ids.config import TemporalConfig
from candor.ids.models.blocks import NodeInput, mlp
from candor.ids.models.training import WindowTraining
from candor.learn.batching import GraphBatch
from candor.learn.curriculum import CurriculumSampler
from candor.learn.sampling import BudgetSampler, OverArrays


class Temporal(nn.Module):
    """Sequences of windows → two logits for the last window of each."""

    def __init__(self, config: TemporalConfig, inputs: NodeInput) -> None:
        super().__init__()
        self.config, self.inputs = config, inputs
        hidden = config.hidden
        self.conv = GCNConv(inputs.width, hidden)
        self.cell = nn.GRUCell(hidden, hidden)
        self.attend = mlp([2 * hidden, hidden, 1])
        self.classify = mlp([4 * hidden, hidden, 2], config.dropout)

    def forward(self, batch: GraphBatch) -> Tensor:
        """Logits ``[S, C]``. ``batch`` holds S·T windows, sequence by sequence, in the order of time."""
        return self.judged(batch)[0]

    def judged(self, batch: GraphBatch) -> tuple[Tensor, Tensor]:
        """The logits, and the attention over the windows of each sequence, ``[S, T]``."""
        length = self.config.windows
        sequences = batch.num_graphs // length
        _, _, h_NI, _ = self.inputs(batch)
        message_NH = F.elu(self.conv(h_NI, batch.edge_index))
        step_N, sequence_N = batch.batch % length, batch.batch // length
        # IDs take 30 bits; the sequence goes above them.
        _, pair_N = torch.unique(sequence_N * (1 << 32) + batch.node_id, return_inverse=True)
        state_KH = message_NH.new_zeros(int(pair_N.max()) + 1 if len(pair_N) else 0, self.config.hidden)
        pooled = []
        for t in range(length):
            now = (step_N == t).nonzero()[:, 0]
            pair, of = pair_N[now], sequence_N[now]
            fresh = self.cell(message_NH[now], state_KH[pair])
            state_KH = state_KH.index_copy(0, pair, fresh.to(state_KH.dtype))
            pooled.append(_pool(fresh, of, sequences))
        states_STP = torch.stack(pooled, dim=1)
        share_ST1 = torch.softmax(self.attend(states_STP), dim=1)
        context_SP = (share_ST1 * states_STP).sum(1)
        logits_SC: Tensor = self.classify(torch.cat([context_SP, states_STP[:, -1]], dim=-1))
        return logits_SC, share_ST1[:, :, 0]


def _pool(state_NH: Tensor, of_N: Tensor, graphs: int) -> Tensor:
    """Mean and maximum over the nodes of each graph, ``[graphs, 2H]``."""
    width = state_NH.shape[1]
    at = of_N[:, None].expand(-1, width)
    zero = state_NH.new_zeros(graphs, width)
    mean, most = (
        zero.scatter_reduce(0, at, state_NH, reduce=reduce, include_self=False) for reduce in ("mean", "amax")
    )
    return torch.cat([mean, most], dim=-1)


class TemporalTraining(WindowTraining):
    """Of a temporal detector, which judges the last window of each sequence. A teacher that is asked has sequences as long."""

    model: Temporal

    def judge(self, model: nn.Module, batch: GraphBatch) -> Tensor:
        logits_SC: Tensor = model(batch)
        return logits_SC

    def judged(self, value_G: Tensor) -> Tensor:
        return value_G.view(-1, self.model.config.windows)[:, -1]


def histories(window_G: NDArray[np.void], number_G: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Positions of the windows that lead up to each window, oldest first and itself last, ``[G, length]``.

    A sequence ends at the edge of its capture, at a cut and at another profile's windows; what is missing before its
    first window is that window again.

    Args:
        window_G: a store's windows. number_G: their ordinals in their captures, where a cut skips one (window_rows).
    """
    first = np.ones(len(window_G), bool)
    follows = (
        (window_G["capture"][1:] == window_G["capture"][:-1])
        & (window_G["profile"][1:] == window_G["profile"][:-1])
        & (number_G[1:] == number_G[:-1] + 1)
    )
    first[1:] = ~follows
    start_G = np.maximum.accumulate(np.where(first, np.arange(len(window_G)), 0))
    back_T = np.arange(length - 1, -1, -1)
    positions: NDArray[np.int64] = np.maximum(np.arange(len(window_G))[:, None] - back_T, start_G[:, None])
    return positions


class SequenceSampler(OverArrays):
    """Batches of whole sequences, flat, as a loader wants them, for Temporal to fold.

    ``packed`` chooses the windows to judge and packs them by the size of their sequences (:func:`sequence_sizes`); each is
    then followed back in time.
    """

    def __init__(self, history_GT: NDArray[np.int64], packed: BudgetSampler | CurriculumSampler) -> None:
        self._history, self._packed = history_GT, packed

    def set_epoch(self, epoch: int) -> None:
        """Choose and pack the windows of ``epoch``."""
        self._packed.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._packed)

    def arrays(self) -> Iterator[NDArray[np.int64]]:
        for batch in self._packed.arrays():
            yield self._history[batch].ravel()


def sequence_sizes(
    history_GT: NDArray[np.int64], node_counts: NDArray[np.int64], edge_counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Nodes and edges of the sequence that leads up to each window, ``[G]`` each: what a budget counts."""
    return node_counts[history_GT].sum(axis=1), edge_counts[history_GT].sum(axis=1)
