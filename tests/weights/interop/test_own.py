"""Networks of ours as start weights: the same features for another mean, scale, channel order."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from detector.layers.repvgg import randomise_batch_norms
from detector.model.detector import Detector, build, build_model_file
from detector.model.model_file import check_model_file
from detector.structures.preprocess import Preprocess, PreprocessKeys
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import YamlFile
from detector.weights.interop.own import fit_weights
from detector.weights.transfer import transfer

INPUT = "preprocess: {mean_rgb: [123.675, 116.28, 103.53], scale_rgb: [58.395, 57.12, 57.375]}"
CLASSIFIER = f"""
{INPUT}
backbone:
  - [-1, 1, FIRST, [8, 3]]
  - [-1, 1, SECOND, [8, 3]]
head:
  - [-1, 1, Classify, [nc]]
"""
DETECTOR = """
anchors: 1
backbone:
  - [-1, 1, FIRST, {c_out: 8, kernel: 3ARGS}]
  - [-1, 1, SECOND, {c_out: 8, kernel: 3ARGS}]
head:
  - [-1, 1, Detect, [nc, anchors]]
"""
NORMED = ", activation: ReLU, eps: 1.0e-5"
"""Arguments with which a Conv equals a ConvNormAct except for the bias."""


def network(text: str, first: str, second: str, args: str = "") -> Detector:
    text = text.replace("FIRST", first).replace("SECOND", second).replace("ARGS", args)
    model = build_model_file(check_model_file(YamlFile(Path("a.yaml"), text)), 2)
    randomise_batch_norms(model)
    for name, parameter in model.named_parameters():
        if name.endswith("conv.bias"):
            torch.nn.init.uniform_(parameter, -0.5, 0.5)
    return model.double().eval()


def normalised(pixels: Tensor, preprocess: Preprocess) -> Tensor:
    mean, scale = (
        torch.tensor(rgb, dtype=torch.float64).view(3, 1, 1)
        for rgb in (preprocess.mean_rgb, preprocess.scale_rgb)
    )
    return (pixels - mean) / scale


@pytest.mark.parametrize(
    ("classifier", "detector", "args"),
    [
        (("RepVGGBlock", "Conv"), ("RepVGGBlock", "Conv"), ""),
        (("QARepVGGBlock", "Conv"), ("QARepVGGBlock", "Conv"), ""),
        (("ConvNormAct", "ConvNormAct"), ("ConvNormAct", "ConvNormAct"), ""),
        (("ConvNormAct", "ConvNormAct"), ("Conv", "Conv"), NORMED),
    ],
)
@torch.no_grad()
def test_the_same_maps(classifier: tuple[str, str], detector: tuple[str, str], args: str):
    theirs, model = network(CLASSIFIER, *classifier), network(DETECTOR, *detector, args)
    state = fit_weights(theirs.state_dict(), theirs.preprocess, model)
    rows = {name: tensor for name, tensor in state.items() if not name.startswith("rows.2.")}
    assert model.load_state_dict(rows, strict=False).unexpected_keys == []
    pixels = torch.rand(1, 3, 16, 16, dtype=torch.float64) * 255
    found = model.rows[1](model.rows[0](normalised(pixels, model.preprocess)))
    expected = theirs.rows[1](theirs.rows[0](normalised(pixels, theirs.preprocess)))
    # Behind the border zeros are of another colour.
    torch.testing.assert_close(found[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2])


STEMS = {
    "Conv": "[-1, 1, Conv, [8, 6, 2, 2]]",
    "Conv in a stack": "[-1, 2, Conv, [8, 3, 2]]",
    "ConvAct": "[-1, 1, ConvAct, [8, 3]]",
    "nn.Conv2d": "[-1, 1, nn.Conv2d, [8, 3, 2, 1]]",
    "reflected border": "[-1, 1, RepVGGBlock, {c_out: 8, stride: 2, padding_mode: reflect}]",
    "RepVGGBlock": "[-1, 1, RepVGGBlock, [8, 3, 2]]",
    "QARepVGGBlock": "[-1, 1, QARepVGGBlock, [8, 3, 2]]",
    "Focus": "[-1, 1, Focus, [8, 3]]",
    "MobileOneBlock": "[-1, 1, MobileOneBlock, {c_out: 8, stride: 2, branches: 2}]",
    "ACBlock": "[-1, 1, ACBlock, [8, 3, 2]]",
    "DBB": "[-1, 1, DBB, [8, 3, 2]]",
    "AlphaRepVGGBlock": "[-1, 1, AlphaRepVGGBlock, [8, 3, 2]]",
    "Focus as two rows": "[-1, 1, ReOrg, []]\n  - [-1, 1, Conv, [8, 3]]",
    "squares": "[-1, 1, Contract, [4]]\n  - [-1, 1, Conv, [8, 3]]",
    "a further row": "[-1, 1, Conv, [8, 3, 2]]\n  - [-2, 1, RepVGGBlock, [8, 3, 2]]",
}
OTHER_INPUT = INPUT.replace("{", "{channel_order: bgr, ")


def stem(rows: str, preprocess: str = "") -> Detector:
    return network(
        f"{preprocess}\nanchors: 1\nbackbone:\n  - {rows}\nhead: [[-1, 1, Detect, [nc, anchors]]]",
        "",
        "",
    )


def first_features(model: Detector, pixels: Tensor) -> list[Tensor]:
    """Outputs of all rows but the head for RGB pixels, without four cells at the border."""
    found: list[Tensor] = []
    hooks = [
        row.register_forward_hook(lambda _row, _inputs, out: found.append(out[..., 4:-4, 4:-4]))
        for row in model.rows[:-1]
    ]
    image = normalised(pixels, model.preprocess)
    model(image if model.preprocess.channel_order == "rgb" else image.flip(1))
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("rows", STEMS.values(), ids=list(STEMS))
@torch.no_grad()
def test_rgb_in_0_to_1_started_in_a_network_for_bgr(rows: str) -> None:
    """A pixel p was trained as p / 255 and is given as (p − mean) / scale, blue first."""
    theirs, model = stem(rows), stem(rows, OTHER_INPUT)
    report = transfer(model, fit_weights(theirs.state_dict(), theirs.preprocess, model))
    assert (report.skipped, report.missing) == ({}, ())
    pixels = torch.rand(1, 3, 64, 64, dtype=torch.float64) * 255
    found, expected = first_features(model, pixels), first_features(theirs, pixels)
    moved = "ReOrg" in rows or "Contract" in rows  # this row gives pixels, which differ
    assert len(found) == len(expected) == rows.count("[-")
    for one, other in zip(found[moved:], expected[moved:], strict=True):
        assert one.std() > 1e-3
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    ("rows", "place"),
    [
        ("[-1, 1, nn.MaxPool2d, [2, 2]]\n  - [-1, 1, Conv, [8]]", "row 0 (nn.MaxPool2d)"),
        ("[-1, 1, RepVGGBlock, [3]]", "row 0 (RepVGGBlock)"),  # a batch norm of the image
        ("[-1, 1, SeparableConv, [8]]", "row 0 (SeparableConv)"),  # one colour each
        ("[-1, 1, MixConv2d, [8]]", "row 0 (MixConv2d)"),  # one norm behind two convolutions
        (
            "[-1, 1, Conv, [8]]\n  - [-2, 1, nn.Conv2d, {c_out: 8, kernel_size: 1, bias: False}]",
            "row 0 (Conv), row 1 (nn.Conv2d)",
        ),
    ],
)
def test_an_input_that_cannot_be_converted(rows: str, place: str) -> None:
    theirs, model = stem(rows), stem(rows, OTHER_INPUT)
    with pytest.raises(DetectorError) as caught:
        fit_weights(theirs.state_dict(), theirs.preprocess, model)
    assert str(caught.value) == (
        f"the weights expect another input, and what reads the image in {place} cannot be "
        "converted; expected in the model file: preprocess: {channel_order: rgb, mean_rgb: "
        "[0.0, 0.0, 0.0], scale_rgb: [255.0, 255.0, 255.0]}"
    )


def test_yolov9_s_auxiliary_branch_is_converted_too() -> None:
    """Red weights times 58.395 / 255 = 0.229 are the last of three channels for blue first."""
    model = build("yolov9", 2, "c")
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    mean, scale = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    other = PreprocessKeys(channel_order="bgr", mean_rgb=mean, scale_rgb=scale)
    model.preprocess = Preprocess(size_hw=(640, 640), **other.model_dump())
    found = fit_weights(state, PreprocessKeys(), model)
    changed = {name for name in state if not torch.equal(found[name], state[name])}
    assert changed == {
        f"rows.{row}.{name}" for row in (0, 35) for name in ("conv.weight", "bn.running_mean")
    }
    for row in (0, 35):
        red = state[f"rows.{row}.conv.weight"][:, 0]
        torch.testing.assert_close(
            found[f"rows.{row}.conv.weight"][:, 2], red.double() * 0.229, rtol=1e-6, atol=0
        )


def test_the_same_input_leaves_the_weights():
    model = network(DETECTOR, "RepVGGBlock", "Conv")
    state = model.state_dict()
    found = fit_weights(state, model.preprocess, model)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_a_first_block_that_is_unknown_stays():
    model = network(DETECTOR, "RepVGGBlock", "Conv")
    assert fit_weights({}, model.preprocess, model) == {}
    state = {"rows.0.other.conv.weight": torch.ones(1, 3, 1, 1)}
    assert fit_weights(state, network(CLASSIFIER, "Conv", "Conv").preprocess, model) == state
