"""The temporal detector: attention over the states of a GRU-GCN that walks through consecutive windows.

After T-GCN (Zhao et al. 2020, arXiv:1811.05320, eq. 5 to 8) and A3T-GCN (Bai et al. 2021, arXiv:2006.11583): a graph
convolution feeds a gated recurrent unit, and the states of all windows of a sequence are weighed by attention. Here the
nodes are arbitration IDs, which come and go: each ID keeps its own state from window to window, and a window's state is
pooled over the IDs it holds. A slow attack changes no window much; it changes where a sequence goes.

Shapes: S sequences, T windows of a sequence (oldest first, the last is the one that is judged), N nodes of all their
windows, K pairs of sequence and ID, H hidden width, C = 2 classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch_geometric.nn import GCNConv

from candor.ids.config import DistillationConfig, TemporalConfig, TrainingConfig
from candor.ids.models.blocks import NodeInput, mlp
from candor.ids.models.training import Training
from candor.learn.batching import GraphBatch
from candor.learn.distillation import softened_kl
from candor.learn.fit import freeze


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


@dataclass(frozen=True)
class TemporalTeacher:
    """A frozen teacher and what the student takes from it.

    ``logits_GC``: what it says of every training window, by position in the store; None: it is asked in every step, and
    its sequences are as long as the student's.
    """

    model: Temporal
    config: DistillationConfig
    logits_GC: Tensor | None = None


class TemporalTraining(Training):
    """Cross-entropy on the label of each sequence's last window, mixed with the softened teacher where there is one."""

    _teacher: tuple[TemporalTeacher, ...]

    def __init__(
        self, model: Temporal, config: TrainingConfig, seed: int, teacher: TemporalTeacher | None = None
    ) -> None:
        super().__init__(config, seed)
        self.model = model
        self._teacher = (replace(teacher, model=freeze(teacher.model)),) if teacher else ()  # type: ignore[arg-type]

    def training_step(self, batch: GraphBatch, batch_idx: int) -> Tensor:
        logits_SC = self.model(batch)
        loss = F.cross_entropy(logits_SC, self._last(batch))
        for teacher in self._teacher:
            softened = softened_kl(logits_SC, self._taught(teacher, batch), teacher.config.temperature)
            self._record("train_distillation", softened, batch)
            loss = (1 - teacher.config.kl_weight) * loss + teacher.config.kl_weight * softened
        self._record("train_loss", loss, batch)
        return loss

    @torch.no_grad()
    def _taught(self, teacher: TemporalTeacher, batch: GraphBatch) -> Tensor:
        if teacher.logits_GC is not None:
            judged_S = batch.index.view(-1, self.model.config.windows)[:, -1]
            return teacher.logits_GC[judged_S.to(teacher.logits_GC.device)].to(self.device)
        logits_SC: Tensor = teacher.model.to(self.device)(batch)
        return logits_SC

    def validation_step(self, batch: GraphBatch, batch_idx: int) -> None:
        logits_SC, y_S = self.model(batch), self._last(batch)
        self._record("val_loss", F.cross_entropy(logits_SC, y_S), batch)
        self._record("val_accuracy", (logits_SC.argmax(-1) == y_S).float().mean(), batch)

    def _last(self, batch: GraphBatch) -> Tensor:
        return batch.y.view(-1, self.model.config.windows)[:, -1].long()


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


class SequenceSampler:
    """Batches of whole sequences, ``per_batch`` at a time; flat, as a loader wants them, for Temporal to fold."""

    def __init__(
        self,
        history_GT: NDArray[np.int64],
        chosen: NDArray[np.int64],
        per_batch: int,
        *,
        shuffle: bool,
        seed: int,
    ) -> None:
        self._history, self._chosen, self._per_batch = history_GT, chosen, per_batch
        self._shuffle, self._seed = shuffle, seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of ``epoch``."""
        rng = np.random.default_rng([self._seed, epoch])
        self._order = rng.permutation(self._chosen) if self._shuffle else self._chosen

    def __len__(self) -> int:
        return math.ceil(len(self._chosen) / self._per_batch)

    def __iter__(self) -> Iterator[list[int]]:
        for at in range(0, len(self._order), self._per_batch):
            yield self._history[self._order[at : at + self._per_batch]].ravel().tolist()
