"""One model, two domains: what it shares, and that nothing of a host is known by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from flow_world import FlowWorld, make_flow_world
from tiny_world import Rows, TinyWorld, output
from torch import nn

from candor.flow.stage import Inputs
from candor.ids.config import (
    GatConfig,
    JointScoreTask,
    JointTask,
    NodeInputConfig,
    TrainingConfig,
    VgaeConfig,
)
from candor.ids.joint import score_joint, train_joint
from candor.ids.models.gat import Gat
from candor.ids.models.store import load_gat, node_input, save_model
from candor.ids.models.vgae import Vgae
from candor.ids.scoring import read_scores
from candor.learn.batching import GraphBatch
from candor.learn.interleaving import InterleavedLoader
from candor.learn.loading import GraphLoader
from candor.learn.metrics import ranking_metrics
from candor.learn.sampling import BudgetSampler


@pytest.fixture(scope="module")
def flow_world(tmp_path_factory: pytest.TempPathFactory) -> FlowWorld:
    return make_flow_world(tmp_path_factory.mktemp("flows"))


def batch(flow_world: FlowWorld) -> GraphBatch:
    store = flow_world.store("train")
    return GraphBatch.of(store.gather(list(range(min(64, len(store))))))


def test_no_feature_or_edge_of_a_flow_graph_is_blanked(flow_world: FlowWorld):
    inputs = node_input(NodeInputConfig(), flow_world.done["build_train"]).eval()
    given = batch(flow_world)
    x, slot, _, e = inputs(given)
    assert not slot.any()
    scaled = (given.x - inputs.mean_D) / inputs.std_D
    assert torch.equal(x, scaled.clamp(-8, 8))
    assert torch.equal(e, ((given.edge_attr - inputs.edge_mean_F) / inputs.edge_std_F).clamp(-8, 8))
    inputs.as_unknown = True
    assert torch.equal(inputs(given)[0], x)


def test_a_saved_flow_model_scores_as_before(flow_world: FlowWorld, tmp_path):
    model = Gat(
        GatConfig(hidden=16, layers=2), node_input(NodeInputConfig(), flow_world.done["build_train"])
    ).eval()
    save_model(tmp_path, model, flow_world.done["build_train"])
    given = batch(flow_world)
    assert torch.equal(load_gat(tmp_path)(given).logits_GC, model(given).logits_GC)


def test_one_trunk_learns_from_both_domains(world: TinyWorld, flow_world: FlowWorld):
    torch.manual_seed(0)
    config = GatConfig(hidden=16, layers=2, dropout=0.0)
    bus = Gat(config, world.inputs(config.inputs))
    net = bus.serving(node_input(config.inputs, flow_world.done["build_train"]))
    shared = {id(p) for p in bus.parameters()} & {id(p) for p in net.parameters()}
    own = {name for name, p in net.named_parameters() if id(p) not in shared}
    assert own == {"inputs.embedding.table.weight", "convs.enter.weight", "convs.enter.bias"}
    store = world.store("train")
    attacks, benign = (store.graphs[store.y_G == y][:32].tolist() for y in (1, 0))
    sets = ((bus, world.batch("train", attacks + benign)), (net, batch(flow_world)))
    together = nn.ModuleList([bus, net])
    optimizer = torch.optim.Adam(together.parameters(), lr=5e-3)
    first: list[float] = []
    for step in range(60):
        losses = [nn.functional.cross_entropy(m(b).logits_GC, b.y) for m, b in sets]
        if step == 0:
            first = [float(x) for x in losses]
        optimizer.zero_grad()
        sum(losses).backward()  # type: ignore[union-attr]
        optimizer.step()
    assert all(float(now) < 0.6 * then for now, then in zip(losses, first, strict=True))


def test_an_autoencoder_keeps_decoders_per_domain(world: TinyWorld, flow_world: FlowWorld):
    config = VgaeConfig(hidden=16, layers=2, latent=8)
    bus = Vgae(config, world.inputs(config.inputs))
    net = bus.serving(node_input(config.inputs, flow_world.done["build_train"]))
    assert net.to_latent is bus.to_latent
    assert net.decode_features is not bus.decode_features
    output = net(batch(flow_world))
    net.loss(output).backward()
    assert bus.to_latent.weight.grad.abs().sum() > 0
    assert output.x_hat_ND.shape[1] == flow_world.store("train").x_ND.shape[1]


def test_the_stage_trains_one_trunk_and_leaves_a_whole_classifier_of_each_domain(
    world: TinyWorld, flow_world: FlowWorld, tmp_path: Path
):
    """As many steps on each domain as alone, and both are learned; what is shared is the same weights on disk."""
    graphs = {"bus": world.build_train, "net": flow_world.done["build_train"]}
    builds = {f"build_train.{name}": folder for name, folder in graphs.items()}
    training = TrainingConfig(max_epochs=8, learning_rate=5e-3, threads=1, device="cpu", patience=0)
    model = GatConfig(hidden=16, layers=2, dropout=0.0)
    rows = Rows()
    out = output(tmp_path / "joint", rows)
    task = JointTask(model=model, training=training, domains=("bus", "net"), seed=1)
    told = train_joint(task, Inputs(builds), out).summary
    assert told["parameters"] < told["parameters_of_as_many_models"]  # type: ignore[operator]
    for name in graphs:
        curve = rows.curve(f"train_loss_{name}")
        assert curve[-1] < 0.7 * curve[0]
    models = {name: load_gat(out.path / name) for name in graphs}
    own = {
        name
        for name, p in models["net"].named_parameters()
        if not torch.equal(p, dict(models["bus"].named_parameters()).get(name, torch.zeros(0)))
    }
    assert {n for n in own if "enter" not in n} == {"inputs.embedding.table.weight"}
    builds_test = {"bus": world.build_test, "net": flow_world.done["build_test"]}
    for name, folder in graphs.items():
        scored = output(tmp_path / name)
        inputs = Inputs({"joint": out.path, "build_train": folder, "build_test": builds_test[name]})
        score_joint(JointScoreTask(variant="joint", domain=name, seed=1, device="cpu"), inputs, scored)
        val = read_scores([scored.path / "scores.parquet"]).filter(split="val")
        auroc = ranking_metrics(val["y"].to_numpy(), val["score"].to_numpy())["auroc"][0]
        assert auroc > 0.8


def test_an_epoch_holds_every_batch_of_every_domain_once_in_an_order_of_its_own(
    world: TinyWorld, flow_world: FlowWorld
):
    def loader(shuffle: bool = True) -> InterleavedLoader:
        stores = {"bus": world.store("train"), "net": flow_world.store("train")}
        parts = {
            name: GraphLoader(
                store,
                BudgetSampler(
                    store.node_counts,
                    store.edge_counts,
                    max_nodes=600,
                    max_edges=2400,
                    shuffle=shuffle,
                    seed=0,
                ),
            )
            for name, store in stores.items()
        }
        return InterleavedLoader(parts, shuffle=shuffle, seed=1)

    def order(given: InterleavedLoader) -> list[str]:
        return [batch.domain for batch in given]

    one = loader()
    first = order(one)
    assert len(first) == len(one)
    assert first == order(loader())
    one.set_epoch(1)
    again = order(one)
    assert sorted(again) == sorted(first)
    assert again != first
    assert order(loader(shuffle=False)) == sorted(first)
    seen = torch.cat([b.graphs.index for b in loader() if b.domain == "net"])
    assert sorted(seen.tolist()) == list(range(len(flow_world.store("train"))))
