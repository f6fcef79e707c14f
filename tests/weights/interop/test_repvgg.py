"""RepVGG weights of the official project and of timm: they compute the same here."""

from itertools import count

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models.byobnet import ByobNet, ByoModelCfg, _rep_vgg_bcfg
from timm.utils.model import reparameterize_model
from torch import Tensor

from detector.layers.repvgg import randomise_batch_norms
from detector.model.deploy import fuse_modules
from detector.model.detector import Detector, build
from detector.utils.errors import DetectorError
from detector.weights.interop.repvgg import is_repvgg, with_our_names
from detector.weights.transfer import start_backbone_from, start_from, transfer

STAGES = ("stage0", "stage1", "stage2", "stage3", "stage3_first", "stage3_second", "stage4")
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 4 - 2
TINY = """variants:
  tiny: {values: {w0: 32, w1: 32, w2: 64, w3: 128, w4: 512, n1: 2, n2: 2, n3: 3, n4: 1,
                  f2: 3, f3: 5, f4: 8, se: True}}
"""
EIGHTH = {"w0: 64, w1: 160, w2: 320, w3: 640, w4: 2560": "w0: 8, w1: 20, w2: 40, w3: 80, w4: 320"}

# ----------------------------------------------- the official network, computed from its own names


def official(state: dict[str, Tensor], images: Tensor) -> dict[str, Tensor]:
    """Logits, and those of the auxiliary classifiers, in float64."""
    state = {name: tensor.double() for name, tensor in state.items()}
    x, result = images.double(), {}
    for stage in STAGES:
        for number, path in enumerate(blocks_of(state, stage)):
            stride = 1 if number or stage == "stage3_second" else 2
            x = block(state, f"{path}.", x, stride)
        if f"{stage}_aux.3.weight" in state:
            down = F.conv2d(x, state[f"{stage}_aux.0.conv.weight"], stride=2, padding=1)
            down = F.relu(norm(state, f"{stage}_aux.0.bn", down)).mean((2, 3))
            result[stage] = F.linear(
                down, state[f"{stage}_aux.3.weight"], state[f"{stage}_aux.3.bias"]
            )
    result["main"] = F.linear(x.mean((2, 3)), state["linear.weight"], state["linear.bias"])
    return result


def blocks_of(state: dict[str, Tensor], stage: str) -> list[str]:
    def has(path: str) -> bool:
        return any(name.startswith(f"{path}.rbr") for name in state)

    result = [stage] if has(stage) else []
    for form in (f"{stage}.{{}}", f"{stage}.blocks.{{}}"):
        for number in count():
            if not has(form.format(number)):
                break
            result.append(form.format(number))
    return result


def block(state: dict[str, Tensor], at: str, x: Tensor, stride: int) -> Tensor:
    def conv(name: str, padding: int) -> Tensor:
        weight = state[f"{at}{name}.weight"]
        groups = x.shape[1] // weight.shape[1]
        return F.conv2d(x, weight, state.get(f"{at}{name}.bias"), stride, padding, groups=groups)

    if f"{at}rbr_reparam.weight" in state:
        out = conv("rbr_reparam", 1)
    else:
        out = norm(state, f"{at}rbr_dense.bn", conv("rbr_dense.conv", 1))
        out = out + norm(state, f"{at}rbr_1x1.bn", conv("rbr_1x1.conv", 0))
        if f"{at}rbr_identity.weight" in state:
            out = out + norm(state, f"{at}rbr_identity", x)
    return attention(state, f"{at}post_se", F.relu(attention(state, f"{at}se", out)))


def norm(state: dict[str, Tensor], at: str, x: Tensor) -> Tensor:
    mean, variance = state[f"{at}.running_mean"], state[f"{at}.running_var"]
    return F.batch_norm(x, mean, variance, state[f"{at}.weight"], state[f"{at}.bias"], eps=1e-5)


