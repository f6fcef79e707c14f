"""Gradient accumulation: forward and backward of the batches of an optimizer step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor

from detector.engine.distillation import Distillation, head_inputs
from detector.engine.state import TrainingState
from detector.engine.stopping import StopRequest
from detector.engine.tasks import Criterion
from detector.structures.samples import Batch
from detector.utils.collectives import all_reduce_sum, is_distributed
from detector.utils.errors import DetectorError


class NotFiniteError(Exception):
    """A loss or a gradient is not finite, in whichever process."""


class Accumulation:
    """Accumulates the gradients of several batches, the same as a single process would compute.

    Args:
        state: of the training; gradients are added to its network, nothing else of it changes but
            the statistics of batch norms.
        criterion: gives the losses.
        accelerator: device, precision and processes.
        images_per_step: what the sum of the images' losses is divided by.
        clip_norm: largest norm of the gradient.
        stop: what this process was asked for.
        distillation: what a teacher adds to the losses; None without one.

    Attributes:
        stop_is_agreed: whether some process was asked to stop; all of them learn it with the
            losses, so that they stop after the same step.
    """

    def __init__(
        self,
        state: TrainingState,
        criterion: Criterion,
        accelerator: Accelerator,
        images_per_step: int,
        clip_norm: float,
        stop: StopRequest,
        *,
        distillation: Distillation | None = None,
    ) -> None:
        self.state = state
        self.criterion = criterion
        self.accelerator = accelerator
        self.images_per_step = images_per_step
        self.clip_norm = clip_norm
        self.stop = stop
        self.distillation = distillation
        self.stop_is_agreed = False

    def __call__(self, shares: Iterable[Batch], counts: Sequence[int]) -> dict[str, float]:
        """Compute the gradients of an optimizer step, and clip them.

        Args:
            shares: this process's shares of the batches; they may be empty.
            counts: images of each batch, in the shares of all processes.

        Returns:
            The sums of the batches' losses, over all processes.

        Raises:
            NotFiniteError: in each process alike.
            DetectorError: a weight has no gradient, for which the other processes would wait.
        """
        sums: dict[str, float] = {}
        for number, (share, images) in enumerate(zip(shares, counts, strict=True), 1):
            # Only after the step's last batch do the processes exchange their gradients.
            last = number == len(counts)
            with nullcontext() if last else self.accelerator.no_sync(self.state.model):
                for name, value in self._add(share, images).items():
                    sums[name] = sums.get(name, 0.0) + value
        parameters = dict(self.state.raw_model.named_parameters())
        if is_distributed():
            check_all_used(parameters)
        trained = [*parameters.values()]
        if self.distillation is not None:
            self.distillation.features.average_gradients()
            trained += self.distillation.features.parameters()
        norm = self.accelerator.clip_grad_norm_(trained, self.clip_norm)
        # Where half precision has a scaler, that one skips the step and scales less from then on.
        if self.accelerator.scaler is None and not torch.isfinite(norm):
            raise NotFiniteError(f"the gradient is not finite: its norm is {float(norm)}")
        return sums

    def _add(self, share: Batch, images: int) -> dict[str, float]:
        """Add the gradients of one batch and return its losses."""
        share = share.to(self.accelerator.device)
        losses = self._losses(share)
        agreed = self._agreed(losses)
        # The shares' losses add up to the batch's, where torch takes the mean of the gradients.
        weight = images / self.images_per_step * self.accelerator.num_processes
        self.accelerator.backward(torch.stack(list(losses.values())).sum() * weight)
        return agreed

    def _losses(self, share: Batch) -> dict[str, Tensor]:
        """Return the losses of one batch."""
        network, distillation = self.state.raw_model, self.distillation
        watching: AbstractContextManager[list[Tensor]] = (
            nullcontext([]) if distillation is None else head_inputs(network)
        )
        with self.accelerator.autocast(), watching as features:
            raw_outputs = self.state.model(network.normalize(share.images))
        losses = self.criterion(raw_outputs, share.targets)
        if distillation is not None:
            with self.accelerator.autocast():
                lesson = distillation.lesson(share.images)
            losses |= distillation(raw_outputs, features, lesson)
        return losses

    def _agreed(self, losses: Mapping[str, Tensor]) -> dict[str, float]:
        """Sum the losses over all processes, and agree in the same message whether to stop."""
        parts = torch.stack([part.detach() for part in losses.values()])
        asked = parts.new_tensor([float(self.stop.is_asked)])
        *values, stops = all_reduce_sum(torch.cat((parts, asked))).tolist()
        self.stop_is_agreed = stops > 0
        if not all(map(math.isfinite, values)):
            shown = ", ".join(f"{name} {value}" for name, value in zip(losses, values, strict=True))
            raise NotFiniteError(f"the loss is not finite: {shown}")
        return dict(zip(losses, values, strict=True))


def check_all_used(parameters: Mapping[str, Tensor]) -> None:
    """Raise DetectorError for trainable weights without a gradient."""
    unused = [name for name, p in parameters.items() if p.requires_grad and p.grad is None]
    if unused:
        raise DetectorError(
            f"these weights have no part in the loss: {', '.join(unused)}; with several processes "
            "each one must, or be frozen"
        )
