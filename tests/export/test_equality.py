"""Real networks and images: each format gives PyTorch's boxes, and the same AP."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.cli import run_tool
from detector.export.formats import FORMATS
from detector.export.options import Options
from detector.export.proof.comparison import compare, compare_after_nms, split_batches
from detector.export.proof.verify import eager
from detector.export.request import network_input
from detector.export.run import export_model
from detector.layers.repvgg import randomise_batch_norms
from detector.model.detector import Detector, build
from detector.runtime.backends.precision import tolerance_of
from detector.runtime.decoding.decoding import decode_all
from detector.runtime.nms.nms import nms
from detector.runtime.sources import open_source
from detector.settings.nms import NmsSettings
from detector.weights.checkpoint import load

pytestmark = pytest.mark.slow

FP32 = tolerance_of("fp32")
BOX_PX, SCORE = 0.5, 1e-3
IMAGES = 20
CONFIGURATIONS = {
    "yolov5_repvgg": [(640, 640), (384, 640), (480, 352)],
    "yolov5_vovnet39": [(320, 320), (192, 320)],
    "ssd300_vgg16": [(300, 300)],
}
"""With the sizes of the input, pixels; SSD takes one only."""


def real_batches(model: Detector, images: Path, size_hw: tuple[int, int]) -> list[np.ndarray]:
    """Twenty images as inputs of that size, one a batch."""
    preprocess = model.preprocess.with_size(size_hw)
    frames = islice(open_source(str(images)), IMAGES)
    return [network_input(frame.image_rgb, preprocess).numpy() for frame in frames]


def with_real_statistics(model: Detector, batches: list[np.ndarray]) -> Detector:
    """Batch norms that have seen images, so that signals keep their size through the layers."""
    randomise_batch_norms(model)
    norms = [one for one in model.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
    with torch.no_grad():
        model.train()(torch.from_numpy(np.concatenate(batches[:4])))
    return model.eval()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("cfg", CONFIGURATIONS)
def test_every_format_gives_pytorchs_boxes(cfg: str, form: str, shared: Path, tmp_path: Path):
    torch.manual_seed(0)
    model = build(cfg)
    images = shared / "data" / "coco128" / "images" / "val2017"
    sizes = CONFIGURATIONS[cfg]
    with_real_statistics(model, real_batches(model, images, sizes[0]))
    report = export_model(
        model, form, tmp_path / "m", size_hw=sizes[0], options=Options(dynamic=True)
    )
    backend = FORMATS[form].open(report.path)
    for size_hw in sizes:
        batches = real_batches(model, images, size_hw)
        taken = split_batches(batches, backend.batch_size)
        found = compare(eager(model), backend.decoded, taken, "detect")
        after_nms = compare_after_nms(
            eager(model),
            backend,
            backend.postprocess,
            backend.eval_nms,
            split_batches(batches, backend.batch_size),
            FP32,
        )
        print(cfg, form, size_hw, found.describe(), "; after NMS", after_nms.describe())
        assert found.boxes_px <= BOX_PX
        assert found.scores <= SCORE
        after_nms.check(FP32)


AP = {"yolov5n_coco.pt": 0.3353, "yolox_nano_coco.pth": 0.3362}
"""AP on the first 128 images of COCO's val2017, from ``facts.md``; YOLOX-nano's boxes are not
clipped to the image, as its authors measure them."""


NMS = ["--nms", "--confidence", "0.01", "--iou", "0.65", "--max-detections", "1000"]
"""Flags of an NMS inside the file that is YOLOX's for evaluating AP."""
CASES = [(file, form, []) for file in AP for form in FORMATS]
CASES += [("yolox_nano_coco.pth", form, NMS) for form in FORMATS if FORMATS[form].supports_nms]


@pytest.mark.parametrize(("file", "form", "flags"), CASES)
def test_one_ap_in_every_format(
    file: str, form: str, flags: list[str], shared: Path, tmp_path: Path
):
    words = ["--weights", shared / "weights" / file, "--format", form, *flags]
    words += ["--data", "coco128", "--data-root", shared / "data" / "coco128"]
    words += ["--source", shared / "data" / "coco128" / "images" / "val2017"]
    words += ["--output", tmp_path / "m", "--json", tmp_path / "metrics.json"]
    assert run_tool("export", [str(word) for word in words]) == 0
    certificate = json.loads((tmp_path / "metrics.json").read_text())["certificate"]
    print(form, certificate)
    assert certificate["measured"]["before"]["AP"] == pytest.approx(AP[file], abs=0.001)
    assert certificate["measured"]["after"]["AP"] == pytest.approx(AP[file], abs=0.001)
    assert certificate["before_nms"]["boxes_px"] <= BOX_PX
    assert certificate["before_nms"]["scores"] <= SCORE
    assert certificate["after_nms"]["unmatched"] == 0


@pytest.mark.parametrize("form", ["onnx", "openvino"])
@pytest.mark.parametrize("file", AP)
def test_candidates_are_decoded_as_all_are(file: str, form: str, shared: Path, tmp_path: Path):
    """Of 128 images, bit for bit: for evaluation and for detection."""
    model = load(shared / "weights" / file)
    backend = FORMATS[form].open(export_model(model, form, tmp_path / "m").path)
    images = shared / "data" / "coco128" / "images" / "val2017"
    count = 0
    for frame in open_source(str(images)):
        outputs = backend(network_input(frame.image_rgb, backend.preprocess).numpy())
        (boxes,), (scores,) = decode_all(backend.metadata.decoding, outputs)
        image = tuple(output[0] for output in outputs)
        for settings in (backend.eval_nms, NmsSettings()):
            kept = backend.postprocess(image, settings)
            count += len(kept[0])
            for one, other in zip(kept, nms(boxes, scores, settings), strict=True):
                assert np.array_equal(one, other)
    assert count > 5_000
