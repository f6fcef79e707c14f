"""The PyTorch backend: a network behind the interface of exported files."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import nms as torchvision_nms

from detector.model.detector import Detector
from detector.runtime.backends.backend import Arrays, KeptBoxes
from detector.runtime.nms.clusters import by_group
from detector.runtime.nms.nms import Boxes, Candidates, Indices, Scores, find_candidates, nms
from detector.settings.nms import NmsSettings
from detector.settings.values import FloatPrecision, RunPrecision
from detector.structures.preprocess import Preprocess
from detector.utils.errors import DetectorError, nearest, one_line
from detector.utils.synonyms import device_hint

DEVICES = ("auto", "cpu", "cuda", "mps")
"""Device names that error messages suggest; torch accepts more."""


SHORT: dict[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Types of 16 bits by precision."""


class TorchBackend:
    """Backend that runs a :class:`Detector`: numpy in, numpy out.

    Args:
        model: network; it is put into eval mode and moved to the device, channels-last.
        device: device that runs the network.
        preprocess: preprocessing that replaces the model's own.
        precision: of the arithmetic; with bf16 or fp16, torch's autocast keeps in fp32 what needs
            it, and heads their last layers.
    """

    batch_size: int | None = None

    def __init__(
        self,
        model: Detector,
        device: torch.device | str = "cpu",
        preprocess: Preprocess | None = None,
        precision: RunPrecision = "auto",
    ) -> None:
        self.model = model.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = torch.device(device)
        self.dtype = next(model.parameters()).dtype
        self.task = model.task
        self._names = model.names
        self.preprocess = preprocess or model.preprocess
        self.eval_nms = model.eval_nms
        self.stride = model.max_stride
        self.dynamic_size = model.fixed_size_hw is None
        self.decoding = model.decoding
        self._short = SHORT.get(precision)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names."""
        return self._names

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.float32]) -> Arrays:
        """Return the outputs for (b, 3, h, w) normalized images; see :class:`Backend`."""
        tensor = torch.from_numpy(images).to(self.device, self.dtype)
        with torch.autocast(self.device.type, self._short, enabled=self._short is not None):
            raw_outputs = self.model(tensor.contiguous(memory_format=torch.channels_last))
        give = self.model.decode if self.decoding is None else self.model.maps
        return tuple(output.float().cpu().numpy() for output in give(raw_outputs))

    def postprocess(self, outputs: Arrays, settings: NmsSettings) -> KeptBoxes:
        """Decode the candidates and apply torchvision's NMS; see :class:`Backend`."""
        return torch_nms(*self._boxes_and_scores(outputs, settings), settings)

    def candidates(self, outputs: Arrays, settings: NmsSettings) -> Candidates:
        """Decode the candidates of NMS; see :class:`Backend`."""
        return find_candidates(*self._boxes_and_scores(outputs, settings), settings)

    def _boxes_and_scores(self, outputs: Arrays, settings: NmsSettings) -> tuple[Boxes, Scores]:
        """Return (n, 4) boxes and (n, classes) scores of those that may reach the confidence."""
        if self.decoding is not None:
            outputs = self.decoding.candidates(outputs, settings.confidence)
        boxes_xyxy, scores = outputs
        return boxes_xyxy, scores


def choose_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` is a CUDA or MPS device if available, else the CPU.

    Raises:
        DetectorError: the device is unknown or unavailable.
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
    except Exception as error:  # each device type raises its own errors
        reason = one_line(error).split(". ")[0]
        raise DetectorError(f"device {name!r} cannot be used: {reason}") from error
    return device


def fastest_precision(device: torch.device) -> FloatPrecision:
    """Return the precision in which a device multiplies matrices fastest.

    On CPUs with bfloat16 matrix tiles (AMX) a training step takes half of float32's time; without
    them bfloat16 is emulated, and slower. Apple's devices stay at float32.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    # Older versions of torch cannot report the CPU's capabilities.
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        return "bf16" if torch.cpu.get_capabilities().get("amx_bf16") else "fp32"
    return "fp32"


def use_threads(count: int | None) -> None:
    """Set torch's intra-op thread count, process-wide; ``None`` leaves it unchanged."""
    if count is not None:
        torch.set_num_threads(count)


def torch_nms(
    boxes_xyxy: Boxes, scores: Scores, settings: NmsSettings
) -> tuple[Boxes, Scores, Indices]:
    """Apply NMS to one image with torchvision; see :func:`detector.runtime.nms.nms.nms`."""
    return nms(boxes_xyxy, scores, settings, torch_greedy_nms)


def torch_greedy_nms(boxes_xyxy: Boxes, groups: Indices, iou: float, limit: int) -> Indices:
    """Apply torchvision's NMS group by group; see :func:`detector.runtime.nms.nms.greedy_nms`."""
    threshold = float(np.float32(iou))
    # Boxes come sorted by score; falling numbers stand for the scores to keep that order.
    falling = torch.arange(len(groups), 0, -1, dtype=torch.float32)
    kept = []
    for members in by_group(groups):
        boxes = torch.from_numpy(boxes_xyxy[members])
        kept.append(members[torchvision_nms(boxes, falling[: len(members)], threshold).numpy()])
    return np.sort(np.concatenate(kept))[:limit]
