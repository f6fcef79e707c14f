"""SSD weights of torchvision and ssd.pytorch: they compute the same, and nothing else is loaded."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import SSD300_VGG16_Weights, ssd300_vgg16
from torchvision.models.detection.image_list import ImageList

from detector.model.detector import Detector, build
from detector.model.torch_backend import torch_nms
from detector.settings.nms import NmsSettings
from detector.structures.boxes import clip
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import load
from detector.weights.interop.networks import find_network
from detector.weights.interop.ssd import class_names, is_ssd
from detector.weights.transfer import start_from


def load_ssd(state: dict[str, Tensor], path: Path) -> Detector:
    family = find_network(state)
    assert family is not None
    return family.load(state, path)


SIDES = (38, 19, 10, 5, 3, 1)
SIZE_HW = (300, 300)
IMAGES = 10

# ------------------------------------------------------------------------------------- torchvision


@dataclass(frozen=True)
class Pair:
    """torchvision's network, ours with its weights, and images for both."""

    theirs: nn.Module
    ours: Detector
    images: Tensor


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Every weight random; on each level the offsets are spread by 1 and the logits by 2.

    Most boxes are background: of scores that reach 1.0 many were equal, in no certain order.
    """
    torch.manual_seed(0)
    theirs = ssd300_vgg16(weights=None, weights_backbone=None).eval()
    blurred = F.interpolate(torch.rand(IMAGES, 3, 8, 8), SIZE_HW, mode="bilinear")
    images = 255 * blurred - torch.tensor([123.0, 117.0, 104.0]).view(3, 1, 1)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.1)
        theirs.backbone.scale_weight.uniform_(10, 30)
        features = theirs.backbone(images[:1]).values()
        for head, spread in (
            (theirs.head.regression_head, 1),
            (theirs.head.classification_head, 2),
        ):
            for conv, feature in zip(head.module_list, features, strict=True):
                conv.weight.mul_(spread / conv(feature).std())
        for conv in theirs.head.classification_head.module_list:
            conv.bias[::91] += 8  # the background's
    path = tmp_path_factory.mktemp("torchvision") / "ssd300.pth"
    torch.save(theirs.state_dict(), path)
    ours = load(path)
    path.unlink()  # 143 MB
    return Pair(theirs, ours, images)


@pytest.fixture(scope="module")
def outputs(pair: Pair) -> tuple[dict[str, Tensor], Tensor, list[Tensor]]:
    """torchvision's raw outputs, ours in the same order, and our maps."""
    with torch.no_grad():
        theirs = pair.theirs.head(list(pair.theirs.backbone(pair.images).values()))
        maps = pair.ours(pair.images)
    return theirs, torch.cat([level.flatten(1, 3) for level in maps], 1), maps


def anchors_of(theirs: nn.Module) -> Tensor:
    images = ImageList(torch.zeros(1, 3, *SIZE_HW), [SIZE_HW])
    (anchors,) = theirs.anchor_generator(images, [torch.zeros(1, 1, s, s) for s in SIDES])
    return anchors


def test_torchvision_s_default_boxes(pair: Pair):
    maps = [torch.zeros(1, s, s, k, 95) for s, k in zip(SIDES, (4, 6, 6, 6, 4, 4), strict=True)]
    found = pair.ours.head.default_boxes(maps)
    torch.testing.assert_close(found, anchors_of(pair.theirs), atol=1e-3, rtol=0)


def test_torchvision_s_classes(pair: Pair):
    categories = SSD300_VGG16_Weights.COCO_V1.meta["categories"]
    names = [f"unused {i}" if name == "N/A" else name for i, name in enumerate(categories)]
    assert pair.ours.names == tuple(names[1:])  # their 0 is the background
    assert pair.ours.names[11] == "unused 12"
    assert (pair.ours.definition.variant, pair.ours.training) == ("coco", False)


@pytest.mark.slow
def test_torchvision_s_raw_maps(outputs: tuple[dict[str, Tensor], Tensor, list[Tensor]]):
    expected, raw, _ = outputs
    assert raw.shape == (IMAGES, 8732, 4 + 91)
    torch.testing.assert_close(raw[..., :4], expected["bbox_regression"], atol=1e-4, rtol=0)
    torch.testing.assert_close(raw[..., 4:], expected["cls_logits"], atol=1e-4, rtol=0)


