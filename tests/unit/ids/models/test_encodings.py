import pytest
import torch
from tiny_world import TinyWorld

from candor.ids.config import HashIds, NodeInputConfig
from candor.ids.models.encodings import HashEncoding


def entry(world: TinyWorld, **ids: object):
    torch.manual_seed(0)
    return world.inputs(NodeInputConfig.model_validate({"ids": ids})).eval()


@pytest.mark.parametrize(
    ("ids", "width"),
    [({"width": 5}, 5), ({"kind": "hash", "width": 6, "buckets": 32, "probes": 3}, 6), ({"kind": "none"}, 0)],
)
def test_the_input_is_as_wide_as_features_and_encoding(world: TinyWorld, ids, width):
    inputs = entry(world, **ids)
    x, _, h, _ = inputs(world.batch("train", [0, 1]))
    assert h.shape[1] == inputs.width == x.shape[1] + width


def test_an_unseen_id_of_a_known_vehicle_has_a_hashed_vector_of_its_own_and_no_looked_up_one(
    world: TinyWorld,
):
    vectors = {}
    for kind in ("lookup", "hash"):
        inputs = entry(world, kind=kind, width=8)
        batch = world.batch("train", [0])
        batch.node_id[0], batch.node_id[1] = 0x7AA, 0x7AB
        x, _, h, _ = inputs(batch)
        vectors[kind] = h[:2, x.shape[1] :]
    assert torch.equal(*vectors["lookup"])
    assert not torch.allclose(*vectors["hash"])


@pytest.mark.parametrize("kind", ["lookup", "hash"])
def test_all_ids_of_a_vehicle_shown_as_unknown_share_one_vector(world: TinyWorld, kind: str):
    inputs = entry(world, kind=kind)
    inputs.as_unknown = True
    x, _, h, _ = inputs(world.batch("train", [0, 1]))
    vectors = h[:, x.shape[1] :]
    assert torch.equal(vectors, vectors[:1].expand_as(vectors))


def test_every_id_of_the_standard_range_is_told_apart():
    torch.manual_seed(0)
    model = HashEncoding(HashIds(width=4, buckets=64, probes=2))
    ids = torch.arange(2048)
    with torch.inference_mode():
        vectors = model(ids, torch.zeros_like(ids), torch.zeros(2048, dtype=torch.bool))
    assert len(torch.unique(vectors, dim=0)) > 2040
    used = model._mix(ids) % 64
    counts = torch.stack([torch.bincount(used[:, p], minlength=64) for p in range(2)])
    assert counts.max() < 2.5 * 2048 / 64  # No bucket is crowded: 32 on average.


def test_probes_of_one_id_differ():
    mixed = HashEncoding(HashIds(probes=3))._mix(torch.arange(1, 500)) % 256
    same = (mixed[:, 0] == mixed[:, 1]) & (mixed[:, 1] == mixed[:, 2])
    assert same.float().mean() < 0.01
