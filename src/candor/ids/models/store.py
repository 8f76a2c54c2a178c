"""Detectors on disk: weights as safetensors, and the config, vocabulary and scaler that rebuild the module."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import TypeAdapter

from candor.config.base import Config
from candor.ids.config import GatConfig, NodeInputConfig, VgaeConfig
from candor.ids.graphs.features import NODE_FEATURES
from candor.ids.graphs.scaler import Scaler
from candor.ids.graphs.vocabulary import Vocabulary
from candor.ids.models.blocks import NodeInput
from candor.ids.models.gat import Gat
from candor.ids.models.temporal import Temporal
from candor.ids.models.vgae import Vgae
from candor.learn.checkpoints import load_weights, save_weights

ModelT = TypeVar("ModelT", Vgae, Gat)


def node_input(config: NodeInputConfig, folder: Path) -> NodeInput:
    """Input block with the vocabulary and scaler found in ``folder`` (a build or a model artifact)."""
    vocabulary = Vocabulary.from_json(json.loads((folder / "vocabulary.json").read_text()))
    scalers = json.loads((folder / "scaler.json").read_text())
    if scalers.get("domain", "can") == "can":
        aware = torch.tensor([feature.view == "aware" for feature in NODE_FEATURES])
    else:  # Features of hosts are all agnostic.
        aware = torch.zeros(len(scalers["x"]["mean"]), dtype=torch.bool)
    return NodeInput(
        config,
        vocabulary=vocabulary,
        nodes=Scaler.from_json(scalers["x"]),
        edges=Scaler.from_json(scalers["edge_attr"]),
        aware_D=aware,
    )


def save_model(folder: Path, model: Vgae | Gat | Temporal, graphs: Path) -> None:
    """Write weights, config, vocabulary and scaler; ``graphs`` is the build artifact the model was trained on."""
    save_weights(folder / "weights.safetensors", model)
    (folder / "model.json").write_text(model.config.model_dump_json(indent=2))
    for name in ("vocabulary.json", "scaler.json"):
        (folder / name).write_bytes((graphs / name).read_bytes())


def _load(folder: Path, config_type: type[Config], build: type[ModelT]) -> ModelT:
    config = TypeAdapter(config_type).validate_python(json.loads((folder / "model.json").read_text()))
    model = build(config, node_input(config.inputs, folder))  # type: ignore[attr-defined,arg-type]
    load_weights(folder / "weights.safetensors", model)
    return model.eval()


def load_vgae(folder: Path) -> Vgae:
    """Read what :func:`save_model` wrote."""
    return _load(folder, VgaeConfig, Vgae)


def load_gat(folder: Path) -> Gat:
    """Read what :func:`save_model` wrote."""
    return _load(folder, GatConfig, Gat)
