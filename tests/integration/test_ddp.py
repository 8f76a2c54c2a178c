"""The packed loader under Lightning's DDP: two processes share every epoch, and none waits for the other for ever."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from ports import reserved_port
from tiny_world import TinyWorld

from candor.ids.graphs.store import GraphStore
from candor.learn.loading import GraphLoader
from candor.learn.sampling import BudgetSampler

EPOCHS = 2


class Seen(L.LightningModule):
    """A layer whose gradients DDP adds up, and a note of every graph that a rank saw in an epoch."""

    def __init__(self, width: int, notes: Path) -> None:
        super().__init__()
        self.layer, self.notes = torch.nn.Linear(width, 1), notes

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        path = self.notes / f"{self.current_epoch}.{self.global_rank}"
        with path.open("a") as file:
            file.write(" ".join(map(str, batch.index.tolist())) + "\n")
        return self.layer(batch.x).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch.to(device)


class Shared(L.LightningDataModule):
    """The loader of this rank's share."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def train_dataloader(self) -> GraphLoader:
        store = GraphStore.open(self.folder)
        assert self.trainer is not None
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        counts, budget = (store.node_counts, store.edge_counts), {"max_nodes": 400, "max_edges": 1600}
        sampler = BudgetSampler(*counts, **budget, shuffle=True, seed=3, rank=rank, world_size=world_size)
        return GraphLoader(store, sampler)


@pytest.mark.slow
def test_two_processes_see_every_graph_once_an_epoch_in_equally_many_steps(
    world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = world.store("train")
    with warnings.catch_warnings(), reserved_port() as port:
        monkeypatch.setenv(
            "MASTER_PORT", str(port)
        )  # Lightning would look one up that may be taken meanwhile.
        warnings.simplefilter("ignore")
        trainer = L.Trainer(
            accelerator="cpu",
            devices=2,
            strategy="ddp_spawn",
            max_epochs=EPOCHS,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            reload_dataloaders_every_n_epochs=0,
        )
        trainer.fit(Seen(store.x_ND.shape[1], tmp_path), Shared(store.path))
    orders = []
    for epoch in range(EPOCHS):
        steps = [(tmp_path / f"{epoch}.{rank}").read_text().splitlines() for rank in (0, 1)]
        assert len(steps[0]) == len(steps[1]) > 1
        seen = [int(i) for rank in steps for line in rank for i in line.split()]
        assert sorted(seen) == np.arange(len(store)).tolist()
        orders.append(seen)
    assert orders[0] != orders[1]
