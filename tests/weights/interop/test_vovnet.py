"""VoVNet weights of VoVNet.pytorch and of timm: they compute the same here."""

import re

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models.vovnet import VovNet, model_cfgs
from torch import Tensor

from detector.layers.repvgg import randomise_batch_norms
from detector.model.deploy import fuse_modules
from detector.model.detector import Detector, build
from detector.utils.errors import DetectorError
from detector.weights.interop.vovnet import is_vovnet, with_our_names
from detector.weights.transfer import start_backbone_from, transfer

IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1)) * 4 - 2

# ------------------------------------------------ the original network, computed from its own names


def original(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """Logits in float64."""
    state = {name: tensor.double() for name, tensor in state.items()}

    def layer(at: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = state[f"{at}/conv.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        norm = (state[f"{at}/norm.{part}"] for part in ("running_mean", "running_var"))
        return F.relu(
            F.batch_norm(x, *norm, state[f"{at}/norm.weight"], state[f"{at}/norm.bias"], eps=1e-5)
        )

    x = images.double()
    for number, stride in ((1, 2), (2, 1), (3, 2)):
        x = layer(f"stem.stem_{number}", x, stride)
    for stage in (2, 3, 4, 5):
        if stage > 2:
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        for number in range(1, modules(state, stage) + 1):
            osa = f"OSA{stage}_{number}"
            maps = [x]
            for i in range(5):
                maps.append(layer(f"stage{stage}.{osa}.layers.{i}.{osa}_{i}", maps[-1]))
            out = layer(f"stage{stage}.{osa}.concat.{osa}_concat", torch.cat(maps, 1))
            x = out + x if number > 1 else out
    return F.linear(x.mean((2, 3)), state["classifier.weight"], state["classifier.bias"])


def modules(state: dict[str, Tensor], stage: int) -> int:
    return len({m[1] for m in (re.match(rf"stage{stage}\.(\w+)\.", name) for name in state) if m})


def taken_whole(model: Detector, state: dict[str, Tensor]) -> None:
    report = transfer(model, state)
    assert (report.skipped, report.missing) == ({}, ())
    assert len(report.loaded) == len(state)


def without_modules(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """VoVNet-39 is 57 without the third and fourth modules of a stage."""
    return {n: s for n, s in shapes.items() if not re.match(r"stage\d\.OSA\d_[34]\.", n)}


@pytest.mark.parametrize("variant", ["27-slim", "39", "57"])
@torch.no_grad()
def test_the_original_networks(variant: str, shapes_of, random_state, difference):
    shapes = shapes_of("vovnet27_slim" if variant == "27-slim" else "vovnet57")
    state = random_state(without_modules(shapes) if variant == "39" else shapes)
    model = build("vovnet", variant=variant)
    taken_whole(model, state)
    found = model.eval().double()(IMAGES.double())["logits"]
    assert difference(found, original(state, IMAGES)) < 1e-12


# -------------------------------------------------------------------------------------------- timm


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("vovnet39a", "39a"),
        ("vovnet57a", "57a"),
        ("ese_vovnet19b", "19-v2"),
        ("ese_vovnet39b", "39-v2"),
    ],
)
@torch.no_grad()
def test_timm_s_networks(name: str, variant: str, difference):
    torch.manual_seed(0)
    theirs = VovNet(model_cfgs[name], num_classes=10).eval()
    randomise_batch_norms(theirs)
    for path, parameter in theirs.named_parameters():
        if path.endswith("fc.bias"):
            parameter.uniform_(-0.5, 0.5)
    model = build("vovnet", 10, variant).eval()
    taken_whole(model, theirs.state_dict())
    assert difference(model(IMAGES)["logits"], theirs(IMAGES)) < 1e-5


def test_shapes_of_timm_s():
    for name, variant in (("vovnet39a", "39a"), ("vovnet57a", "57a"), ("ese_vovnet39b", "39-v2")):
        with torch.device("meta"):
            taken_whole(build("vovnet", variant=variant), timm.create_model(name).state_dict())


# ---------------------------------------------------------------------------------------- backbones


@pytest.fixture(scope="module")
def slim(shapes_of, random_state) -> dict[str, Tensor]:
    return random_state(shapes_of("vovnet27_slim"))


@pytest.mark.parametrize("cfg", ["yolov5_vovnet27slim", "ssd300_vovnet27slim"])
def test_the_backbone_of_a_detector(cfg: str, slim: dict[str, Tensor], tmp_path):
    path = tmp_path / "vovnet27_slim.pth"
    torch.save(slim, path)
    model = build(cfg, 3)
    report = start_backbone_from(model, path)
    assert report.skipped == dict.fromkeys(
        ("classifier.weight", "classifier.bias"), "has no place in this network"
    )
    # 3 + 4 · 6 convolutions, each with a norm's 5 tensors
    assert len(report.loaded) == 27 * 6
    own = model.state_dict()
    assert {n for n in own if int(n.split(".")[1]) < 10} == set(report.loaded)
    assert set(report.missing) == own.keys() - set(report.loaded)
    for ours, theirs in (
        ("rows.2.bn.running_var", "stem.stem_3/norm.running_var"),
        ("rows.5.0.convs.3.conv.weight", "stage3.OSA3_1.layers.3.OSA3_1_3/conv.weight"),
        ("rows.9.0.concat.bn.bias", "stage5.OSA5_1.concat.OSA5_1_concat/norm.bias"),
    ):
        assert torch.equal(own[ours], slim[theirs])
    scale = torch.tensor(model.preprocess.scale_rgb) / torch.tensor([58.395, 57.12, 57.375])
    expected_first = slim["stem.stem_1/conv.weight"] * scale.view(1, 3, 1, 1)
    torch.testing.assert_close(own["rows.0.conv.weight"], expected_first)


# ---------------------------------------------------------------------------------------- bad input


def test_recognition(slim: dict[str, Tensor]):
    assert is_vovnet(slim)
    assert not is_vovnet({})
    assert not is_vovnet({"stem.0.conv.weight": torch.ones(1)})


@pytest.mark.parametrize(
    ("name", "variant", "message"),
    [
        (
            "vovnet39a",
            "39",
            "VoVNet weights are of a network without identities between OSA modules: "
            "expected OSA rows with identity: False",
        ),
        (
            "vovnet57a",
            "39a",
            "timm's VoVNet weights: expected 9 blocks, found 12",
        ),
        (
            "ese_vovnet39b",
            "39",
            "timm's VoVNet weights: block 'stages.0.blocks.0' has 'ese.fc.weight', which has no "
            "place in the network",
        ),
        (
            "vovnet39a",
            "39-v2",
            "timm's VoVNet weights: block 'stages.0.blocks.0' has nothing for 'ese.fc.weight'",
        ),
        (
            "ese_vovnet19b_dw",
            "19-v2",
            "timm's VoVNet weights: 'stem.1.conv_dw.weight' has no place in the network",
        ),
        (
            "eca_vovnet39b",
            "39",
            "timm's VoVNet weights: 'stages.0.blocks.0.attn.conv.weight' has no place in the "
            "network",
        ),
    ],
)
def test_other_networks_of_timm_s(name: str, variant: str, message: str):
    with torch.device("meta"):
        model, state = build("vovnet", variant=variant), timm.create_model(name).state_dict()
        with pytest.raises(DetectorError) as caught:
            with_our_names(state, model)
    assert str(caught.value) == message


def test_the_original_s_weights_need_identities(shapes_of):
    with torch.device("meta"):
        model = build("vovnet", variant="57a")
        state = {name: torch.empty(shape) for name, shape in shapes_of("vovnet57").items()}
        with pytest.raises(DetectorError) as caught:
            with_our_names(state, model)
    assert str(caught.value) == (
        "VoVNet weights are of a network with identities between OSA modules: "
        "expected OSA rows with identity: True"
    )


def test_a_deployed_network(slim: dict[str, Tensor]):
    with torch.device("meta"):
        model = fuse_modules(build("vovnet"))
    with pytest.raises(DetectorError) as caught:
        with_our_names(slim, model)
    assert str(caught.value) == (
        "VoVNet weights have batch norms, the network is deployed: load them before deploying it"
    )
