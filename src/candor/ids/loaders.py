"""The loader that a training config asks for."""

from __future__ import annotations

from candor.errors import ConfigError
from candor.ids.config import CugraphLoader, TrainingConfig
from candor.ids.graphs.store import GraphStore
from candor.learn import cugraph_loading
from candor.learn.batching import BatchSampler
from candor.learn.fit import accelerator
from candor.learn.loading import GraphLoader


def graph_loader(store: GraphStore, sampler: BatchSampler, training: TrainingConfig) -> GraphLoader:
    """Batches of ``store`` by ``training.loader``.

    Raises:
        ConfigError: a loader of CUDA for a training on the CPU.
        ExtraMissing: the loader needs a library or a device that is not here.
    """
    match training.loader:
        case CugraphLoader(location=location):
            if training.device == "cpu":
                raise ConfigError(
                    "training.loader.kind=cugraph makes batches on CUDA, and training.device is cpu",
                    place="training.loader.kind",
                    hint="Use training.device=cuda or training.loader.kind=packed.",
                )
            if training.devices > 1:
                raise ConfigError(
                    "training.loader.kind=cugraph is of one process, and training.devices is "
                    f"{training.devices}",
                    place="training.loader.kind",
                    hint="Use training.loader.kind=packed.",
                )
            device = accelerator(training.device)
            return cugraph_loading.CugraphLoader(store, sampler, location=location, device=device)
        case _:
            return GraphLoader(store, sampler)
