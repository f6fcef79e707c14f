"""``export``: weights → a fused, compared, certified file for other runtimes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detector.cli.flags import written_out
from detector.cli.refused import refuse
from detector.data.formats.shapes import draw_image
from detector.evaluation.labelled import open_labelled
from detector.export import LabelledImages, Options
from detector.export import export as export_model
from detector.model.detector import Detector
from detector.runtime.sources import open_source
from detector.settings import ExportSettings, SuppressionSettings
from detector.structures.preprocess import Preprocess
from detector.utils.opencv import Image
from detector.weights.checkpoint import load

IMAGES = 4
"""Real images that the file is compared on, besides random ones."""


def export(settings: ExportSettings) -> dict[str, Any]:
    """Export, print and return what the comparison found."""
    if not settings.nms:
        refuse(settings, SuppressionSettings.model_fields.keys(), "without --nms it has no effect")
    model = load(settings.weights)
    preprocess = model.preprocess
    if settings.imgsz is not None:
        preprocess = preprocess.with_size(model.square_size(settings.imgsz))
    report = export_model(
        model,
        settings.format,
        settings.output or settings.weights.with_suffix(""),
        _compared(settings, model, preprocess),
        size_hw=preprocess.size_hw,
        options=Options(settings.dynamic, settings.opset, settings.precision, settings.in_file()),
        labelled=_labelled(settings, model),
        command=f"tools/export.py {written_out(_without_folders(settings))}",
    )
    print(*report.lines(), sep="\n")
    return report.to_dict()


def _without_folders(settings: ExportSettings) -> ExportSettings:
    """The command goes into a file that others get: its paths are names alone."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    paths = {
        name: type(value)(Path(value).name)
        for name, value in given.items()
        if isinstance(value, Path) or (isinstance(value, str) and Path(value).name != value)
    }
    return settings.model_copy(update=paths)


def _compared(settings: ExportSettings, model: Detector, preprocess: Preprocess) -> list[Tensor]:
    """Inputs to compare on; of a file for any size also in the smallest rectangles."""
    images = list(islice(_images(settings.source), IMAGES))
    inputs = [prepared(image, preprocess) for image in images]
    if settings.dynamic and model.fixed_size_hw is None and preprocess.mode == "letterbox":
        rectangles = preprocess.with_rectangle(model.max_stride)
        smallest = [prepared(image, rectangles) for image in images]
        inputs += [one for one in smallest if tuple(one.shape[2:]) != preprocess.size_hw]
    return inputs


def prepared(image_rgb: Image, preprocess: Preprocess) -> Tensor:
    """(1, 3, h, w) input of the network."""
    fitted, _ = preprocess.fit(image_rgb)
    return torch.from_numpy(preprocess.normalize(fitted[None]))


def _labelled(settings: ExportSettings, model: Detector) -> LabelledImages | None:
    """What AP is measured on, where data are given."""
    if settings.data is None:
        return None
    labelled = open_labelled(settings, settings.split, model)
    return LabelledImages(
        data=labelled.data,
        split=labelled.split,
        images=len(labelled.dataset.samples),
        measure=lambda backend, thresholds: (
            labelled.measure(backend, thresholds, settings.batch).summary
        ),
    )


def _images(source: str | None) -> Iterator[Image]:
    """The images of a source; without one, drawn ones, wider than high."""
    if source is not None:
        for frame in open_source(source):
            yield frame.image_rgb
    else:
        rng = np.random.default_rng(0)
        while True:
            yield draw_image(rng, 320)[0][:240]
