import pytest
import torch
from torch import nn

from candor.errors import ArtifactCorrupted, ArtifactMissing
from candor.learn.checkpoints import (
    count_parameters,
    load_tree,
    load_weights,
    save_tree,
    save_weights,
    seed_everything,
)


def test_a_tree_of_tensors_and_scalars_comes_back_equal(tmp_path):
    tree = {
        "epoch": 3,
        "state_dict": {"w": torch.arange(6.0).reshape(2, 3)},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(7.0)}, 1: {"exp_avg": torch.ones(2)}}}],
        "betas": (0.9, 0.999),
        "nothing": None,
        "flag": True,
        "list": [1, "two", [3.0]],
    }
    save_tree(tmp_path / "c.safetensors", tree)
    back = load_tree(tmp_path / "c.safetensors")
    assert torch.equal(back["state_dict"]["w"], tree["state_dict"]["w"])
    assert set(back["optimizer_states"][0]["state"]) == {0, 1}
    assert back["betas"] == (0.9, 0.999)
    assert (back["epoch"], back["nothing"], back["flag"], back["list"]) == (3, None, True, [1, "two", [3.0]])


def test_an_optimizer_continues_from_its_saved_state_as_if_never_stopped(tmp_path):
    def steps(net, optimizer, n):
        for _ in range(n):
            optimizer.zero_grad()
            net(torch.ones(4, 3)).square().sum().backward()
            optimizer.step()

    seed_everything(5)
    straight = nn.Linear(3, 2)
    resumed = nn.Linear(3, 2)
    resumed.load_state_dict(straight.state_dict())
    opt = torch.optim.AdamW(straight.parameters(), lr=0.1)
    steps(straight, opt, 6)
    first = torch.optim.AdamW(resumed.parameters(), lr=0.1)
    steps(resumed, first, 3)
    save_tree(tmp_path / "c.safetensors", {"net": resumed.state_dict(), "opt": first.state_dict()})
    saved = load_tree(tmp_path / "c.safetensors")
    again = nn.Linear(3, 2)
    again.load_state_dict(saved["net"])
    second = torch.optim.AdamW(again.parameters(), lr=0.1)
    second.load_state_dict(saved["opt"])
    steps(again, second, 3)
    assert torch.equal(again.weight, straight.weight)


def test_an_object_that_json_cannot_hold_is_named_with_its_place(tmp_path):
    with pytest.raises(TypeError, match=r"object at 'checkpoint\.a\.b'"):
        save_tree(tmp_path / "c.safetensors", {"a": {"b": object()}})


def test_a_failed_write_leaves_the_previous_checkpoint_whole(tmp_path):
    path = tmp_path / "c.safetensors"
    save_tree(path, {"epoch": 1})
    with pytest.raises(TypeError):
        save_tree(path, {"epoch": object()})
    assert load_tree(path) == {"epoch": 1}


def test_missing_and_truncated_files_say_so(tmp_path):
    path = tmp_path / "c.safetensors"
    with pytest.raises(ArtifactMissing):
        load_tree(path)
    save_tree(path, {"w": torch.ones(100)})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ArtifactCorrupted, match=r"c\.safetensors"):
        load_tree(path)


def test_weights_of_another_shape_are_refused(tmp_path):
    save_weights(tmp_path / "w.safetensors", nn.Linear(3, 2))
    with pytest.raises(ArtifactCorrupted, match="do not fit"):
        load_weights(tmp_path / "w.safetensors", nn.Linear(4, 2))


def test_nothing_written_is_a_pickle(tmp_path):
    save_tree(tmp_path / "c.safetensors", {"w": torch.ones(3)})
    head = (tmp_path / "c.safetensors").read_bytes()
    assert head[8:9] == b"{"  # safetensors: eight bytes of header length, then JSON
    assert head[:2] not in (b"PK", b"\x80\x02")


def test_seeds_differ_by_every_part():
    draws = set()
    for parts in [(1, 2), (2, 1), (1, 2, 0), (1, 3)]:
        seed_everything(*parts)
        draws.add(float(torch.rand(())))
    assert len(draws) == 4


def test_parameters_that_do_not_train_are_not_counted():
    net = nn.Linear(3, 2)
    net.bias.requires_grad_(False)
    assert count_parameters(net) == 6
