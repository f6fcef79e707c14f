"""SSD's head: default boxes by hand, raw outputs, decoding, arguments of a row."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detector.heads.classes import SharedClasses
from detector.heads.ssd import SSDHead
from detector.model.cost import cost
from detector.model.detector import Detector, build
from detector.model.model_file import read_model_file
from detector.utils.errors import DetectorError
from detector.utils.files import packaged_files

# One level of 2 × 3 cells, 16 pixels apart; s = 16, s' = 25, ratio 4.
ONE = {"nc": 2, "anchors": [[16, 25]], "ratios": [[4]], "steps": [16], "imgsz": 48}


def head(**values: Any) -> SSDHead:
    return SSDHead(**{**ONE, "c_in": [8], **values})


def zero_outputs(sizes_hw: list[tuple[int, int]], boxes: list[int]) -> list[torch.Tensor]:
    pairs = zip(sizes_hw, boxes, strict=True)
    return [torch.zeros(1, h, w, k, 7, dtype=torch.float64) for (h, w), k in pairs]


def test_default_boxes_of_one_level():
    boxes = head(clip=False).default_boxes(zero_outputs([(2, 3)], [4]))
    assert boxes.shape == (2 * 3 * 4, 4)
    # The first cell's centre is (8, 8): 16×16; √(16·25) = 20; ratio 4: 32×8 and 8×32
    expected = [[0, 0, 16, 16], [-2, -2, 18, 18], [-8, 4, 24, 12], [4, -8, 12, 24]]
    assert boxes[:4].tolist() == expected
    # The last one's: ((2 + ½) · 16, (1 + ½) · 16) = (40, 24)
    assert boxes[-4].tolist() == [32, 16, 48, 32]
    # In the order row, column, box: the second cell lies to the right of the first.
    assert boxes[4].tolist() == [16, 0, 32, 16]


def test_clipped_default_boxes_are_no_larger_than_the_input():
    """With 24 pixels, 32×8 becomes 24×8 around (8, 8); parts beyond the border stay."""
    boxes = head(clip=True, imgsz=24).default_boxes(zero_outputs([(2, 3)], [4]))
    assert boxes[2].tolist() == [-4, 4, 20, 12]
    assert boxes[1].tolist() == [-2, -2, 18, 18]


VOC_300 = {
    # level: (map, boxes a cell, step, s, s', largest ratio)
    0: (38, 4, 8, 30, 60, 2),
    1: (19, 6, 16, 60, 111, 3),
    2: (10, 6, 32, 111, 162, 3),
    3: (5, 6, 64, 162, 213, 3),
    4: (3, 4, 100, 213, 264, 2),
    5: (1, 4, 300, 264, 315, 2),
}
COCO_512 = {
    0: (64, 4, 8, 20.48, 51.2, 2),
    1: (32, 6, 16, 51.2, 133.12, 3),
    2: (16, 6, 32, 133.12, 215.04, 3),
    3: (8, 6, 64, 215.04, 296.96, 3),
    4: (4, 6, 128, 296.96, 378.88, 3),
    5: (2, 4, 256, 378.88, 460.8, 2),
    6: (1, 4, 512, 460.8, 542.72, 2),
}


@pytest.mark.parametrize(
    ("name", "variant", "levels", "total"),
    [("ssd300_vgg16", "voc", VOC_300, 8732), ("ssd512_vgg16", "coco", COCO_512, 24564)],
)
def test_the_paper_s_default_boxes(name: str, variant: str, levels: dict, total: int):
    """The first and the last box of each level, by hand."""
    model = build(name, classes=1, variant=variant)
    assert isinstance(model.head, SSDHead)
    sizes = [(side, side) for side, *_ in levels.values()]
    raw_outputs = zero_outputs(sizes, [k for _, k, *_ in levels.values()])
    boxes = model.head.default_boxes(raw_outputs)
    assert len(boxes) == total
    start = 0
    for side, k, step, own, _, ratio in levels.values():
        first, last = boxes[start], boxes[start + side * side * k - 1]
        half = own / 2
        centre = step / 2
        np.testing.assert_allclose(first, [centre - half] * 2 + [centre + half] * 2, rtol=1e-12)
        # The last one is the upright box of the largest ratio: s / √r wide, s · √r high.
        far = (side - 0.5) * step
        x, y = half / math.sqrt(ratio), min(half * math.sqrt(ratio), int(name[3:6]) / 2)
        np.testing.assert_allclose(last, [far - x, far - y, far + x, far + y], rtol=1e-12)
        start += side * side * k


def test_raw_outputs_of_the_networks(networks: dict[str, Detector]):
    for name, sides, total in (
        ("ssd300_vgg16", [38, 19, 10, 5, 3, 1], 8732),
        ("ssd512_vgg16", [64, 32, 16, 8, 4, 2, 1], 24564),
    ):
        model = networks[name]
        with torch.device("meta"):
            images = torch.empty(1, 3, *model.preprocess.size_hw)
        raw_outputs = model.to("meta")(images)
        assert [tuple(raw.shape[1:3]) for raw in raw_outputs] == [(side, side) for side in sides]
        assert sum(raw.shape[1] * raw.shape[2] * raw.shape[3] for raw in raw_outputs) == total


@pytest.fixture(scope="module")
def networks() -> dict[str, Detector]:
    return {name: build(name, classes=2) for name in ("ssd300_vgg16", "ssd512_vgg16")}


def test_forward_puts_offsets_before_logits():
    """The convolutions' channels are box after box."""
    one = head()
    with torch.no_grad():
        for conv, width in ((one.offsets[0], 4), (one.classes[0], 3)):
            conv.weight.zero_()
            conv.bias.copy_(torch.arange(4 * width) + 100.0 * (width == 3))
    (raw,) = one([torch.zeros(2, 8, 2, 3)])
    assert raw.shape == (2, 2, 3, 4, 7)
    assert raw[1, 0, 2, 0].tolist() == [0, 1, 2, 3, 100, 101, 102]
    assert raw[0, 1, 1, 3].tolist() == [12, 13, 14, 15, 109, 110, 111]


