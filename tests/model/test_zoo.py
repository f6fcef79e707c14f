"""Published classifiers: parameter counts and other integers of their papers."""

import pytest
import torch

from detector.heads.classify import Classify
from detector.layers.osa import OSAModule
from detector.model.cost import Cost, cost
from detector.model.deploy import fuse_modules
from detector.model.detector import Detector, build

# variant: train params, deployed params, GMAC at 224, Winograd multiplications (G), both deployed
REPVGG = {
    "A0": (9_108_968, 8_309_384, 1.361, 0.747),
    "A1": (14_092_264, 12_789_864, 2.364, 1.272),
    "A2": (28_210_600, 25_499_944, 5.117, 2.660),
    "B0": (15_817_960, 14_339_048, 3.058, 1.580),
    "B1": (57_415_016, 51_829_480, 11.815, 5.907),
    "B1g2": (45_782_376, 41_360_104, 8.810, 4.571),
    "B1g4": (39_966_056, 36_125_416, 7.307, 3.903),
    "B2": (89_022_376, 80_315_112, 18.377, 9.144),
    "B2g2": (70_846_376, 63_956_712, 13.680, 7.057),
    "B2g4": (61_758_376, 55_777_512, 11.332, 6.013),
    "B3": (123_085_288, 110_960_872, 26.209, 12.914),
    "B3g2": (96_911_848, 87_404_776, 19.446, 9.909),
    "B3g4": (83_825_128, 75_626_728, 16.064, 8.406),
    "D2se": (133_334_836, 120_387_572, 32.830, 15.569),
    "plus-L2pse": (146_062_864, 127_151_960, 32.836, None),
}


def empty(name: str, variant: str | None, classes: int = 1000) -> Detector:
    """Return a network on the meta device, whose weights take no memory."""
    with torch.device("meta"):
        return build(name, classes, variant)


def costs(model: Detector) -> tuple[Cost, Cost]:
    with torch.device("meta"):
        return cost(model, (224, 224)), cost(fuse_modules(model), (224, 224))


@pytest.mark.parametrize("variant", REPVGG)
def test_repvgg(variant: str):
    train_params, deploy_params, gmac, winograd = REPVGG[variant]
    trained, deployed = costs(empty("repvgg", variant))
    assert (trained.params, deployed.params) == (train_params, deploy_params)
    assert deployed.macs / 1e9 == pytest.approx(gmac, abs=5e-4)
    if winograd is not None:
        assert deployed.winograd_muls / 1e9 == pytest.approx(winograd, abs=1e-3)


@pytest.mark.parametrize(
    ("pointwise", "identity", "expected"),
    [
        (True, True, 15_817_960),
        (True, False, 15_808_616),
        (False, True, 14_354_856),
        (False, False, 14_345_512),
    ],
)
def test_ablation_of_b0(pointwise: bool, identity: bool, expected: int, tmp_path):
    from detector.model.model_file import read_model_file

    text = read_model_file("repvgg").file.text
    text = text.replace(
        "pointwise: True, identity: True", f"pointwise: {pointwise}, identity: {identity}"
    )
    path = tmp_path / "ablation.yaml"
    path.write_text(text)
    assert costs(empty(str(path), "B0"))[0].params == expected


def test_auxiliary_classifiers():
    model = empty("repvgg", "plus-L2pse")
    assert isinstance(model.head, Classify)
    found = [sum(p.numel() for p in one.parameters()) for one in model.head.auxiliary]
    assert found == [391_720, 1_243_240, 4_328_680]
    assert not len(fuse_modules(model).head.auxiliary)


@pytest.mark.parametrize(
    ("variant", "params", "gmac", "identities"),
    [
        ("27-slim", 3_525_736, 2.177, 0),
        ("39", 22_600_296, 7.072, 2),
        ("57", 36_640_296, 8.930, 5),
        ("39a", 22_600_296, 7.072, 0),
        ("57a", 36_640_296, 8.930, 0),
    ],
)
def test_vovnet(variant: str, params: int, gmac: float, identities: int):
    model = empty("vovnet", variant)
    trained, deployed = costs(model)
    assert trained.params == params
    assert deployed.macs / 1e9 == pytest.approx(gmac, abs=5e-4)
    modules = [module for module in model.modules() if isinstance(module, OSAModule)]
    assert sum(module.identity for module in modules) == identities


@pytest.mark.parametrize(
    ("variant", "classes", "params", "gmac"),
    [
        ("16", 1000, 138_357_544, 15.470),
        ("16", 10, 134_301_514, None),
        ("19", 1000, 143_667_240, 19.632),
        ("19", 10, 139_611_210, None),
    ],
)
def test_vgg(variant: str, classes: int, params: int, gmac: float | None):
    trained, deployed = costs(empty("vgg", variant, classes))
    assert trained.params == deployed.params == params
    if gmac is not None:
        assert deployed.macs / 1e9 == pytest.approx(gmac, abs=5e-4)


