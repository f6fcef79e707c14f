"""Optimizer, schedule and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel

from detector.engine.layer_decay import parameter_scales
from detector.model.detector import Detector
from detector.settings.train import OptimizerSettings
from detector.utils.errors import DetectorError

Tensors = tuple[Tensor, ...] | list[Tensor]

WARMUP_START = 1e-3
"""Fraction of the learning rate at the first step of the warm-up."""


def make_optimizer(
    model: nn.Module, settings: OptimizerSettings, helpers: nn.Module | None = None
) -> Optimizer:
    """Make SGD with Nesterov momentum, or AdamW; weight decay on convolutions and matrices only.

    Learnt vectors do not decay, whatever their shape. Frozen parameters are left out. The first
    groups are the head's, which learn at the whole learning rate.

    Args:
        model: network to train.
        settings: kind and values.
        helpers: modules that are trained with it and are no part of it.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    scales = parameter_scales(model, trained, settings.layer_decay)
    groups: list[dict[str, Any]] = []
    for scale in sorted(set(scales.values()), reverse=True):
        members = {name: p for name, p in trained.items() if scales[name] == scale}
        groups += _groups(members, settings.weight_decay, scale)
    if helpers is not None and next(helpers.parameters(), None) is not None:
        groups += _groups(dict(helpers.named_parameters()), settings.weight_decay)
    if settings.optimizer == "sgd":
        return SGD(groups, settings.learning_rate, settings.momentum, nesterov=True, fused=True)
    return AdamW(groups, settings.learning_rate, (settings.momentum, 0.999), fused=True)


def _groups(
    parameters: Mapping[str, Tensor], weight_decay: float, scale: float = 1.0
) -> list[dict[str, Any]]:
    """Return two groups of parameters, with weight decay and without.

    Args:
        parameters: by name.
        weight_decay: of convolutions and matrices.
        scale: fraction of the learning rate at which they learn.
    """
    weights = {name for name, p in parameters.items() if name.endswith("weight") and p.ndim > 1}
    decayed = [p for name, p in parameters.items() if name in weights]
    others = [p for name, p in parameters.items() if name not in weights]
    return [
        {"params": decayed, "weight_decay": weight_decay, "scale": scale},
        {"params": others, "weight_decay": 0.0, "scale": scale},
    ]


class Schedule:
    """Learning-rate schedule: a linear warm-up, then a fall to ``final_fraction`` of the rate.

    It depends on the step alone: unlike one of torch's, which multiplies the rate of the step
    before, it leaves nothing to keep in a checkpoint and may be asked for another number of epochs.

    Args:
        settings: kind of the fall, warm-up, final fraction.
        epochs: of the whole training.
        steps_per_epoch: optimizer steps of one epoch.
    """

    def __init__(self, settings: OptimizerSettings, epochs: int, steps_per_epoch: int) -> None:
        steps = epochs * steps_per_epoch
        warmup = round(settings.warmup_epochs * steps_per_epoch)
        self.learning_rate = settings.learning_rate
        self.kind = settings.schedule
        self.final_fraction = settings.final_fraction
        self.warmup_steps = min(warmup, max(steps // 2, 1))
        self.falling_steps = max(steps - self.warmup_steps, 1)

    def __call__(self, step: int) -> float:
        """Return the learning rate of an optimizer step, counted from 0."""
        return self.learning_rate * self._fraction(step)

    def _fraction(self, step: int) -> float:
        if step < self.warmup_steps:
            return WARMUP_START + (1 - WARMUP_START) * step / self.warmup_steps
        done = min((step - self.warmup_steps) / self.falling_steps, 1.0)
        left = {
            "cosine": (1 + math.cos(math.pi * done)) / 2,
            "linear": 1 - done,
            "constant": 1.0,
        }[self.kind]
        return self.final_fraction + (1 - self.final_fraction) * left


def set_learning_rate(optimizer: Optimizer, value: float) -> None:
    """Set the learning rate of all parameter groups, each times its scale."""
    for group in optimizer.param_groups:
        group["lr"] = value * group.get("scale", 1.0)  # states of earlier versions have none


def make_average(model: nn.Module, settings: OptimizerSettings) -> AveragedModel:
    """Make an exponential moving average of weights and buffers, with a warm-up of its decay."""
    update = moving_average(settings.ema_decay, settings.ema_warmup)
    return AveragedModel(model, multi_avg_fn=update, use_buffers=True).eval()


def moving_average(decay: float, warmup: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """Return averaged ← d · averaged + (1 − d) · current with d = decay · (1 − e^(−step / warmup)).

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


def freeze(model: Detector, rows: int) -> None:
    """Exclude the parameters of the first rows from training.

    Raises:
        DetectorError: nothing would be left to train.
    """
    if rows >= len(model.rows):
        raise DetectorError(
            f"--freeze {rows}: expected at most {len(model.rows) - 1}, the network has "
            f"{len(model.rows)} rows and the last one is its head"
        )
    model.rows[:rows].requires_grad_(False)


def hold_frozen(model: Detector, rows: int) -> None:
    """Put the first rows into evaluation mode; call it after ``train()``."""
    model.rows[:rows].eval()
