"""One-shot aggregation: against timm, and the published VoVNets made of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from detector.layers.conv import Conv
from detector.layers.osa import OSAModule, OSAStage


def test_by_definition() -> None:
    module = OSAModule(8, 16, width=4, convs=3).eval()
    x = torch.rand(1, 8, 5, 5)
    features = [x]
    for conv in module.convs:
        features.append(conv(features[-1]))
    assert [m.shape[1] for m in features] == [8, 4, 4, 4]
    torch.testing.assert_close(module(x), module.concat(torch.cat(features, 1)))


def test_identity_is_added_from_the_second_module_on() -> None:
    stage = OSAStage(8, 16, 4, repeats=3)
    assert [module.identity for module in stage] == [False, True, True]  # type: ignore[union-attr]
    stage = OSAStage(8, 16, 4, repeats=3, identity=False)
    assert [module.identity for module in stage] == [False, False, False]  # type: ignore[union-attr]
    assert not OSAStage(16, 16, 4)[0].identity  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="^an identity from 8 to 16 channels$"):
        OSAModule(8, 16, 4, identity=True)


@pytest.mark.parametrize("ese", [False, True])
@pytest.mark.parametrize("repeats", [1, 2])
def test_equals_timm(repeats: int, ese: bool) -> None:
    vovnet = pytest.importorskip("timm.models.vovnet")
    attn = "ese" if ese else ""
    theirs = nn.Sequential(
        *(
            vovnet.OsaBlock(
                24 if i else 16,
                8,
                24,
                layer_per_block=5,
                residual=i > 0,
                attn=attn if i == repeats - 1 else "",  # as its stages have it
            )
            for i in range(repeats)
        )
    ).eval()
    ours = OSAStage(16, 24, 8, repeats, ese=ese, activation="ReLU").eval()

    def tensors(model: nn.Module) -> list[torch.Tensor]:
        """Return weights and statistics of convolutions and norms in the order of computation."""
        kinds = (nn.Conv2d, nn.BatchNorm2d)
        modules = [module for module in model.modules() if isinstance(module, kinds)]
        return [tensor for module in modules for tensor in module.state_dict().values()]

    for mine, other in zip(tensors(ours), tensors(theirs), strict=True):
        if mine.is_floating_point():
            other.copy_(torch.rand(other.shape) + 0.1)
        mine.copy_(other)
    x = torch.rand(2, 16, 9, 7)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


class VoVNet(nn.Sequential):
    """The published VoVNet classifiers."""

    def __init__(self, widths: list[int], concats: list[int], modules: list[int]) -> None:
        act = "ReLU"
        stem = [Conv(3, 64, 3, 2), Conv(64, 64, 3), Conv(64, 128, 3, 2)]
        stages: list[nn.Module] = []
        c_in = 128
        for i, (width, concat, count) in enumerate(zip(widths, concats, modules, strict=True)):
            stages += [nn.MaxPool2d(3, 2, ceil_mode=True)] if i else []
            stages.append(OSAStage(c_in, concat, width, count, activation=act))
            c_in = concat
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_in, 1000)]
        super().__init__(*stem, *stages, *head)


SLIM = [64, 80, 96, 112], [128, 256, 384, 512]
WIDE = [128, 160, 192, 224], [256, 512, 768, 1024]


@pytest.mark.parametrize(
    ("model", "params", "gmac", "identities"),
    [
        ((*SLIM, [1, 1, 1, 1]), 3_525_736, 2.177, 0),
        ((*WIDE, [1, 1, 2, 2]), 22_600_296, 7.072, 2),
        ((*WIDE, [1, 1, 4, 3]), 36_640_296, 8.930, 5),
    ],
    ids=["27-slim", "39", "57"],
)
def test_published_models(
    model: tuple[list[int], list[int], list[int]], params: int, gmac: float, identities: int
) -> None:
    with torch.device("meta"):
        network = VoVNet(*model).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, 224, 224))
    assert sum(p.numel() for p in network.parameters()) == params
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, abs=5e-4)
    found = sum(m.identity for m in network.modules() if isinstance(m, OSAModule))
    assert found == identities


def test_bottleneck_of_the_ablation() -> None:
    """The paper's ablation has a 1×1 convolution, here to 4 channels, before each chained one."""
    stage = OSAStage(16, 24, 8, convs=2, bottleneck=4)
    shapes = [tuple(m.weight.shape) for m in stage.modules() if isinstance(m, nn.Conv2d)]
    assert shapes == [(4, 16, 1, 1), (8, 4, 3, 3), (4, 8, 1, 1), (8, 4, 3, 3), (24, 32, 1, 1)]
    assert stage.eval()(torch.rand(1, 16, 5, 5)).shape == (1, 24, 5, 5)


def test_attention_is_in_a_stage_s_last_module() -> None:
    modules = list(OSAStage(16, 24, 8, repeats=3, ese=True))
    assert [isinstance(module.ese, nn.Identity) for module in modules] == [True, True, False]
