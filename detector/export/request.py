"""Export by settings: the function behind ``detector.export``, with its choice of images."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detector.data.formats.shapes import draw_image
from detector.evaluation.evaluation_set import open_evaluation_set
from detector.evaluation.intervals import draw
from detector.export.accept import ChangedFile, accept_file
from detector.export.formats import FORMATS, format_for
from detector.export.int8 import export_int8
from detector.export.options import Options
from detector.export.proof.measured import EvaluationImages
from detector.export.quantize.calibration import open_calibration
from detector.export.quantize.gate import Int8Request
from detector.export.run import ExportReport, export_model
from detector.model.detector import Detector
from detector.model.lint import log_warnings
from detector.runtime.backends.precision import PRECISIONS
from detector.runtime.sources import open_source
from detector.settings.export import ExportedFileSettings
from detector.settings.values import FormatName
from detector.structures.preprocess import Preprocess
from detector.utils.errors import DetectorError
from detector.utils.files import as_path
from detector.utils.opencv import Image
from detector.weights.checkpoint import load

MEASURED_BATCH = 16
"""Images per forward pass when AP is measured, unless the file fixes the number."""

COMPARED_IMAGES = 4
"""Number of images of the source that the file is compared on, besides random ones."""

CALIBRATION = ("calibrate", "calibration_split", "calibration_images", "per_tensor")
"""Settings of a precision that needs calibration."""


def export(
    model: Detector | str | Path,
    format: FormatName = "onnx",
    output: str | Path | None = None,
    **settings: Any,
) -> ExportReport:
    """Fuse a network, write it for another runtime, and prove that the file computes the same.

    Args:
        model: a network, or its ``.safetensors`` or foreign ``.pt`` file; not modified.
        format: ``onnx``, ``openvino`` or ``pt2``.
        output: path of the file; default: beside the weights. Required for a network in memory.
        settings: settings of ``detector export``: ``dynamic``, ``precision``, ``nms``, ``data``,
            ``calibrate``, …

    Returns:
        The file's path, the measured differences, and the certificate.

    Raises:
        DetectorError: the file differs from the network, or a setting is invalid.
    """
    asked = ExportedFileSettings(format=format, **settings)
    if isinstance(model, Detector):
        if output is None:
            raise DetectorError("output: a network in memory has no file to write beside; give one")
        return export_as(model, asked, Path(output))
    path = as_path(model, "model")
    return export_as(load(path), asked, Path(output or path.with_suffix("")))


def export_as(
    model: Detector, settings: ExportedFileSettings, output: Path, command: str = ""
) -> ExportReport:
    """Export a network by settings.

    Args:
        model: the network; not modified.
        settings: format, input size, precision, NMS, data to measure AP on.
        output: path of the file; the format's suffix is appended if it is missing.
        command: command line, recorded in the certificate.

    Raises:
        DetectorError: as :func:`detector.export.run.export_model`.
    """
    _check_effect(settings)
    log_warnings(model)
    preprocess = model.preprocess
    if settings.imgsz is not None:
        preprocess = preprocess.with_size(model.size_of(settings.imgsz))
    evaluation = _evaluation_images(settings, model)
    inputs = _comparison_inputs(settings, model, preprocess)
    common: dict[str, Any] = {
        "size_hw": preprocess.size_hw,
        "options": _options(settings),
        "command": command,
    }
    if evaluation is None or not PRECISIONS[settings.precision].needs_calibration:
        return export_model(model, settings.format, output, inputs, evaluation=evaluation, **common)
    request = Int8Request(
        open_calibration(settings, model), evaluation, per_tensor=settings.per_tensor
    )
    return export_int8(model, settings.format, output, inputs, request=request, **common)


def accept_as(
    model: Detector, settings: ExportedFileSettings, path: Path, output: Path, command: str = ""
) -> ExportReport:
    """Compare a changed ONNX file with its network by settings, and seal it anew.

    Args:
        model: the network; not modified.
        settings: images and data to compare on.
        path: the changed file.
        output: path to write; it may be that of the file.
        command: command line, recorded in the certificate.

    Raises:
        DetectorError: as :class:`detector.export.accept.ChangedFile` and
            :func:`detector.export.accept.accept_file`.
    """
    file = ChangedFile(path, model)
    if PRECISIONS[file.metadata.precision].needs_labels and settings.data is None:
        message = f"a file in {file.metadata.precision} is accepted by AP: give --data"
        raise DetectorError(message, file=path)
    compared = settings.model_copy(update={"dynamic": file.is_dynamic})
    inputs = _comparison_inputs(compared, model, file.metadata.preprocess)
    evaluation = _evaluation_images(settings, model)
    return accept_file(file, output, model, inputs, evaluation, command)


def _check_effect(settings: ExportedFileSettings) -> None:
    """Raise DetectorError for a setting that is given and has no effect."""
    given = settings.model_fields_set
    if settings.dynamic and "batch" in given:
        raise DetectorError(
            "--batch does not go with --dynamic: such a file takes any number of images"
        )
    if "decoded" in given and not settings.decoded and settings.nms:
        raise DetectorError("--no-decoded does not go with --nms, which needs decoded boxes")
    if "opset" in given and not FORMATS[settings.format].has_opset:
        raise DetectorError(f"--opset is not for --format {settings.format}: it is ONNX's")
    format_for(settings.format, _options(settings))
    calibrates = PRECISIONS[settings.precision].needs_calibration
    unused = [name for name in CALIBRATION if name in given and not calibrates]
    if unused:
        flag = unused[0].replace("_", "-")
        raise DetectorError(f"--{flag} is not for --precision {settings.precision}: it is int8's")
    if "max_drop" in given and not PRECISIONS[settings.precision].needs_labels:
        raise DetectorError(
            f"--max-drop is not for --precision {settings.precision}: it is bf16's and int8's"
        )
    for name in ("calibrate", "data"):
        if calibrates and getattr(settings, name) is None:
            raise DetectorError(
                f"--precision {settings.precision} needs --{name}: ranges are measured on images "
                "of --calibrate, and AP before and after on those of --data"
            )


def _options(settings: ExportedFileSettings) -> Options:
    return Options(
        dynamic=settings.dynamic,
        opset=settings.opset,
        precision=settings.precision,
        nms=settings.in_file(),
        batch=settings.batch,
        decoded=settings.decoded,
    )


def _comparison_inputs(
    settings: ExportedFileSettings, model: Detector, preprocess: Preprocess
) -> list[Tensor]:
    """Return network inputs to compare on; for a dynamic file also in the smallest rectangles."""
    images = list(islice(_images(settings.source), COMPARED_IMAGES))
    inputs = [network_input(image, preprocess) for image in images]
    if settings.dynamic and model.fixed_size_hw is None and preprocess.mode == "letterbox":
        rectangles = preprocess.with_rectangle(model.max_stride)
        smallest = [network_input(image, rectangles) for image in images]
        inputs += [one for one in smallest if tuple(one.shape[2:]) != preprocess.size_hw]
    return inputs


def network_input(image_rgb: Image, preprocess: Preprocess) -> Tensor:
    """Preprocess an image to the network's input, (1, 3, h, w)."""
    fitted, _ = preprocess.fit(image_rgb)
    return torch.from_numpy(preprocess.normalize(fitted[None]))


def _evaluation_images(settings: ExportedFileSettings, model: Detector) -> EvaluationImages | None:
    """Return the evaluation set that AP is measured on, None if no data are given."""
    if settings.data is None:
        return None
    evaluation_set = open_evaluation_set(settings, settings.split, model)
    images = len(evaluation_set.dataset.samples)
    return EvaluationImages(
        data=evaluation_set.data,
        split=evaluation_set.split,
        images=images,
        measure=lambda backend, eval_nms: (
            evaluation_set.measure(backend, eval_nms, MEASURED_BATCH).summary
        ),
        resampled=lambda: evaluation_set.resampled(draw(images)).main,
        max_drop=settings.max_drop,
    )


def _images(source: str | None) -> Iterator[Image]:
    """Yield the images of a source; without one, synthetic images, wider than high."""
    if source is not None:
        for frame in open_source(source):
            yield frame.image_rgb
    else:
        rng = np.random.default_rng(0)
        while True:
            yield draw_image(rng, 320)[0][:240]
