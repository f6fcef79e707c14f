"""``benchmark ssd``: speed of SSD300 on VGG16 and of torchvision's, with the same weights."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tabulate import tabulate
from torchvision.models.detection import ssd300_vgg16

from detector.benchmarks.settings import SsdBenchmarkSettings
from detector.benchmarks.timing import interleaved, spread
from detector.data.formats.shapes import draw_image
from detector.export.run import export_model
from detector.model.detector import build
from detector.predict import Predictor
from detector.utils.opencv import Image
from detector.weights.transfer import transfer

CLASSES = 90
"""Number of classes of torchvision's COCO model, without the background."""
IMAGE_SIDE = 480
"""Side of the square test image, pixels."""


def benchmark(settings: SsdBenchmarkSettings) -> dict[str, Any]:
    """Time detection in one image by both, and print and return the times.

    Both use the paper's NMS settings. The weights are random, which leaves more boxes to NMS than
    a trained network would.
    """
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    theirs = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=CLASSES + 1).eval()
    ours = build("ssd300_vgg16", CLASSES, "coco")
    transfer(ours, theirs.state_dict())
    image = draw_image(np.random.default_rng(0), IMAGE_SIDE)[0]
    planes = torch.from_numpy(image.transpose(2, 0, 1) / np.float32(255))

    def run_theirs() -> None:
        with torch.inference_mode():
            theirs([planes])

    print("\nSSD300, VGG16, 90 classes, image to boxes, ms")
    compare = partial(_compare, run_theirs, image, settings.rounds)
    metrics = {"PyTorch": compare(Predictor(ours, ours.eval_nms, device="cpu"))}
    with tempfile.TemporaryDirectory() as folder:
        # Measured after PyTorch, since idle threads of ONNX Runtime keep a core busy for a while.
        report = export_model(ours, "onnx", Path(folder) / "ssd.onnx")
        predictor = Predictor(report.path, ours.eval_nms, device="cpu")
        metrics["ONNX Runtime"] = compare(predictor)
    return metrics


def _compare(
    run_theirs: Callable[[], None], image: Image, rounds: int, predictor: Predictor
) -> dict[str, Any]:
    """Time one runtime and torchvision in turns, and print and return the times."""

    def run_ours() -> None:
        list(predictor(image))

    seconds = interleaved({"torchvision": run_theirs, "detector": run_ours}, rounds)
    milliseconds = {name: [1000 * value for value in values] for name, values in seconds.items()}
    rows = [[name, *spread(values)] for name, values in milliseconds.items()]
    kind = type(predictor.backend).__name__
    print(tabulate(rows, [kind, "median", "least", "most"], floatfmt=".0f"))
    ratio = statistics.median(seconds["detector"]) / statistics.median(seconds["torchvision"])
    phases = predictor.timing.ms_per_image()
    milliseconds_by_phase = ", ".join(f"{phase} {ms:.0f}" for phase, ms in phases.items())
    print(f"{ratio:.2f} of torchvision's time; {milliseconds_by_phase}\n")
    return {"milliseconds": milliseconds, "phases": phases, "ratio": ratio}