def test_decode_by_hand():
    raw = torch.zeros(1, 2, 3, 4, 7, dtype=torch.float64)
    raw[0, 0, 0, 0, :4] = torch.tensor([1.0, -2.0, 5 * math.log(2), 0.0])
    raw[0, 0, 0, 0, 4:] = torch.tensor([math.log(2), math.log(5), 0.0])
    boxes, scores = head(clip=False).decode([raw])
    # centre (8 + 0.1 · 1 · 16, 8 − 0.1 · 2 · 16) = (9.6, 4.8); 16 · e^(0.2 · 5 · ln 2) = 32 wide:
    # [−6.4, −3.2, 25.6, 12.8], cut off at the border
    np.testing.assert_allclose(boxes[0, 0], [0, 0, 25.6, 12.8])
    # softmax of ln 2, ln 5, 0 is 2/8, 5/8, 1/8; the background's is left out
    np.testing.assert_allclose(scores[0, 0], [0.625, 0.125])
    assert scores.shape == (1, 24, 2)


def test_no_weights_make_an_infinite_box():
    raw = torch.full((1, 2, 3, 4, 7), 1e30)
    boxes, _ = head().decode([raw])
    assert torch.isfinite(boxes).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"anchors": [[16, 25], [25, 30]]}, "argument 'anchors': expected 1 levels, found 2"),
        ({"ratios": []}, "argument 'ratios': expected 1 levels, found 0"),
        ({"steps": [8, 16]}, "argument 'steps': expected 1 levels, found 2"),
    ],
)
def test_levels_must_agree(values: dict, message: str):
    with pytest.raises(ValueError, match=message):
        head(**values)


@pytest.mark.parametrize(
    ("side", "message"),
    [
        (3, None),  # 3 cells of 16 pixels: 48 of 48
        (4, "argument 'steps': level 1 has 4 cells of 16 pixels, the input has 48 pixels"),
        (2, "argument 'steps': level 1 has 2 cells of 16 pixels, the input has 48 pixels"),
    ],
)
def test_steps_must_cover_the_input(side: int, message: str | None):
    raw_outputs = [torch.zeros(1, side, side, 4, 7)]
    if message is None:
        head().check_sizes(raw_outputs)
    else:
        with pytest.raises(ValueError, match=f"^{message}$"):
            head().check_sizes(raw_outputs)