def test_batch_norms_of_vgg_are_fused():
    trained, deployed = costs(empty("vgg", "19-bn"))
    # 2 · (2 · 64 + 2 · 128 + 4 · 256 + 8 · 512) weights and biases
    assert trained.params - deployed.params == 2 * (128 + 256 + 1024 + 4096)
    assert deployed.params == 143_667_240


@pytest.mark.parametrize(
    ("variant", "params", "deployed_params", "gmac"),
    [
        # params as timm counts them; multiply-adds of arXiv 2206.04040, table 9
        ("s0", 5_293_272, 2_078_504, 0.275),
        ("s1", 4_825_192, 4_764_840, 0.825),
        ("s2", 7_884_648, 7_808_168, 1.299),
        ("s3", 10_170_600, 10_078_312, 1.896),
        ("s4", 14_951_248, 14_838_352, 2.978),
    ],
)
def test_mobileone(variant: str, params: int, deployed_params: int, gmac: float):
    trained, deployed = costs(empty("mobileone", variant))
    assert (trained.params, deployed.params) == (params, deployed_params)
    assert deployed.macs / 1e9 == pytest.approx(gmac, abs=1.5e-3)


@pytest.mark.parametrize(
    ("name", "variant", "params", "gmac"),
    [
        # parameters and multiply-adds of torchvision, models/densenet.py
        ("densenet", "121", 7_978_856, 2.834),
        ("densenet", "161", 28_681_000, 7.728),
        ("densenet", "169", 14_149_480, 3.360),
        ("densenet", "201", 20_013_928, 4.291),
        # Robert-JunWang/PeleeNet, peleenet.py at 05e928a; its README says 508 M multiply-adds
        ("peleenet", "", 2_802_248, 0.508),
        # torchvision, models/resnet.py
        ("resnet", "50", 25_557_032, 4.089),
        ("resnet", "101", 44_549_160, 7.801),
    ],
)
def test_baselines_of_vovnet(name: str, variant: str, params: int, gmac: float):
    model = empty(name, variant or None)
    with torch.device("meta"):
        trained = cost(model, (224, 224))
    assert trained.params == params
    assert trained.macs / 1e9 == pytest.approx(gmac, abs=5e-4)


@pytest.mark.parametrize(
    ("variant", "stem", "block"),
    [("64-16", 128, (64, 16)), ("192-48", 128, (192, 48))],
)
def test_densenet_67(variant: str, stem: int, block: tuple[int, int]):
    """3 convolutions, 2 · (6 + 8 + 8 + 8) of dense layers, 4 transitions: 67."""
    model = empty("densenet67", variant)
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 67
    bottleneck, growth = block
    widths = [stem + 6 * growth, stem + 14 * growth, stem + 22 * growth]
    transitions = [row.channels for row in model.plan if row.module == "PreActConv"]
    assert transitions == [*widths, 256]
    assert [convolutions[3].out_channels, convolutions[4].out_channels] == [bottleneck, growth]


def test_densenet_67_is_a_variant_of_densenet():
    assert costs(empty("densenet", "67")) == costs(empty("densenet67", "64-16"))


def test_one_shot_aggregation_beside_dense_blocks():
    """DenseNet-40 and OSA modules of as many parameters (VoVNet, section 3.2).

    Convolutions without norms: 9 · 12 · (12 c + 12 · 66) in 12 layers on c channels;
    9 · (43 c + 4 · 43²) + (c + 5 · 43) · c_out for an OSA module of width 43.
    """
    rows = {}
    for variant in ("dense", "osa"):
        with torch.device("meta"):
            model = build("densenet40", variant=variant)
            rows[variant] = cost(model, (32, 32)).rows
    pairs = [(rows["dense"][i], rows["osa"][i + 1]) for i in (1, 5, 9)]
    blocks = ((16, 160, 43), (160, 304, 51), (304, 448, 51))
    for (dense, osa), (c, c_out, width) in zip(pairs, blocks, strict=True):
        assert (dense.module, dense.number, osa.module, osa.number) == ("DenseLayer", 12, "OSA", 1)
        norms = 2 * sum(c + 12 * layer for layer in range(12))
        assert dense.params - norms == 9 * 12 * (12 * c + 12 * 66)
        convolutions = 9 * (c * width + 4 * width**2) + (c + 5 * width) * c_out
        assert osa.params - 2 * (5 * width + c_out) == convolutions
        assert osa.params == pytest.approx(dense.params, rel=0.04)
        assert osa.memory_access < 0.8 * dense.memory_access
        assert osa.macs == pytest.approx(dense.macs, rel=0.04)
