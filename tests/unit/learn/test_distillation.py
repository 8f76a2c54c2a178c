import pytest
import torch

from candor.learn.distillation import LatentProjection, softened_kl


def test_a_student_equal_to_its_teacher_loses_nothing():
    logits = torch.randn(5, 2)
    assert softened_kl(logits, logits, 4.0).item() == pytest.approx(0, abs=1e-6)


def test_softened_kl_matches_its_definition():
    student, teacher = torch.randn(7, 2).double(), torch.randn(7, 2).double()
    p, q = (teacher / 4).softmax(-1), (student / 4).softmax(-1)
    by_hand = 16 * (p * (p / q).log()).sum(-1).mean()
    assert softened_kl(student, teacher, 4.0).item() == pytest.approx(by_hand.item())


def test_the_gradient_keeps_its_size_over_temperatures():
    teacher = torch.tensor([[2.0, -2.0]])
    norms = []
    for temperature in (8.0, 16.0, 32.0):
        student = torch.tensor([[0.1, 0.0]], requires_grad=True)
        softened_kl(student, teacher, temperature).backward()
        norms.append(student.grad.norm().item())
    assert max(norms) / min(norms) < 1.05


def test_a_projection_learns_to_match_a_wider_teacher():
    torch.manual_seed(0)
    student = torch.randn(256, 4)
    teacher = student @ torch.randn(4, 9)
    projection = LatentProjection(4, 9)
    optimizer = torch.optim.Adam(projection.parameters(), lr=0.05)
    before = projection.loss(student, teacher).item()
    for _ in range(200):
        optimizer.zero_grad()
        loss = projection.loss(student, teacher)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.01 * before
