"""Runs a network in PyTorch behind the interface that exported files have too."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from detector.errors import DetectorError, nearest
from detector.graph import Detector
from detector.preprocess import Preprocess
from detector.runtime.backend import Arrays

DEVICES = ("auto", "cpu", "cuda", "mps")
"""What people ask for; torch knows more."""


class TorchBackend:
    """A :class:`Detector` as a backend: numpy in, numpy out.

    Args:
        model: is put into eval mode and onto the device, in channels-last memory format.
        device: where it runs.
        preprocess: in place of the model's own.
    """

    batch_size: int | None = None
    dynamic_size = True

    def __init__(
        self,
        model: Detector,
        device: torch.device | str = "cpu",
        preprocess: Preprocess | None = None,
    ) -> None:
        self.model = model.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = torch.device(device)
        self.task = model.task
        self._names = model.names
        self.preprocess = preprocess or model.preprocess
        self.measuring = model.measuring

    @property
    def names(self) -> tuple[str, ...]:
        """Class names."""
        return self._names

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.float32]) -> Arrays:
        """(b, 3, h, w) normalised → the task's outputs; see :class:`Backend`."""
        tensor = torch.from_numpy(images).to(self.device)
        maps = self.model(tensor.contiguous(memory_format=torch.channels_last))
        return tuple(output.float().cpu().numpy() for output in self.model.decode(maps))


def choose_device(name: str) -> torch.device:
    """``auto`` is a CUDA or MPS device where there is one, else the CPU.

    Raises:
        DetectorError: the device is unknown or not there.
    """
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        hint = nearest(name, DEVICES) or f"; expected {', '.join(DEVICES)} or cuda:1"
        raise DetectorError(f"unknown device {name!r}{hint}") from error
    try:
        torch.empty(0, device=device)
    except Exception as error:  # each kind of device fails in its own way
        reason = str(error).splitlines()[0].split(". ")[0]
        raise DetectorError(f"device {name!r} cannot be used: {reason}") from error
    return device


def use_threads(count: int | None) -> None:
    """Compute threads of torch, for the whole process: it knows no others. None changes nothing."""
    if count is not None:
        torch.set_num_threads(count)
