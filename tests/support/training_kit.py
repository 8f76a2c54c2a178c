"""Small trainings of real models on the tiny world."""

from __future__ import annotations

from pathlib import Path

from tiny_world import Rows, TinyWorld, output

from candor.ids.config import GatConfig, TrainingConfig, VgaeConfig
from candor.ids.models.gat import Gat
from candor.ids.models.store import node_input, save_model
from candor.ids.models.training import GatTraining, VgaeTeacher, VgaeTraining, WindowTeacher
from candor.ids.models.vgae import Vgae
from candor.learn.checkpoints import seed_everything
from candor.learn.fit import fit

FAST = TrainingConfig(max_epochs=4, learning_rate=1e-2, threads=1, device="cpu", patience=0)


def gat_training(
    world: TinyWorld, options: TrainingConfig = FAST, teacher: WindowTeacher | None = None, hidden: int = 16
):
    config = GatConfig.model_validate({"hidden": hidden, "layers": 2})

    def build() -> GatTraining:
        seed_everything(3)
        return GatTraining(Gat(config, world.inputs(config.inputs)), options, 3, teacher)

    return build


def vgae_training(
    world: TinyWorld, options: TrainingConfig = FAST, teacher: VgaeTeacher | None = None, latent: int = 8
):
    config = VgaeConfig.model_validate({"hidden": 16, "layers": 2, "latent": latent})

    def build() -> VgaeTraining:
        seed_everything(3)
        return VgaeTraining(Vgae(config, world.inputs(config.inputs)), options, 3, teacher)

    return build


def train(build, world: TinyWorld, path, options: TrainingConfig = FAST, only: int | None = None):
    rows = Rows()
    loaders = world.loader("train", only=only, shuffle=True), world.loader("val", only=only)
    module, report = fit(build, *loaders, options, output(path, rows))
    return module, report, rows


def untrained_vgae(graphs: Path, folder: Path) -> Path:
    """Folder of an autoencoder that learned nothing, for stages that need one's errors. ``graphs``: of build_train."""
    config = VgaeConfig.model_validate({"hidden": 8, "layers": 1, "latent": 4})
    seed_everything(0)
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder, Vgae(config, node_input(config.inputs, graphs)), graphs)
    return folder
