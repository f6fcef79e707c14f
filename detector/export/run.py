"""Fuse, write, reload, compare: a file appears only if it computes what the network computes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor
from torch.export import ExportedProgram

from detector import __version__
from detector.errors import DetectorError
from detector.export import verify
from detector.export.onnx import write_onnx
from detector.export.openvino import write_openvino
from detector.export.program import trace
from detector.export.pt2 import Pt2Backend, write_pt2
from detector.files import atomic
from detector.graph import Detector
from detector.reparam import Certificate, deploy
from detector.runtime.backend import Backend, ModelCard
from detector.runtime.onnx import OnnxBackend
from detector.runtime.openvino import OpenVinoBackend, weights_of

Format = Literal["onnx", "openvino", "pt2"]
DEFAULT_OPSET = 18
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2"}

_READERS: dict[Format, Callable[[Path], Backend]] = {
    "onnx": OnnxBackend,
    "openvino": OpenVinoBackend,
    "pt2": Pt2Backend,
}


@dataclass(frozen=True)
class ExportReport:
    """What was written, and what the comparison found.

    Attributes:
        path: the file.
        comparison: the reloaded file against the network as it was trained.
        certificate: the fused network against the network as it was trained.
        ms_before: per image, the network as it was trained, in PyTorch.
        ms_after: per image, the file.
    """

    path: Path
    comparison: verify.Comparison
    certificate: Certificate
    ms_before: float
    ms_after: float

    @property
    def max_abs_diff(self) -> float:
        """The largest difference of a box's coordinate in pixels, or of a score."""
        return self.comparison.max_abs_diff

    def lines(self) -> list[str]:
        """A short report to read."""
        found = self.comparison
        return [
            f"{self.path}: fused {self.certificate.fused_blocks} blocks, "
            f"{self.certificate.params_before:,} → {self.certificate.params_after:,} parameters",
            f"largest difference on {found.images} images: {found.described()}",
            f"{self.ms_before:.1f} ms per image before, {self.ms_after:.1f} ms after",
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "path": str(self.path),
            "max_abs_diff": self.max_abs_diff,
            "max_box_diff_px": self.comparison.boxes_px,
            "max_score_diff": self.comparison.scores,
            "images": self.comparison.images,
            "ms_before": self.ms_before,
            "ms_after": self.ms_after,
        }


def export(
    model: Detector,
    format: Format,
    output: str | Path,
    images: Sequence[Tensor] = (),
    *,
    size_hw: tuple[int, int] | None = None,
    dynamic: bool = False,
    opset: int = DEFAULT_OPSET,
) -> ExportReport:
    """Write a network as a file that needs neither its model file nor its source code.

    Args:
        model: stays as it is.
        format: ``onnx`` or ``pt2``.
        output: the file; it gets the format's suffix where it has another.
        images: normalised (b, 3, h, w) batches to compare on besides random ones, of ``size_hw``.
        size_hw: of the input, pixels; default: the network's own.
        dynamic: any number of images and any size that the strides divide; else one image.
        opset: ONNX operator set.

    Raises:
        DetectorError: fusing or exporting changes what the network computes, or the format has
            no form for it. Then there is no new file, and an old one stays as it was.
    """
    size_hw = size_hw or model.preprocess.size_hw
    _check_sizes(model, size_hw, images)
    path = with_suffix(output, format)
    card = ModelCard(
        names=model.names,
        preprocess=model.preprocess.with_size(size_hw),
        version=__version__,
        measuring=model.measuring,
        stride=model.max_stride,
        task=model.task,
    )
    original = copy.deepcopy(model).eval().cpu().float()
    real = [batch.detach().cpu().float() for batch in images]
    fused, certificate = deploy(original, real)
    program = trace(fused, size_hw, dynamic)
    with ExitStack() as stack:
        temporary = stack.enter_context(atomic(path))
        if format == "openvino":
            stack.enter_context(atomic(weights_of(path)))
        _write(program, format, temporary, card, opset)
        backend = _READERS[format](temporary)
        batches = verify.random_batches(
            size_hw, model.max_stride, backend.batch_size, backend.dynamic_size
        )
        batches += [np.ascontiguousarray(batch.numpy()) for batch in real]
        comparison = verify.compare(verify.eager(original), backend, batches)
        comparison.check()
        runs = (verify.eager(original), backend)
        ms_before, ms_after = verify.milliseconds(runs, size_hw)
        del runs, backend  # some systems rename no open file
    return ExportReport(path, comparison, certificate, ms_before, ms_after)


def with_suffix(output: str | Path, format: Format) -> Path:
    """The path with the format's suffix added, unless it has it.

    >>> with_suffix("model.v1", "onnx").name
    'model.v1.onnx'
    """
    path = Path(output)
    suffix = SUFFIXES[format]
    return path if path.suffix == suffix else path.with_name(f"{path.name}{suffix}")


def _write(
    program: ExportedProgram, format: Format, path: Path, card: ModelCard, opset: int
) -> None:
    if format == "onnx":
        write_onnx(program, path, card, opset)
    elif format == "openvino":
        write_openvino(program, path, card, opset)
    else:
        write_pt2(program, path, card)


def _check_sizes(model: Detector, size_hw: tuple[int, int], images: Sequence[Tensor]) -> None:
    model.check_size(size_hw)
    for batch in images:
        if tuple(batch.shape[2:]) != size_hw:
            raise DetectorError(
                f"images to compare on have shape {tuple(batch.shape)}, "
                f"expected (b, 3, {size_hw[0]}, {size_hw[1]})"
            )
