"""Deployment: equal outputs, an unmodified argument, planted errors."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from detector.layers.conv import Conv
from detector.layers.repvgg import RepVGGBlock, randomise_batch_norms
from detector.model.deploy import deploy, fuse_modules
from detector.model.detector import build, build_model_file
from detector.model.model_file import check_model_file
from detector.utils.errors import DetectorError
from detector.utils.files import packaged_files
from detector.utils.yaml_file import YamlFile

SMALL = """
nc: 3
anchors: [[10, 13, 16, 30], [30, 61, 62, 45]]
backbone:
  - [-1, 1, RepVGGBlock, [16, 3, 2]]
  - [-1, 2, RepVGGBlock, {c_out: 16, groups: GROUPS, use_se: SE}]
  - [-1, 1, RepVGGBlock, {c_out: 16, stride: 2, groups: GROUPS, dilation: 2}]
  - [-1, 1, OSA, [24, 8]]
head:
  - [-1, 1, C3, [16]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [[4, 5], 1, Detect, [nc, anchors]]
"""


def small_model(groups: int = 1, se: bool = False):
    text = SMALL.replace("GROUPS", str(groups)).replace("SE}", f"{se}}}")
    model = build_model_file(check_model_file(YamlFile(Path("small.yaml"), text)))
    randomise_batch_norms(model)
    return model


def configurations() -> list[Any]:
    """Return each file's default variant, and some that differ in more than widths and numbers."""
    names = [name for name in packaged_files("cfg") if "/" not in name]
    more = [("repvgg", "B1g4"), ("repvgg", "plus-L2pse"), ("vovnet", "39-v2"), ("vgg", "16-bn")]
    return [_marked(*pair) for pair in (*((name, None) for name in names), *more)]


LARGE = ("vgg", "ssd300_vgg16", "ssd300_vgg16bn", "ssd512_vgg16", "ssd512_repvgg_a0", "yolov5x")
LARGE += ("refinedet320_vgg16", "refinedet320_vovnet39", "refinedet512_vgg16")
LARGE += ("yolov5m", "yolov5l", "yolov5_vgg16bn", "dsod300_densenet67", "dsod300_peleenet")
LARGE += ("ssd300_neck", "refinedet320_neck", "ssd300_repvgg_a0")
"""Files of large networks, whose blocks smaller ones have, too."""


def _marked(name: str, variant: str | None) -> Any:
    is_slow = name in LARGE or variant == "plus-L2pse"
    return pytest.param(name, variant, marks=[pytest.mark.slow] if is_slow else [])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_network_in_half_precision_is_compared_in_it(dtype: torch.dtype):
    model = small_model().to(dtype)
    fused, report = deploy(model)
    assert next(fused.parameters()).dtype == dtype
    assert report.difference_fp64 <= 1e-10
    # A number keeps 11 significant bits in float16 and 8 in bfloat16: roundings of some 2⁻¹¹, 2⁻⁸.
    assert 1e-4 < report.difference_fp32 < 16 * torch.finfo(dtype).eps


def test_a_half_precision_network_whose_fused_form_differs(monkeypatch: pytest.MonkeyPatch):
    model = small_model().half()
    to = torch.nn.Module.to

    def spoilt(self: nn.Module, *args: Any, **values: Any) -> nn.Module:
        if torch.float16 in args:  # the cast of the fused network
            list(self.parameters())[-1].add_(1)  # a bias of the head
        return to(self, *args, **values)

    monkeypatch.setattr(torch.nn.Module, "to", spoilt)
    with pytest.raises(DetectorError, match=r"its raw outputs differ by \S+ in fp16, allowed are "):
        deploy(model)


def test_a_batch_without_images():
    with pytest.raises(DetectorError) as caught:
        deploy(small_model(), [torch.zeros(0, 3, 64, 64)])
    assert str(caught.value) == "a batch to compare the fused network on has no image"


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("se", [False, True])
def test_groups_se_strides_and_dilation(groups: int, se: bool):
    _, report = deploy(small_model(groups, se))
    assert report.difference_fp64 <= 1e-10
    assert report.worst_block_difference <= 1e-10
    assert report.difference_fp32 <= 1e-4


@pytest.mark.parametrize(("name", "variant"), configurations())
def test_every_model_file(name: str, variant: str | None):
    model = build(name, variant=variant)
    randomise_batch_norms(model)
    fused, report = deploy(model)
    assert report.difference_fp64 <= 1e-10
    assert report.difference_fp32 <= 1e-4
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())


def test_parameters_of_yolov5_repvgg():
    # 71 convolutions: 22 blocks lose their 1×1 branch → 49
    model = build("yolov5_repvgg")
    fused = fuse_modules(model)
    assert sum(p.numel() for p in fused.parameters()) == 12_798_333
    blocks = [module for module in model.modules() if isinstance(module, RepVGGBlock)]
    assert len(blocks) == 22
    assert sum(block.identity_bn is not None for block in blocks) == 17
    for network, convs, norms in ((model, 71, 85), (fused, 49, 0)):
        modules = list(network.modules())
        assert sum(isinstance(module, nn.Conv2d) for module in modules) == convs
        assert sum(isinstance(module, nn.BatchNorm2d) for module in modules) == norms


def test_the_argument_stays_as_it_is():
    model = small_model().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    deploy(model)
    assert model.training
    assert not model.deployed
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_real_images_are_compared_too():
    images = [torch.rand(2, 3, 64, 96), torch.rand(1, 3, 32, 32)]
    _, report = deploy(small_model(), images)
    assert report.images == 1 + 2 + 1


def test_a_second_fuse_changes_nothing():
    fused, _ = deploy(small_model())
    again, report = deploy(fused)
    assert report.fused_blocks == 0
    assert report.difference_fp64 == 0
    state = again.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in fused.state_dict().items())


@pytest.mark.parametrize(("sources", "blocks"), [("-1", 2), ("[-1, 0]", 3)])
def test_a_classifier_s_head_counts_with_auxiliary_classifiers(sources: str, blocks: int):
    text = f"""
backbone:
  - [-1, 1, RepVGGBlock, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [{sources}, 1, Classify, [nc]]
"""
    model = build_model_file(check_model_file(YamlFile(Path("a.yaml"), text)), 2)
    fused, report = deploy(model)
    assert report.fused_blocks == blocks
    assert deploy(fused)[1].fused_blocks == 0


def test_a_deployed_network_cannot_be_trained():
    fused, _ = deploy(small_model())
    with pytest.raises(DetectorError, match="a deployed network cannot be trained"):
        fused.train()


def test_a_wrong_fuse_is_named(monkeypatch: pytest.MonkeyPatch):
    right = RepVGGBlock.fuse

    def wrong(self: RepVGGBlock):
        fused = right(self)
        fused.conv.weight.data *= 1 + 1e-3
        return fused

    monkeypatch.setattr(RepVGGBlock, "fuse", wrong)
    with pytest.raises(DetectorError, match=r"fusing changes the network: block 'rows\.[0-2]"):
        deploy(small_model())


def test_a_fuse_that_is_not_a_number_is_named(monkeypatch: pytest.MonkeyPatch):
    right = Conv.fuse

    def wrong(self: Conv):
        fused = right(self)
        fused.conv.bias.data[0] = float("nan")
        return fused

    monkeypatch.setattr(Conv, "fuse", wrong)
    with pytest.raises(DetectorError, match=r"differs by nan of its largest output"):
        deploy(small_model())