@pytest.mark.slow
def test_torchvision_s_detections(
    pair: Pair, outputs: tuple[dict[str, Tensor], Tensor, list[Tensor]]
):
    """On the same raw outputs. torchvision clips boxes to the image before NMS."""
    _, raw, maps = outputs
    expected = pair.theirs.postprocess_detections(
        {"bbox_regression": raw[..., :4], "cls_logits": raw[..., 4:]},
        [anchors_of(pair.theirs)] * IMAGES,
        [SIZE_HW] * IMAGES,
    )
    settings = NmsSettings(
        confidence=0.01,
        iou=0.45,
        class_candidates=400,
        max_detections=200,
        multi_label=True,
        candidates=10**6,
    )
    boxes_xyxy, scores = pair.ours.decode(maps)
    for theirs, boxes, values in zip(expected, clip(boxes_xyxy, SIZE_HW), scores, strict=True):
        found = torch_nms(boxes.numpy(), values.numpy(), settings)
        found_boxes, found_scores, class_ids = map(torch.from_numpy, found)
        assert len(found_scores) == 200
        assert len(class_ids.unique()) > 10
        assert (class_ids + 1).tolist() == theirs["labels"].tolist()  # theirs count the background
        torch.testing.assert_close(found_scores, theirs["scores"], atol=1e-6, rtol=0)
        torch.testing.assert_close(found_boxes, theirs["boxes"], atol=1e-3, rtol=0)


# ------------------------------------------------------------------------------------- ssd.pytorch

VGG = {
    **{0: "0.0", 2: "0.1", 5: "2.0", 7: "2.1", 10: "4.0", 12: "4.1", 14: "4.2"},
    **{17: "6.0", 19: "6.1", 21: "6.2", 24: "8.0", 26: "8.1", 28: "8.2", 31: "10", 33: "11"},
}
"""Index of each convolution in ssd.pytorch's ``vgg``, and its row in our model files."""


def as_ssd_pytorch(model: Detector) -> dict[str, Tensor]:
    """Return a network's tensors under ssd.pytorch's names, in arbitrary order."""
    own = model.state_dict()
    levels = len(model.head.offsets)
    extras = 8 if levels == 6 else 10  # rows 12 to 19, or to 21; then the norm, then the head
    paths = {f"vgg.{index}": f"rows.{row}.conv" for index, row in VGG.items()}
    paths |= {f"extras.{i}": f"rows.{12 + i}.conv" for i in range(extras)}
    for theirs, ours in (("loc", "offsets"), ("conf", "classes")):
        paths |= {f"{theirs}.{i}": f"rows.{13 + extras}.{ours}.{i}" for i in range(levels)}
    state = {
        f"{theirs}.{part}": own[f"{ours}.{part}"]
        for theirs, ours in paths.items()
        for part in ("weight", "bias")
    }
    state["L2Norm.weight"] = own[f"rows.{12 + extras}.weight"]
    assert len(state) == len(own)
    names = np.random.default_rng(0).permutation(list(state))
    return {str(name): state[name] for name in names}


def randomised(cfg: str, classes: int) -> Detector:
    model = build(cfg, classes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-1, 1)
    return model


@pytest.fixture(scope="module")
def network() -> Detector:
    """SSD300 for VOC's number of classes."""
    return randomised("ssd300_vgg16", 20)


@pytest.fixture
def state(network: Detector) -> dict[str, Tensor]:
    return as_ssd_pytorch(network)


def equal(model: Detector, network: Detector) -> bool:
    found, expected = model.state_dict(), network.state_dict()
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], expected[name]) for name in expected
    )


def test_ssd_pytorch_s_weights_for_voc(network: Detector, state: dict[str, Tensor], tmp_path: Path):
    path = tmp_path / "ssd300.pth"
    torch.save(state, path)
    model = load(path)
    path.unlink()  # 105 MB
    assert equal(model, network)
    assert (model.definition.variant, model.training) == ("voc", False)
    assert model.names[:3] == ("aeroplane", "bicycle", "bird")
    assert model.names[19] == "tvmonitor"


def test_ssd_pytorch_s_512():
    network = randomised("ssd512_vgg16", 2)
    model = load_ssd(as_ssd_pytorch(network), Path("ssd512.pth"))
    assert equal(model, network)
    assert model.preprocess.size_hw == (512, 512)
    assert (model.definition.variant, model.names) == ("coco", ("class0", "class1"))


def test_names_of_the_classes():
    assert [class_names(count) for count in (1, 21, 81)] == [1, 21, 81]
    coco = [n for n in SSD300_VGG16_Weights.COCO_V1.meta["categories"][1:] if n != "N/A"]
    assert class_names(80) == tuple(coco)
    # torchvision's own 90 are compared above; VOC's names are in alphabetical order.
    assert list(class_names(20)) == sorted(class_names(20))
    assert len(class_names(90)) == 90


