"""RepVGG's block: its outputs, its fused form, and the published models made of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from detector.layers.conv import FusedConv
from detector.layers.repvgg import RepVGGBlock, randomise_batch_norms


def difference(expected: torch.Tensor, found: torch.Tensor) -> float:
    return float((found - expected).abs().max().detach() / expected.abs().max().detach())


def test_by_definition() -> None:
    block = RepVGGBlock(8, 8).eval()
    randomise_batch_norms(block)
    assert block.identity_bn is not None
    x = torch.rand(2, 8, 6, 5)
    branches = (
        block.bn(nn.functional.conv2d(x, block.conv.weight, padding=1))
        + block.pointwise_bn(nn.functional.conv2d(x, block.pointwise.weight))
        + block.identity_bn(x)
    )
    torch.testing.assert_close(block(x), nn.functional.silu(branches))


@pytest.mark.parametrize(
    ("c_in", "c_out", "stride", "identity"),
    [(8, 8, 1, True), (8, 8, 2, False), (8, 16, 1, False), (3, 8, 2, False)],
)
def test_identity_rule(c_in: int, c_out: int, stride: int, identity: bool) -> None:
    assert (RepVGGBlock(c_in, c_out, stride=stride).identity_bn is not None) == identity


def test_attention_is_before_the_activation() -> None:
    block = RepVGGBlock(16, 16, use_se=True, activation="ReLU").eval()
    with torch.no_grad():  # a gate below zero is impossible, so look at a constant one
        block.se.up.weight.zero_()  # type: ignore[union-attr]
        block.se.up.bias.fill_(0.0)  # type: ignore[union-attr]
    plain = RepVGGBlock(16, 16, activation="ReLU").eval()
    plain.load_state_dict(block.state_dict(), strict=False)
    x = torch.randn(1, 16, 5, 7)
    torch.testing.assert_close(block(x), plain(x) / 2)  # σ(0) = ½
    order = [name for name, _ in block.fuse().named_children()]
    assert order.index("se") < order.index("act")


@pytest.mark.parametrize("use_se", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(
    ("c_in", "c_out", "kernel", "stride", "dilation"),
    [
        (8, 8, 3, 1, 1),
        (8, 16, 3, 2, 1),
        (8, 8, 3, 2, 1),
        (8, 8, 3, 1, 2),
        (8, 16, 3, 2, 2),
        (8, 8, 5, 1, 1),
        (8, 8, 1, 1, 1),
    ],
)
def test_fuse(
    c_in: int, c_out: int, kernel: int, stride: int, dilation: int, groups: int, use_se: bool
) -> None:
    block = RepVGGBlock(
        c_in, c_out, kernel, stride, dilation=dilation, groups=groups, use_se=use_se
    ).eval()
    randomise_batch_norms(block)
    x = torch.randn(2, c_in, 12, 9)
    with torch.no_grad():
        assert difference(block(x), block.fuse()(x)) <= 1e-4
        block, x = block.double(), x.double()
        expected = block(x)
        fused = block.fuse()
        assert difference(expected, fused(x)) <= 1e-10
        assert difference(expected, block(x)) == 0  # the block stays as it is
    assert isinstance(fused, FusedConv)
    assert sum(isinstance(module, nn.Conv2d) for module in fused.modules()) == 1 + 2 * use_se
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert not hasattr(fused, "fuse"), "fusing twice changes nothing"


@pytest.mark.parametrize("padding_mode", ["reflect", "replicate", "circular"])
def test_fuse_with_other_padding(padding_mode: str) -> None:
    block = RepVGGBlock(4, 4, padding_mode=padding_mode).double().eval()  # type: ignore[arg-type]
    randomise_batch_norms(block)
    x = torch.randn(1, 4, 6, 6, dtype=torch.float64)
    assert difference(block(x), block.fuse()(x)) <= 1e-10


def test_built_in_deployed_form() -> None:
    block = RepVGGBlock(8, 16, stride=2, deploy=True).eval()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in block.modules())
    x = torch.rand(1, 8, 6, 6)
    torch.testing.assert_close(block.fuse()(x), block(x), rtol=0, atol=0)
    trained = RepVGGBlock(8, 16, stride=2).fuse()
    assert {k: v.shape for k, v in trained.state_dict().items()} == {
        k: v.shape for k, v in block.state_dict().items()
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"padding": 0}, "^argument 'padding': the branches fit only with 1 here, found 0$"),
        ({"dilation": 2, "padding": 1}, "'padding': the branches fit only with 2 here, found 1$"),
        ({"groups": 3}, "^argument 'groups': 3 does not divide 8 → 8 channels$"),
    ],
)
def test_refused(values: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RepVGGBlock(8, 8, **values)  # type: ignore[arg-type]


class RepVGG(nn.Sequential):
    """The published RepVGG classifiers: stage 0, four stages, global average pool, linear."""

    def __init__(
        self, blocks: list[int], a: float, b: float, groups: int = 1, use_se: bool = False
    ) -> None:
        widths = [min(64, int(64 * a)), *(int(w * a) for w in (64, 128, 256)), int(512 * b)]
        layers: list[nn.Module] = []
        c_in = 3
        for count, width in zip([1, *blocks], widths, strict=True):
            for i in range(count):
                number = len(layers)
                layers.append(
                    RepVGGBlock(
                        c_in,
                        width,
                        stride=1 if i else 2,
                        groups=groups if number in range(2, 27, 2) else 1,
                        use_se=use_se,
                        activation="ReLU",
                    )
                )
                c_in = width
        super().__init__(
            nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_in, 1000)
        )


A, B, D = [2, 4, 14, 1], [4, 6, 16, 1], [8, 14, 24, 1]


@pytest.mark.parametrize(
    ("model", "train_params", "deploy_params", "gmac"),
    [
        ((A, 0.75, 2.5), 9_108_968, 8_309_384, 1.361),
        ((A, 1.5, 2.75), 28_210_600, 25_499_944, 5.117),
        ((B, 1, 2.5), 15_817_960, 14_339_048, 3.058),
        ((B, 2, 4, 2), 45_782_376, 41_360_104, 8.810),
        ((B, 2, 4, 4), 39_966_056, 36_125_416, 7.307),
        ((D, 2.5, 5, 1, True), 133_334_836, 120_387_572, 32.830),
    ],
    ids=["A0", "A2", "B0", "B1g2", "B1g4", "D2se"],
)
def test_published_models(
    model: tuple[list[int], float, float], train_params: int, deploy_params: int, gmac: float
) -> None:
    with torch.device("meta"):
        network = RepVGG(*model).eval()
        assert sum(p.numel() for p in network.parameters()) == train_params
        network[0] = nn.Sequential(*(block.fuse() for block in network[0]))  # type: ignore[operator, union-attr]
        assert sum(p.numel() for p in network.parameters()) == deploy_params
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, 224, 224))
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, abs=5e-4)


# ------------------------------------------------------------------------- variants of the block


@pytest.mark.parametrize("pointwise", [True, False])
@pytest.mark.parametrize("identity", [True, False])
def test_fuse_without_branches(pointwise: bool, identity: bool) -> None:
    block = RepVGGBlock(8, 8, pointwise=pointwise, identity=identity).double().eval()
    randomise_batch_norms(block)
    names = {name.split(".")[0] for name, _ in block.named_parameters()}
    assert ("pointwise" in names, "identity_bn" in names) == (pointwise, identity)
    x = torch.randn(1, 8, 7, 7, dtype=torch.float64)
    assert difference(block(x), block.fuse()(x)) <= 1e-10


def test_attention_after_the_activation() -> None:
    block = RepVGGBlock(8, 8, use_se=True, se_ratio=4, se_last=True, activation="ReLU")
    block = block.double().eval()
    randomise_batch_norms(block)
    assert block.se.down.out_channels == 2  # type: ignore[union-attr]
    x = torch.randn(1, 8, 8, 12, dtype=torch.float64)
    plain = RepVGGBlock(8, 8, activation="ReLU").double().eval()
    plain.load_state_dict(block.state_dict(), strict=False)
    torch.testing.assert_close(block(x), block.se(plain(x)))
    assert difference(block(x), block.fuse()(x)) <= 1e-10


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 2)])
def test_fuse_with_tensorflow_s_padding(kernel: int, stride: int, groups: int) -> None:
    block = RepVGGBlock(8, 8, kernel, stride, groups=groups, padding_mode="same").double().eval()
    randomise_batch_norms(block)
    x = torch.randn(1, 8, 8, 12, dtype=torch.float64)
    fused = block.fuse()
    assert block(x).shape[2:] == (8 // stride, 12 // stride)
    assert difference(block(x), fused(x)) <= 1e-10


def test_tensorflow_s_padding_puts_the_pointwise_kernel_at_the_corner() -> None:
    block = RepVGGBlock(1, 1, stride=2, padding_mode="same").eval()
    with torch.no_grad():
        block.conv.weight.zero_()
        assert block.pointwise is not None
        block.pointwise.weight.fill_(1)
    weight = block.fuse().conv.weight[0, 0]
    assert weight[0, 0] > 0.9
    assert weight.flatten()[1:].tolist() == [0] * 8


def test_tensorflow_s_padding_and_odd_sides() -> None:
    block = RepVGGBlock(1, 1, stride=2, padding_mode="same")
    with pytest.raises(
        ValueError, match="the stride 2 must divide the feature map's sides, found 7×8$"
    ):
        block(torch.zeros(1, 1, 7, 8))
    with pytest.raises(ValueError, match="'padding_mode': 'same' fuses without dilation only$"):
        RepVGGBlock(1, 1, dilation=2, padding_mode="same")
