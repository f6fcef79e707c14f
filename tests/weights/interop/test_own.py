"""Networks of ours as start weights: the same maps for an input of another mean and scale."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from detector.layers.repvgg import randomise_batch_norms
from detector.model.detector import Detector, build_model_file
from detector.model.model_file import check_model_file
from detector.structures.preprocess import Preprocess
from detector.utils.yaml_file import YamlFile
from detector.weights.interop.own import fit_weights

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
