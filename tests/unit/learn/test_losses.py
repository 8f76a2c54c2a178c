import pytest
import torch
import torch.nn.functional as F

from candor.learn.losses import focal, weighted_cross_entropy

LOGITS = torch.tensor([[2.0, -1.0], [0.3, 0.1], [-1.0, 3.0], [1.0, 0.5]])
Y = torch.tensor([0, 1, 1, 1])


def test_a_focal_loss_of_gamma_0_is_half_the_cross_entropy_at_alpha_one_half():
    assert focal(LOGITS, Y, 0.0, 0.5) == pytest.approx(0.5 * F.cross_entropy(LOGITS, Y).item(), rel=1e-6)


def test_a_focal_loss_turns_to_what_is_wrong():
    easy, hard = torch.tensor([[5.0, -5.0]]), torch.tensor([[-1.0, 1.0]])
    y = torch.tensor([0])
    share = focal(easy, y, 2.0, 0.5) / focal(hard, y, 2.0, 0.5)
    assert share < 1e-3 * F.cross_entropy(easy, y) / F.cross_entropy(hard, y)
    p = torch.softmax(hard, -1)[0, 0]
    assert focal(hard, y, 2.0, 0.25).item() == pytest.approx(
        (-0.75 * (1 - p) ** 2 * p.log()).item(), rel=1e-5
    )


def test_focal_gradients_stay_finite_where_a_window_is_sure():
    sure = torch.tensor([[80.0, -80.0]], requires_grad=True)
    focal(sure, torch.tensor([0]), 0.5, 0.5).backward()
    assert torch.isfinite(sure.grad).all()


def test_weight_1_is_plain_cross_entropy_and_a_larger_one_leans_to_attacks():
    plain = F.cross_entropy(LOGITS, Y).item()
    assert weighted_cross_entropy(LOGITS, Y, 1.0).item() == pytest.approx(plain)
    missed = F.cross_entropy(LOGITS[1:], Y[1:]).item()
    heavy = weighted_cross_entropy(LOGITS, Y, 50.0).item()
    assert abs(heavy - missed) < abs(plain - missed)