def attention(state: dict[str, Tensor], at: str, x: Tensor) -> Tensor:
    if f"{at}.down.weight" not in state:
        return x
    pooled = x.mean((2, 3), keepdim=True)
    hidden = F.relu(F.conv2d(pooled, state[f"{at}.down.weight"], state[f"{at}.down.bias"]))
    return x * torch.sigmoid(F.conv2d(hidden, state[f"{at}.up.weight"], state[f"{at}.up.bias"]))


@torch.no_grad()
def logits(model: Detector) -> dict[str, Tensor]:
    return model.eval().double()(IMAGES.double())


def taken_whole(model: Detector, state: dict[str, Tensor]) -> None:
    report = transfer(model, state)
    assert (report.skipped, report.missing) == ({}, ())
    assert len(report.loaded) == len(state)


@pytest.mark.parametrize("variant", ["A0", "B1g4"])
def test_the_official_networks(variant: str, shapes_of, random_state, difference):
    state = random_state(shapes_of(f"repvgg_{variant.lower()}"))
    model = build("repvgg", variant=variant)
    taken_whole(model, state)
    assert difference(logits(model)["logits"], official(state, IMAGES)["main"]) < 1e-12


def test_a_deployed_one(shapes_of, random_state, difference):
    state = random_state(shapes_of("repvgg_a0_deploy"))
    model = fuse_modules(build("repvgg", variant="A0"))
    taken_whole(model, state)
    assert difference(logits(model)["logits"], official(state, IMAGES)["main"]) < 1e-12


def test_squeeze_and_excitation(shapes_of, random_state, difference, build_changed):
    """D2se, all its blocks, at half its widths."""
    half = {name: scaled(shape, 2) for name, shape in shapes_of("repvgg_d2se").items()}
    old = "w0: 64, w1: 160, w2: 320, w3: 640, w4: 2560, n1: 8, n2: 14, n3: 24"
    new = "w0: 32, w1: 80, w2: 160, w3: 320, w4: 1280, n1: 8, n2: 14, n3: 24"
    model = build_changed("repvgg", {old: new}, 500, "D2se")
    state = random_state(half)
    taken_whole(model, state)
    assert difference(logits(model)["logits"], official(state, IMAGES)["main"]) < 1e-12


def test_repvgg_plus(shapes_of, random_state, difference, build_changed):
    """L2pse, all its blocks and auxiliary classifiers, at an eighth of its widths."""
    eighth = {name: scaled(shape, 8) for name, shape in shapes_of("repvggplus_l2pse").items()}
    model = build_changed("repvgg", EIGHTH, 125, "plus-L2pse")
    state = random_state(eighth)
    taken_whole(model, state)
    found, expected = logits(model), official(state, IMAGES)
    assert difference(found["logits"], expected["main"]) < 1e-12
    for our, stage in zip(found["auxiliary"], ("stage1", "stage2", "stage3_first"), strict=True):
        assert difference(our, expected[stage]) < 1e-12