def test_another_input_size_with_the_old_steps(tmp_path: Path):
    """The last level of SSD300 would have 4 × 4 cells of 300 pixels on an input of 512."""
    path = tmp_path / "a.yaml"
    text = packaged_files("cfg")["ssd300_neck"].read_text()
    path.write_text(text.replace("imgsz: 300", "imgsz: 512"))
    with pytest.raises(
        DetectorError, match=r"\(SSDHead\).*argument 'steps': level \d has \d cells"
    ):
        build(str(path))


def test_the_input_size_is_fixed():
    model = build("ssd300_vovnet27slim", classes=2)
    assert model.fixed_size_hw == (300, 300)
    assert model.size_of(300) == (300, 300)
    with pytest.raises(DetectorError) as caught:
        model.size_of(320)
    assert str(caught.value) == (
        "input size 320×320: the network takes 300×300 only, its default boxes are made for it"
    )


def test_preprocessing_is_the_paper_s():
    preprocess = build("ssd300_vovnet27slim", classes=2).preprocess
    assert preprocess.mode == "stretch"
    image = np.full((1, 2, 2, 3), (124, 117, 100), np.uint8)
    assert preprocess.normalize(image)[0, :, 0, 0].tolist() == [1, 0, -4]


def test_start_weights_are_matched_by_name():
    # 4 boxes a cell: background and 3 classes in the start weights, background and 2 here.
    start, head = (SSDHead(count, [[30, 60]], [[2]], [8], c_in=(4,)) for count in (3, 2))
    state, own = start.state_dict(), head.state_dict()
    classes = SharedClasses.find(["dog", "cow"], ["cat", "dog", "bird"])
    mixed = head.adapt(state, True, classes).partly
    assert mixed.keys() == {"classes.0.weight", "classes.0.bias"}
    weight = mixed["classes.0.weight"].view(4, 3, 4, 3, 3)
    theirs = state["classes.0.weight"].view(4, 4, 4, 3, 3)
    assert torch.equal(weight[:, :2], theirs[:, [0, 2]])  # the background, the dog
    assert torch.equal(weight[:, 2], own["classes.0.weight"].view(4, 3, 4, 3, 3)[:, 2])


DSOD = [
    ("dsod300_densenet67", [352, 512, 512, 256, 256, 256], [38, 19, 10, 5, 3, 1]),
    ("dsod300_peleenet", [256, 512, 512, 256, 256, 256], [38, 19, 10, 5, 3, 1]),
    ("dsod300_vovnet27slim", [256, 512, 512, 256, 256, 256], [37, 18, 9, 5, 3, 1]),
]


@pytest.mark.parametrize(("name", "widths", "sides"), DSOD)
def test_levels_of_dsod(name: str, widths: list[int], sides: list[int]):
    """Each level behind the first is half new and half pooled from the one before."""
    with torch.device("meta"):
        model = build(name, classes=20)
        counted = cost(model, (300, 300))
    rows = counted.rows
    sources = rows[-1].sources
    assert [rows[source].shapes for source in sources] == [
        ((width, side, side),) for width, side in zip(widths, sides, strict=True)
    ]
    levels = [rows[source].sources[0] for source in sources]  # behind an L2Norm each
    assert {rows[source].module for source in sources} == {"L2Norm"}
    for before, level in zip(levels, levels[1:], strict=False):
        joined = rows[level]
        assert joined.module == "Concat"
        halves = [rows[source] for source in joined.sources]
        assert [half.shapes[0][0] for half in halves] == [rows[level].shapes[0][0] // 2] * 2
        pooled = [half for half in halves if rows[half.sources[0]].module == "nn.MaxPool2d"]
        assert [rows[half.sources[0]].sources for half in pooled] == [(before,)]


@pytest.mark.parametrize(
    ("variant", "millions"), [("64-16", 5.9), ("192-48", 14.8)], ids=["smallest", "DSOD300"]
)
def test_parameters_of_dsod(variant: str, millions: float, tmp_path: Path):
    """szq0214/DSOD, README: 5.9 M and 14.8 M, with batch norms behind the predictions."""
    text = read_model_file("dsod300_densenet67").file.text
    file = tmp_path / "dsod.yaml"
    file.write_text(text.replace("{cfg: densenet67}", f"{{cfg: densenet67, variant: {variant}}}"))
    with torch.device("meta"):
        counted = cost(build(file, classes=20), (300, 300))
    assert counted.params / 1e6 == pytest.approx(millions, abs=0.1)
