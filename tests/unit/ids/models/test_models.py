import pytest
import torch
from tiny_world import TinyWorld

from candor.ids.config import GatConfig, NodeInputConfig, VgaeConfig
from candor.ids.graphs.features import NODE_FEATURES
from candor.ids.models.blocks import per_graph
from candor.ids.models.gat import Gat, attack_probability
from candor.ids.models.store import load_gat, load_vgae, save_model
from candor.ids.models.vgae import Vgae, window_errors, worst_nodes_mean

KINDS = ["gat", "gatv2", "transformer", "gps"]
AWARE = torch.tensor([f.view == "aware" for f in NODE_FEATURES])


def small_gat(world: TinyWorld, **changes: object) -> Gat:
    torch.manual_seed(0)
    config = GatConfig.model_validate({"hidden": 16, "layers": 2, **changes})
    return Gat(config, world.inputs(config.inputs)).eval()


def small_vgae(world: TinyWorld, **changes: object) -> Vgae:
    torch.manual_seed(0)
    config = VgaeConfig.model_validate({"hidden": 16, "layers": 2, "latent": 8, **changes})
    return Vgae(config, world.inputs(config.inputs)).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_every_convolution_sees_the_edge_features(world: TinyWorld, kind: str):
    model = small_gat(world, conv={"kind": kind})
    batch = world.batch("train", [0, 1, 2])
    batch.edge_attr.requires_grad_(True)
    model(batch).logits_GC.sum().backward()
    assert batch.edge_attr.grad.abs().sum() > 0
    assert batch.edge_attr.shape[1] == 11


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", ["layer", "graph"])
@pytest.mark.parametrize("make", [small_gat, small_vgae])
def test_the_score_of_a_window_does_not_depend_on_its_batch(world: TinyWorld, kind: str, norm: str, make):
    model = make(world, conv={"kind": kind}, norm=norm)

    def scores(indices):
        batch = world.batch("train", indices)
        output = model(batch)
        if isinstance(model, Gat):
            return attack_probability(output.logits_GC)
        errors = window_errors(model, output, batch)
        return torch.stack([errors.feature_G, errors.id_G, errors.neighbourhood_G], dim=-1)

    together = scores([5, 9, 2, 30])
    for row, index in enumerate([5, 9, 2, 30]):
        assert torch.allclose(scores([index])[0], together[row], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("knowledge", ["cat", "max", "lstm", "last"])
@pytest.mark.parametrize("pooling", [("mean",), ("mean", "max", "std", "softmax")])
def test_jumping_knowledge_and_pooling_combine(world: TinyWorld, knowledge: str, pooling: tuple[str, ...]):
    model = small_gat(world, jumping_knowledge=knowledge, pooling=pooling)
    output = model(world.batch("train", [0, 1]))
    assert output.logits_GC.shape == (2, 2)
    assert output.embedding_GH.shape == (2, 16)


def test_a_width_that_heads_do_not_divide_is_refused(world: TinyWorld):
    with pytest.raises(ValueError, match="not a multiple of num_heads 4"):
        small_gat(world, hidden=18)


def test_an_unknown_id_gets_the_unknown_slot_and_blank_aware_features(world: TinyWorld):
    inputs = world.inputs().eval()
    batch = world.batch("train", [0, 1])
    x, slot, _, edges = inputs(batch)
    assert (slot > 0).all()
    assert x[:, AWARE].abs().sum() > 0
    batch.node_id[:3] = 0x7AA
    x, slot, _, edges = inputs(batch)
    assert (slot[:3] == 0).all()
    assert (slot[3:] > 0).all()
    assert (x[:3][:, AWARE] == 0).all()
    touched = (batch.edge_index < 3).any(dim=0)
    assert (edges[touched] == 0).all()
    assert edges[~touched].abs().sum() > 0


def test_a_vehicle_with_mostly_unknown_ids_is_unknown_as_a_whole(world: TinyWorld):
    inputs = world.inputs(NodeInputConfig(min_known_share=0.5)).eval()
    batch = world.batch("train", [0, 1])
    first = (batch.batch == 0).nonzero()[:, 0]
    batch.node_id[first[: int(0.7 * len(first))]] += 0x10000
    _, slot, _, _ = inputs(batch)
    assert (slot[first] == 0).all()
    assert (slot[batch.batch == 1] > 0).all()


def test_training_hides_ids_and_scoring_does_not(world: TinyWorld):
    torch.manual_seed(0)
    inputs = world.inputs(NodeInputConfig(graph_id_dropout=0.5, node_id_dropout=0.0))
    batch = world.batch("train", list(range(40)))
    inputs.train()
    slot, _ = inputs.encode_ids(batch.node_id, batch.batch, batch.num_graphs)
    hidden = per_graph((slot == 0).float(), batch.batch, batch.num_graphs)
    assert set(hidden.tolist()) == {0.0, 1.0}
    assert 0.2 < hidden.mean() < 0.8
    inputs.eval()
    assert (inputs.encode_ids(batch.node_id, batch.batch, batch.num_graphs)[0] > 0).all()


def test_the_vgae_reconstructs_features_ids_and_neighbourhood(world: TinyWorld):
    model = small_vgae(world)
    batch = world.batch("train", [0, 1, 2])
    output = model(batch)
    nodes = batch.num_nodes
    assert output.x_hat_ND.shape == (nodes, len(NODE_FEATURES))
    for error in (output.feature_error_N, output.id_error_N, output.neighbourhood_error_N):
        assert error.shape == (nodes,)
        assert (error >= 0).all()
    assert output.kl() > 0
    parts = [model.decode_features, model.decode_ids, model.to_latent]
    model.train()
    model.loss(model(batch)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for part in parts for p in part.parameters())


def test_half_precision_does_not_overflow_the_latent_variance(world: TinyWorld):
    model = small_vgae(world)
    torch.nn.init.constant_(model.to_latent.bias, 1e4)
    assert model(world.batch("train", [0])).kl().isfinite()


def test_worst_nodes_mean_is_the_mean_of_each_graphs_largest():
    error = torch.tensor([1.0, 9.0, 5.0, 2.0, 7.0, 3.0])
    batch = torch.tensor([0, 0, 0, 0, 1, 1])
    assert worst_nodes_mean(error, batch, 2, 3).tolist() == pytest.approx([16 / 3, 5.0])
    assert worst_nodes_mean(error, batch, 2, 1).tolist() == [9.0, 7.0]


@pytest.mark.parametrize(("make", "load"), [(small_gat, load_gat), (small_vgae, load_vgae)])
def test_a_saved_detector_scores_as_before(world: TinyWorld, tmp_path, make, load):
    model = make(world, conv={"kind": "transformer"})
    save_model(tmp_path, model, world.build_train)
    back = load(tmp_path)
    batch = world.batch("test", [0, 1])
    first, second = (
        m(batch).logits_GC if isinstance(m, Gat) else m(batch).feature_error_N for m in (model, back)
    )
    assert torch.equal(first, second)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "model.json", "scaler.json", "vocabulary.json", "weights.safetensors",
    ]  # fmt: skip
