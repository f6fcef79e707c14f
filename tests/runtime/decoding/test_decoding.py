"""Candidates equal the same predictions of decoding all, which equal the head's own in torch."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.heads.auxiliary import DualGroupedDFLHead
from detector.heads.distribution import DFLHead
from detector.heads.head import Head
from detector.heads.ppyoloe import PPYOLOEHead
from detector.heads.refinedet import RefineDetHead
from detector.heads.ssd import SSDHead
from detector.heads.yolo import Detect
from detector.heads.yolov6 import YOLOv6Head
from detector.heads.yolox import YOLOXHead
from detector.runtime.backends.backend import ModelMetadata
from detector.runtime.decoding.anchors import AnchorDecoding
from detector.runtime.decoding.decoding import Decoding, decode_all
from detector.runtime.decoding.default_boxes import DefaultBoxDecoding
from detector.runtime.decoding.points import CentreDecoding, DistanceDecoding
from detector.runtime.decoding.refined_boxes import RefinedBoxDecoding
from detector.runtime.nms.nms import nms
from detector.settings.nms import NmsSettings
from detector.structures.preprocess import Preprocess
from detector.utils.errors import DetectorError

Maps = Sequence[NDArray[np.float32]]

CHANNELS, STRIDES = (16, 24), (8, 16)
SIZES_HW = ((6, 4), (3, 2))
CLASSES = 3

HEADS: dict[str, Head] = {
    "anchors": Detect(CLASSES, [[10, 13, 33, 23], [30, 61, 116, 90]], CHANNELS, STRIDES),
    "centres": YOLOXHead(CLASSES, 16, c_in=CHANNELS, strides=STRIDES),
    "distributions": DFLHead(CLASSES, 8, c_in=CHANNELS, strides=STRIDES),
    "distances": YOLOv6Head(CLASSES, 0, c_in=CHANNELS, strides=STRIDES),
    "17 bins": PPYOLOEHead(CLASSES, c_in=CHANNELS, strides=STRIDES),
    "auxiliary": DualGroupedDFLHead(CLASSES, c_in=CHANNELS * 2, strides=STRIDES * 2),
    "default boxes": SSDHead(
        CLASSES, [(10, 20), (20, 40)], [[2], [2, 3]], [8, 16], c_in=CHANNELS, imgsz=48
    ),
    "refined boxes": RefineDetHead(
        CLASSES, [12, 24], [[2], [2, 3]], [8, 16], width=8, c_in=CHANNELS, imgsz=48
    ),
}


def raw_outputs(head: Head, seed: int, spread: float) -> object:
    """What the head makes of random features; all raw values are then spread widely."""
    generator = torch.Generator().manual_seed(seed)
    count = 4 if isinstance(head, DualGroupedDFLHead) else 2
    features = [
        torch.randn(2, c, *size, generator=generator)
        for c, size in zip((CHANNELS * 2)[:count], (SIZES_HW * 2)[:count], strict=True)
    ]
    with torch.no_grad():
        found = head.eval()(features)
    levels = found["main"] if isinstance(found, dict) else found
    for level in levels:
        level.copy_(torch.randn(level.shape, generator=generator) * spread)
    return found


def maps_of(head: Head, seed: int, spread: float) -> tuple[Decoding, list[NDArray[np.float32]]]:
    decoding = head.decoding()
    assert decoding is not None
    return decoding, [one.numpy() for one in head.maps(raw_outputs(head, seed, spread))]


@pytest.mark.parametrize("name", HEADS)
def test_all_predictions_are_those_of_the_head(name: str):
    head = HEADS[name]
    raw = raw_outputs(head, 0, 3)
    boxes, scores = head.decode(raw)
    decoding, maps = maps_of(head, 0, 3)
    found_boxes, found_scores = decode_all(decoding, maps)
    assert found_boxes.dtype == found_scores.dtype == np.float32
    np.testing.assert_allclose(found_boxes, boxes, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found_scores, scores, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", HEADS)
def test_outputs_are_those_of_the_head(name: str):
    decoding, maps = maps_of(HEADS[name], 0, 1)
    outputs = decoding.outputs(CLASSES)
    assert [(2, dimensions[1]) for dimensions in outputs.values()] == [m.shape[:2] for m in maps]
    assert [dimensions[2:] for dimensions in outputs.values()] == [("h0", "w0"), ("h1", "w1")]


@pytest.mark.parametrize("name", HEADS)
@given(
    seed=st.integers(0, 1000),
    spread=st.sampled_from([0.1, 3.0, 40.0]),
    confidence=st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1)),
    multi_label=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_candidates_are_decoded_as_all_are(
    name: str, seed: int, spread: float, confidence: float, multi_label: bool
):
    """Bit for bit, and NMS keeps the same boxes, whose ties are broken by the order."""
    decoding, maps = maps_of(HEADS[name], seed, spread)
    maps = [np.round(one, 1) for one in maps]  # equal scores
    all_boxes, all_scores = decode_all(decoding, maps)
    asked = NmsSettings(confidence=confidence, multi_label=multi_label)
    for index, (boxes, scores) in enumerate(zip(all_boxes, all_scores, strict=True)):
        image = [one[index] for one in maps]
        found = decoding.candidates(image, confidence)
        for one, other in zip(nms(*found, asked), nms(boxes, scores, asked), strict=True):
            assert np.array_equal(one, other)


@pytest.mark.parametrize("name", HEADS)
def test_maps_with_channels_last(name: str):
    decoding, maps = maps_of(HEADS[name], 0, 3)
    last = decoding.model_copy(update={"channels_last": True})
    moved = [np.ascontiguousarray(one.transpose(0, 2, 3, 1)) for one in maps]
    for confidence in (0, 0.3):
        image, other = [one[0] for one in maps], [one[0] for one in moved]
        found = decoding.candidates(image, confidence), last.candidates(other, confidence)
        assert all(map(np.array_equal, *found))
    assert list(last.outputs(CLASSES).values()) == [
        ("batch", h, w, c) for _, c, h, w in decoding.outputs(CLASSES).values()
    ]


def test_few_predictions_are_candidates():
    """Of 60 predictions one has the logit of the confidence, and one lies 0.1 below it."""
    decoding = AnchorDecoding(
        strides=(8, 16), anchors_wh=(((8, 8), (16, 16)), ((32, 32), (64, 64)))
    )
    maps = [np.full((2 * 6, *size), -5, np.float32) for size in SIZES_HW]
    logit = math.log(0.25 / 0.75)
    maps[0][4, 1, 2], maps[0][5, 1, 2] = logit, 20
    maps[1][6 + 4, 0, 1], maps[1][6 + 5, 0, 1] = logit - 0.1, 20
    boxes, scores = decoding.candidates(maps, 0.25)
    assert scores == pytest.approx(np.array([[0.25]]), abs=1e-6)
    # σ(−5) = 0.00669285: the centre is (0.0133857 − 0.5 + cell) · 8, the half side 0.0133857² · 4.
    x, y, half = (0.0133857 - 0.5 + 2) * 8, (0.0133857 - 0.5 + 1) * 8, 0.0133857**2 * 4
    assert boxes == pytest.approx(np.array([[x - half, y - half, x + half, y + half]]), abs=1e-4)


def test_a_box_of_yolox():
    """Centre ((1 + 0.5) · 8, (0 − 0.25) · 8), sides 8 · e¹ and 8: a corner, no centre, is added."""
    decoding = CentreDecoding(strides=(8,))
    level = np.full((6, 1, 2), -9, np.float32)
    level[:, 0, 1] = 0.5, -0.25, 1, 0, 9, 9
    (box,), ((score,),) = decoding.candidates([level], 0.5)
    assert box == pytest.approx([12 - 4 * math.e, -6, 12 + 4 * math.e, 2], rel=1e-6)
    assert score == pytest.approx((1 / (1 + math.exp(-9))) ** 2, rel=1e-6)


def test_a_box_of_distributions():
    """Two bins with logits 0 and ln 3 have the mean 0.75; stride 4, centre (2, 2)."""
    decoding = DistanceDecoding(strides=(4,), bins=2)
    level = np.array([0, math.log(3)] * 4 + [2], np.float32).reshape(9, 1, 1)
    (box,), _ = decoding.candidates([level], 0.5)
    assert box == pytest.approx([-1, -1, 5, 5], abs=1e-6)


def test_a_box_of_ssd():
    """A default box of 10×10 at (4, 4), moved by 0.1 · 1 · 10, e^(0.2 · 2) as wide, cut at 0."""
    decoding = DefaultBoxDecoding(
        steps=(8,), sizes_wh=(((10, 10),),), variances=(0.1, 0.2), size_hw=(8, 8)
    )
    level = np.array([1, 0, 2, 0, 0, 1], np.float32).reshape(6, 1, 1)
    (box,), ((score,),) = decoding.candidates([level], 0.5)
    assert box == pytest.approx([0, 0, 8, 8])  # 5 ± 7.46 and 4 ± 5, within 0 and 8
    assert score == pytest.approx(math.e / (1 + math.e))
    assert len(decoding.candidates([level], 0.75)[0]) == 0  # σ(1) is 0.731


def test_a_box_of_refinedet():
    """Two moves of a box of 4×4 at (4, 4): to 4×8 at (6, 4), then to 4×8 at (6, 5)."""
    decoding = RefinedBoxDecoding(
        steps=(8,),
        sizes_wh=(((4, 4),),),
        variances=(0.1, 0.2),
        size_hw=(8, 8),
        threshold=0.01,
    )
    # 0.1 · 5 · 4 = 2 and e^(0.2 · 5 · ln 2) = 2; then 0.1 · 1.25 · 8 = 1
    offsets = [5, 0, 0, 5 * math.log(2), 0, 1.25, 0, 0]
    logits = [2.0, 2 + math.log(0.004 / 0.996), 0, 1]  # objectness 0.004 fades to 0.4
    level = np.array(offsets + logits, np.float32).reshape(12, 1, 1)
    score = 0.4 * math.e / (1 + math.e)  # 0.2924
    (box,), ((found,),) = decoding.candidates([level], 0.29)
    assert box == pytest.approx([4, 1, 8, 8])  # 5 + 4 = 9 is cut off at 8
    assert found == pytest.approx(score, rel=1e-5)
    # σ(1 + ln 0.4) = 0.521 bounds the score from above
    assert len(decoding.candidates([level], 0.53)[0]) == 0


def test_nothing_is_a_candidate():
    decoding, maps = maps_of(HEADS["anchors"], 0, 0.1)
    boxes, scores = decoding.candidates([one[0] for one in maps], 1)
    assert (boxes.shape, scores.shape) == ((0, 4), (0, CLASSES))


@pytest.mark.parametrize("name", HEADS)
def test_metadata_hold_it(name: str):
    decoding = HEADS[name].decoding()
    metadata = ModelMetadata(
        names=("a", "b", "c"),
        preprocess=Preprocess(size_hw=(48, 32)),
        version="1",
        decoding=decoding,
    )
    assert ModelMetadata.from_properties({"detector": metadata.to_json()}, "a") == metadata


def refusal(**decoding: object) -> str:
    """What is said of a file with such metadata."""
    text = json.dumps(
        {
            "names": ["a"],
            "version": "1",
            "preprocess": Preprocess(size_hw=(48, 32)).model_dump(mode="json"),
            "decoding": decoding,
        }
    )
    with pytest.raises(DetectorError) as caught:
        ModelMetadata.from_properties({"detector": text}, "a")
    return str(caught.value).removeprefix("a: 'detector' metadata: decoding")


@pytest.mark.parametrize(
    ("decoding", "message"),
    [
        (
            {"kind": "anchors", "strides": [8], "anchors_wh": [[[1, 1]]] * 2},
            "anchors_wh has 2 levels, strides 1",
        ),
        (
            {
                "kind": "default_boxes",
                "steps": [8, 9],
                "sizes_wh": [[[1, 1]]],
                "variances": [1, 1],
                "size_hw": [8, 8],
            },
            "sizes_wh has 1 levels, steps 2",
        ),
        ({"kind": "centres", "strides": []}, "strides: expected 1 or more values, found []"),
        ({"kind": "distances", "strides": [8], "bins": 2000}, "1024"),
        ({"kind": "distances", "strides": [-8], "bins": 2}, "expected more than 0, found -8"),
        ({"kind": "boxes", "strides": [8]}, "'anchors', 'centres', 'distances'"),
    ],
)
def test_decodings_that_are_none(decoding: dict[str, object], message: str):
    found = refusal(**decoding)
    assert message in found
    assert "\n" not in found
