"""What a student learns from its teacher."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def softened_kl(student_GC: Tensor, teacher_GC: Tensor, temperature: float) -> Tensor:
    """KL(teacher ‖ student) of logits softened by ``temperature``, times T² (Hinton et al. 2015, eq. 2 and §2).

    The factor T² keeps the gradient's size independent of the temperature. G graphs, C classes; returns a scalar.
    """
    student = F.log_softmax(student_GC / temperature, dim=-1)
    teacher = F.log_softmax(teacher_GC / temperature, dim=-1)
    return F.kl_div(student, teacher, log_target=True, reduction="batchmean") * temperature**2


class LatentProjection(nn.Module):
    """Maps a student's latents into the teacher's space, so that widths may differ (FitNets, arXiv:1412.6550)."""

    def __init__(self, student_dim: int, teacher_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(student_dim, teacher_dim, bias=False)

    def loss(self, student_NZ: Tensor, teacher_NZ: Tensor) -> Tensor:
        """Mean squared distance between projected student latents and the teacher's; scalar."""
        return F.mse_loss(self.linear(student_NZ), teacher_NZ)
