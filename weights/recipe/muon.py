"""Muon: momentum whose matrices are made nearly orthogonal before they are applied (Keller Jordan, 2024).

All matrices of one shape are treated together in one batch, which saves thousands of small operations a step.
"""

from __future__ import annotations

from typing import Any

import torch

Tensor = torch.Tensor


def orthogonal(m: Tensor, rounds: int = 5) -> Tensor:
    """Push all singular values of a batch of matrices towards 1 with the quintic Newton-Schulz iteration."""
    wide = m.shape[1] <= m.shape[2]
    x = (m if wide else m.transpose(1, 2)).bfloat16()
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(rounds):
        a = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return (x if wide else x.transpose(1, 2)).to(m.dtype)


class Muon(torch.optim.Optimizer):
    """For the matrices of the blocks; the step has about the size that AdamW's would have."""

    def __init__(self, parameters: list[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.05) -> None:
        shapes = sorted({tuple(p.shape) for p in parameters})
        groups = [{"params": [p for p in parameters if tuple(p.shape) == s]} for s in shapes]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            parameters = group["params"]
            grads = torch.stack([p.grad for p in parameters])
            state = self.state[parameters[0]]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(grads)
            state["momentum"].lerp_(grads, 1 - group["momentum"])
            update = orthogonal(grads.lerp(state["momentum"], group["momentum"]))
            size = 0.2 * max(grads.shape[1:]) ** 0.5 * group["lr"]
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(parameters, list(update.unbind(0)), alpha=-size)
