"""Optimizer, schedule and averaged weights, all of them torch's own."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR
from torch.optim.swa_utils import AveragedModel

from detector.settings import OptimizerSettings

Tensors = tuple[Tensor, ...] | list[Tensor]

WARMUP_START = 1e-3
"""Fraction of the learning rate at the first step of the warm-up."""


def make_optimizer(model: nn.Module, settings: OptimizerSettings) -> Optimizer:
    """SGD with Nesterov's momentum, or AdamW; weight decay on convolutions and matrices only.

    Frozen parameters are left out.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in trained if p.ndim > 1]
    others = [p for p in trained if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return SGD(groups, settings.learning_rate, settings.momentum, nesterov=True, fused=True)
    return AdamW(groups, settings.learning_rate, (settings.momentum, 0.999), fused=True)


def make_scheduler(
    optimizer: Optimizer, settings: OptimizerSettings, steps: int, steps_per_epoch: int
) -> LRScheduler:
    """Linear warm-up, then a cosine down to ``final_fraction``; stepped with the optimizer.

    Args:
        optimizer: whose learning rates are scheduled.
        settings: learning rate, warm-up, final fraction.
        steps: optimizer steps of the whole training.
        steps_per_epoch: optimizer steps of one epoch.
    """
    warmup_steps = min(max(round(settings.warmup_epochs * steps_per_epoch), 1), max(steps // 2, 1))
    floor = settings.learning_rate * settings.final_fraction
    warmup = LinearLR(optimizer, WARMUP_START, total_iters=warmup_steps)
    cosine = CosineAnnealingLR(optimizer, max(steps - warmup_steps, 1), eta_min=floor)
    return SequentialLR(optimizer, [warmup, cosine], milestones=[warmup_steps])


def make_average(model: nn.Module, settings: OptimizerSettings) -> AveragedModel:
    """Exponential moving average of weights and buffers, in fp32, with a warm-up of its decay."""
    update = moving_average(settings.ema_decay, settings.ema_warmup)
    return AveragedModel(model, multi_avg_fn=update, use_buffers=True).eval()


def moving_average(decay: float, warmup: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """Update averaged ← d · averaged + (1 − d) · current; d = decay · (1 − exp(−step / warmup)).

    Counters, which are whole numbers, are copied.
    """

    @torch.no_grad()
    def update(averaged: Tensors, current: Tensors, step: Tensor | int) -> None:
        if not averaged[0].is_floating_point():
            torch._foreach_copy_(averaged, current)
            return
        kept = decay * (1 - math.exp(-float(step) / warmup))
        torch._foreach_lerp_(averaged, current, 1 - kept)

    return update