def scaled(shape: tuple[int, ...], divisor: int) -> tuple[int, ...]:
    """Fewer channels: sides of kernels, 3 and 1, and the image's three colours stay."""
    return tuple(size // divisor if size > 3 else size for size in shape)


@pytest.mark.parametrize(
    ("fixture", "variant"), [("d2se", "D2se"), ("plus_l2pse", "plus-L2pse"), ("b1g4", "B1g4")]
)
def test_shapes_of_the_large_ones(fixture: str, variant: str, shapes_of):
    shapes = shapes_of(f"repvgg{'' if fixture.startswith('plus') else '_'}{fixture}")
    with torch.device("meta"):
        taken_whole(
            build("repvgg", variant=variant),
            {name: torch.empty(shape) for name, shape in shapes.items()},
        )


# -------------------------------------------------------------------------------------------- timm


def timm_s(name: str) -> torch.nn.Module:
    """With random statistics and biases; ``tiny`` is of D2se's kind."""
    torch.manual_seed(0)
    if name != "tiny":
        model = timm.create_model(name, num_classes=10)
    else:
        cfg = ByoModelCfg(
            blocks=_rep_vgg_bcfg(d=(2, 2, 3, 1), wf=(0.5, 0.5, 0.5, 1)),
            stem_type="rep",
            stem_chs=32,
            attn_layer="se",
            attn_kwargs={"rd_ratio": 0.0625, "rd_divisor": 1},
        )
        model = ByobNet(cfg, num_classes=10)
    randomise_batch_norms(model)
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if path.endswith((".fc.bias", ".fc1.bias", ".fc2.bias")):
                parameter.uniform_(-0.5, 0.5)
    return model.eval()


@pytest.mark.parametrize(
    ("name", "variant"), [("repvgg_a0", "A0"), ("repvgg_b1g4", "B1g4"), ("tiny", "tiny")]
)
@torch.no_grad()
def test_timm_s_networks(name: str, variant: str, difference, build_changed):
    theirs = timm_s(name)
    model = build_changed("repvgg", {"variants:\n": TINY}, 10, variant)
    taken_whole(model, theirs.state_dict())
    assert difference(model.eval()(IMAGES)["logits"], theirs(IMAGES)) < 1e-5
    deployed = reparameterize_model(theirs)
    fused = fuse_modules(build_changed("repvgg", {"variants:\n": TINY}, 10, variant))
    taken_whole(fused, deployed.state_dict())
    assert difference(fused(IMAGES)["logits"], deployed(IMAGES)) < 1e-5


@pytest.mark.parametrize("name", timm.list_models("repvgg_*"))
def test_shapes_of_timm_s(name: str):
    word = name.removeprefix("repvgg_")
    variant = word[0].upper() + word[1:]
    with torch.device("meta"):
        taken_whole(build("repvgg", variant=variant), timm.create_model(name).state_dict())


# --------------------------------------------------------------------------------- files, backbones


@pytest.fixture(scope="module")
def a0(shapes_of, random_state) -> dict[str, Tensor]:
    return random_state(shapes_of("repvgg_a0"))


def test_a_file_starts_a_network_of_other_classes(a0: dict[str, Tensor], tmp_path):
    path = tmp_path / "RepVGG-A0-train.pth"
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in a0.items()}}, path)
    report = start_from(build("repvgg", 5, "A0"), path)
    assert report.skipped == {
        "rows.6.layers.2.weight": "is 1000×1280, expected 5×1280",
        "rows.6.layers.2.bias": "is 1000, expected 5",
    }
    assert (len(report.loaded), report.missing) == (349, ())
    # As a backbone's the file has no head at all.
    report = start_backbone_from(build("repvgg", 1000, "A0"), path)
    assert report.skipped == {}
    assert report.missing == ("rows.6.layers.2.weight", "rows.6.layers.2.bias")


def test_the_backbone_of_a_detector(a0: dict[str, Tensor], tmp_path):
    """Rows are single blocks; the input is RGB minus a mean, not divided by a deviation."""
    path = tmp_path / "RepVGG-A0-train.pth"
    torch.save(a0, path)
    model = build("ssd300_repvgg_a0", 3)
    report = start_backbone_from(model, path)
    own = model.state_dict()
    assert report.skipped == dict.fromkeys(
        ("linear.weight", "linear.bias"), "has no place in this network"
    )
    assert len(report.loaded) == 349
    assert set(report.missing) == {
        name for name in own if int(name.split(".")[1]) >= 8 or name not in report.loaded
    }
    assert report.lines()[0] == "start weights: 349 of 351 tensors loaded"
    # Rows 0, 1, 2, 3, 4 (of 3), 5, 6 (of 13), 7.
    for ours, theirs in (
        *(("1", "stage1.0"), ("2", "stage1.1"), ("3", "stage2.0"), ("4.0", "stage2.1")),
        *(("4.2", "stage2.3"), ("5", "stage3.0"), ("6.12", "stage3.13"), ("7", "stage4.0")),
    ):
        for our, their in (("conv", "rbr_dense.conv"), ("pointwise_bn", "rbr_1x1.bn")):
            found = own[f"rows.{ours}.{our}.weight"]
            assert torch.equal(found, a0[f"{theirs}.{their}.weight"])
    scale = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    found = own["rows.0.pointwise.weight"] * scale
    torch.testing.assert_close(found, a0["stage0.rbr_1x1.conv.weight"])


