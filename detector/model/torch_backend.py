"""Runs a network in PyTorch behind the interface that exported files have too."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import nms as torchvision_nms

from detector.model.detector import Detector
from detector.runtime.backends.backend import Arrays, KeptBoxes
from detector.runtime.nms.clusters import by_group
from detector.runtime.nms.nms import Boxes, Indices, Scores
from detector.runtime.nms.nms import nms as numpy_nms
from detector.settings import FloatPrecision, NmsSettings
from detector.structures.preprocess import Preprocess
from detector.utils.errors import DetectorError, nearest, one_line
from detector.utils.synonyms import device_hint

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
        self.dtype = next(model.parameters()).dtype
        self.task = model.task
        self._names = model.names
        self.preprocess = preprocess or model.preprocess
        self.eval_nms = model.eval_nms

    @property
    def names(self) -> tuple[str, ...]:
        """Class names."""
        return self._names

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.float32]) -> Arrays:
        """(b, 3, h, w) normalised → the task's outputs; see :class:`Backend`."""
        tensor = torch.from_numpy(images).to(self.device, self.dtype)
        maps = self.model(tensor.contiguous(memory_format=torch.channels_last))
        return tuple(output.float().cpu().numpy() for output in self.model.decode(maps))

    def postprocess(self, outputs: Arrays, settings: NmsSettings) -> KeptBoxes:
        """Apply NMS by torchvision; see :class:`Backend`."""
        boxes_xyxy, scores = outputs
        return nms(boxes_xyxy, scores, settings)


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
        hint = device_hint(name) or nearest(name, DEVICES)
        hint = hint or f"; expected {', '.join(DEVICES)} or cuda:1"
        raise DetectorError(f"unknown device {name!r}{hint}") from error
    try:
        torch.empty(0, device=device)
    except Exception as error:  # each kind of device fails in its own way
        reason = one_line(error).split(". ")[0]
        raise DetectorError(f"device {name!r} cannot be used: {reason}") from error
    return device


def fastest_precision(device: torch.device) -> FloatPrecision:
    """The precision that a device multiplies matrices fastest in.

    On CPUs with bfloat16 matrix tiles (AMX) a training step takes half of float32's time; without
    them bfloat16 is emulated, and slower. Apple's devices stay at float32.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    # Older versions of torch cannot say what the CPU can do.
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        return "bf16" if torch.cpu.get_capabilities().get("amx_bf16") else "fp32"
    return "fp32"


def use_threads(count: int | None) -> None:
    """Compute threads of torch, for the whole process: it knows no others. None changes nothing."""
    if count is not None:
        torch.set_num_threads(count)


def nms(boxes_xyxy: Boxes, scores: Scores, settings: NmsSettings) -> tuple[Boxes, Scores, Indices]:
    """Keep the best boxes of one image; see :func:`detector.runtime.nms.nms.nms`."""
    return numpy_nms(boxes_xyxy, scores, settings, greedy_nms)


def greedy_nms(boxes_xyxy: Boxes, groups: Indices, iou: float, limit: int) -> Indices:
    """As :func:`detector.runtime.nms.nms.greedy_nms`, group by group in torchvision."""
    threshold = float(np.float32(iou))
    falling = torch.arange(len(groups), 0, -1, dtype=torch.float32)  # the order is settled
    kept = []
    for members in by_group(groups):
        boxes = torch.from_numpy(boxes_xyxy[members])
        kept.append(members[torchvision_nms(boxes, falling[: len(members)], threshold).numpy()])
    return np.sort(np.concatenate(kept))[:limit]