# --------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("", True),
        ("vgg.0.weight", True),  # whether all is there is looked at later
        ("L2Norm.weight", False),
        ("conf.0.weight", False),
    ],
)
def test_recognition(state: dict[str, Tensor], missing: str, expected: bool):
    assert is_ssd({n: t for n, t in state.items() if n != missing}) is expected
    assert not is_ssd({})


MISFIT = "its SSD weights do not fit: "


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("conf.5.weight", "SSD weights of 5 levels, expected 6 or 7"),
        ("loc.5.weight", f"{MISFIT}SSD head: expected 6 convolutions, found 5"),
        ("vgg.33.weight", f"{MISFIT}SSD weights: expected 23 convolutions, found 22"),
        (
            "extras.3.bias",
            f"{MISFIT}Error(s) in loading state_dict for Detector: Missing key(s) in state_dict: "
            '"rows.15.conv.bias".',
        ),
    ],
)
def test_a_missing_tensor(state: dict[str, Tensor], missing: str, message: str):
    with pytest.raises(DetectorError) as caught:
        load_ssd({n: t for n, t in state.items() if n != missing}, Path("ssd.pth"))
    assert str(caught.value) == f"ssd.pth: {message}"


def test_more_levels(state: dict[str, Tensor]):
    more = {f"conf.{i}.weight": torch.ones(1, 1, 3, 3) for i in (6, 7)}
    with pytest.raises(DetectorError, match=r"^ssd\.pth: SSD weights of 8 levels, expected 6 or 7"):
        load_ssd({**state, **more}, Path("ssd.pth"))


@pytest.mark.parametrize(
    ("name", "shape", "ours"),
    [
        ("vgg.5.weight", (128, 64, 1, 1), "rows.2.0.conv.weight"),
        ("L2Norm.weight", (256,), "rows.20.weight"),
        # 4 boxes · (1 + 20 classes) is what the first level of VOC's has.
        ("conf.1.weight", (84, 1024, 3, 3), "rows.21.classes.1.weight"),
    ],
)
def test_another_shape(state: dict[str, Tensor], name: str, shape: tuple[int, ...], ours: str):
    with pytest.raises(DetectorError) as caught:
        load_ssd({**state, name: torch.ones(shape)}, Path("ssd.pth"))
    text = str(caught.value)
    assert text.startswith(f"ssd.pth: {MISFIT}")
    assert f"size mismatch for {ours}: " in text
    assert f"{list(shape)}" in text
    assert "\n" not in text


def test_no_class_beside_the_background(state: dict[str, Tensor]):
    with pytest.raises(DetectorError, match=r"^ssd\.pth: .*found 0$"):
        load_ssd({**state, "conf.0.weight": torch.ones(4, 512, 3, 3)}, Path("ssd.pth"))


def test_weights_without_a_place(state: dict[str, Tensor]):
    """A batch norm after each convolution would be left out otherwise."""
    more = {"vgg.1.running_mean": torch.ones(64)}
    with pytest.raises(DetectorError, match=r"^ssd\.pth: .*'vgg\.1\.running_mean'"):
        load_ssd({**state, **more}, Path("ssd.pth"))


def test_weights_without_a_place_are_listed(state: dict[str, Tensor], tmp_path: Path):
    torch.save({**state, "vgg.1.running_mean": torch.ones(64)}, tmp_path / "ssd.pth")
    report = start_from(load_ssd(state, Path("ssd.pth")), tmp_path / "ssd.pth")
    assert report.skipped == {"vgg.1.running_mean": "has no place in this network"}


def test_each_layout_has_its_licence(state: dict[str, Tensor]):
    theirs = find_network(state)
    torchvision = find_network(
        {
            "backbone.scale_weight": torch.ones(512),
            "head.classification_head.module_list.0.weight": torch.ones(4, 512, 3, 3),
        }
    )
    assert theirs is not None and theirs.origin.licence == "MIT (ssd.pytorch)"
    assert torchvision is not None and torchvision.origin.licence == "BSD-3-Clause (torchvision)"


def test_names_of_an_own_definition_are_the_text_as_written(tmp_path, monkeypatch):
    """YAML 1.1 would read 010 as 8 and 1:30 as 90; a file in the working folder comes first."""
    monkeypatch.chdir(tmp_path)
    written = ["010", "1:30", *(f"c{i}" for i in range(18))]
    (tmp_path / "voc").write_text(f"names: [{', '.join(written)}]")
    assert class_names(20) == tuple(written)