def test_shapes_that_differ_are_left():
    """yolov5_repvgg is A1 but for its last block of 512 channels; of A0 it has the depth."""
    model = build("yolov5_repvgg", 3).to("meta")
    with torch.device("meta"):
        a1, a0 = (timm.create_model(f"repvgg_{name}").state_dict() for name in ("a1", "a0"))
    report = transfer(model, a1)
    last = {f"rows.7.{part}" for part in ("conv.weight", "pointwise.weight")} | {
        f"rows.7.{norm}.{part}"
        for norm in ("bn", "pointwise_bn")
        for part in ("weight", "bias", "running_mean", "running_var")
    }
    assert set(report.skipped) == last | {"head.fc.weight", "head.fc.bias"}
    assert report.skipped["rows.7.conv.weight"] == "is 1280×256×3×3, expected 512×256×3×3"
    with pytest.raises(DetectorError) as caught:
        transfer(model, a0)
    assert str(caught.value) == (
        "none of its 351 weights fits this network; they belong to another model file"
    )


# ---------------------------------------------------------------------------------------- bad input


def test_recognition(a0: dict[str, Tensor]):
    assert is_repvgg(a0)
    for name in ("stage0.rbr_reparam.weight", "stem.conv_kxk.conv.weight"):
        assert is_repvgg({name: torch.ones(1)})
    assert not is_repvgg({})
    assert not is_repvgg({"stage1.0.rbr_dense.conv.weight": torch.ones(1)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"stage2.1.rbr_1x1.bn.weight": None},
            "RepVGG weights: block 'stage2.1' has nothing for 'pointwise_bn.weight'",
        ),
        (
            {"stage2.0.rbr_identity.weight": torch.ones(96)},
            "RepVGG weights: block 'stage2.0' has 'identity_bn.weight', which has no place in the "
            "network",
        ),
        (
            {"stage2.0.rbr_avg.weight": torch.ones(96)},
            "RepVGG weights: 'stage2.0.rbr_avg.weight' has no place in the network",
        ),
        (
            {"fc.bias": torch.ones(96)},
            "RepVGG weights: 'fc.bias' has no place in the network",
        ),
        (
            {"stage4.1.rbr_dense.conv.weight": torch.ones(1)},
            "RepVGG weights: expected 22 blocks, found 23",
        ),
        (
            {"stage0.rbr_reparam.weight": torch.ones(1)},
            "RepVGG weights are deployed, their branches fused; the network has branches: expected "
            "the weights as trained, or a network of detector.model.deploy.fuse_modules",
        ),
    ],
)
def test_other_tensors(a0: dict[str, Tensor], change: dict, message: str):
    state = {n: t for n, t in {**a0, **change}.items() if t is not None}
    with torch.device("meta"):
        model = build("repvgg", variant="A0")
    with pytest.raises(DetectorError) as caught:
        with_our_names(state, model)
    assert str(caught.value) == message


def test_counters_may_be_missing(a0: dict[str, Tensor]):
    state = {name: t for name, t in a0.items() if not name.endswith("num_batches_tracked")}
    with torch.device("meta"):
        model = build("repvgg", variant="A0")
    report = transfer(model, state)
    assert report.skipped == {}
    assert all(name.endswith("num_batches_tracked") for name in report.missing)


def test_weights_with_branches_do_not_fit_a_deployed_network(a0: dict[str, Tensor]):
    with torch.device("meta"):
        model = fuse_modules(build("repvgg", variant="A0"))
    with pytest.raises(DetectorError) as caught:
        with_our_names(a0, model)
    assert str(caught.value) == (
        "RepVGG weights have branches, the network is deployed: load them before deploying it"
    )


def test_another_network(a0: dict[str, Tensor]):
    with torch.device("meta"):
        model = build("repvgg", variant="B0")
    with pytest.raises(DetectorError, match="^RepVGG weights: expected 28 blocks, found 22$"):
        with_our_names(a0, model)
