"""A second head for training: both give raw outputs, the main one decodes, deploying drops it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from detector.heads.auxiliary import AuxiliaryHead, IAuxDetect
from detector.heads.implicit import IDetect
from detector.layers.repvgg import randomise_batch_norms
from detector.losses import AuxiliaryLoss
from detector.model.deploy import deploy
from detector.model.detector import Detector, build_model_file
from detector.model.model_file import check_model_file
from detector.structures.samples import Targets
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import YamlFile
from detector.weights.checkpoint import load, save_weights

MODEL = """
nc: 2
imgsz: 64
anchors: [[10, 13], [30, 61]]
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 4]]                # 1-P3/8
  - [-1, 1, Conv, [16, 3, 2]]               # 2-P4/16
head:
  - [1, 1, Conv, [16, 3, 1]]                # 3, training only
  - [-1, 1, Conv, [8, 3, 2]]                # 4, training only
  - [[-1, 2], 1, Concat, [1]]               # 5, training only
  - [[1, 2, 3, 5], 1, HEAD, ARGS]
"""
HEADS = {"DualGroupedDFLHead": "[nc]", "IAuxDetect": "[nc, anchors]"}


def small(name: str) -> Detector:
    torch.manual_seed(0)
    text = MODEL.replace("HEAD", name).replace("ARGS", HEADS[name])
    return build_model_file(check_model_file(YamlFile(Path("a.yaml"), text)))


@pytest.fixture(params=HEADS)
def model(request: pytest.FixtureRequest) -> Detector:
    return small(request.param)


def test_both_heads_give_raw_outputs_and_the_main_one_decodes(model: Detector) -> None:
    assert model.strides == (8, 16)
    head = model.head
    assert isinstance(head, AuxiliaryHead)
    features = [torch.rand(1, c, 64 // s, 64 // s) for c, s in ((8, 8), (16, 16)) * 2]
    features[2:] = [torch.rand(1, 16, 8, 8), torch.rand(1, 24, 4, 4)]
    for mode in (True, False):  # the same in training and evaluation
        raw_outputs = head.train(mode)(features)
        assert raw_outputs.keys() == {"main", "auxiliary"}
    expected = head.main.decode(head.main(features[:2]))
    for found, own in zip(head.decode(raw_outputs), expected, strict=True):
        torch.testing.assert_close(found, own)


def test_deploying_drops_the_rows_for_training(model: Detector, tmp_path: Path) -> None:
    randomise_batch_norms(model)
    save_weights(tmp_path / "a.safetensors", model)
    fused, report = deploy(model)
    assert report.difference_fp64 <= 1e-10
    assert report.difference_fp32 <= 1e-4
    assert [row.index for row in fused.plan if row.module == "nn.Identity"] == [3, 4, 5]
    assert fused.plan[-1].sources == (1, 2)
    assert fused.strides == (8, 16)
    prefixes = {name.split(".")[1] for name in fused.state_dict()}
    assert prefixes == {"0", "1", "2", "6"}
    assert not any("auxiliary" in name for name in fused.state_dict())
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        expected, found = (
            one.decode(one(images)) for one in (load(tmp_path / "a.safetensors"), fused)
        )
    for theirs, ours in zip(expected, found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    save_weights(tmp_path / "b.safetensors", fused)
    again = load(tmp_path / "b.safetensors")
    torch.testing.assert_close(again(images), fused(images))


def test_a_branch_for_training_only_may_read_the_image() -> None:
    """A row that is left out passes on what it reads: here the image, three channels."""
    text = MODEL.replace("[1, 1, Conv, [16, 3, 1]]", "[-4, 1, Conv, [16, 3, 8]]")
    text = text.replace("HEAD", "IAuxDetect").replace("ARGS", "[nc, anchors]")
    fused, _ = deploy(build_model_file(check_model_file(YamlFile(Path("a.yaml"), text))))
    left_out = [(row.index, row.channels, row.stride) for row in fused.plan if row.number == 0]
    assert left_out == [(3, 3, 1), (4, 3, 1), (5, 3, 1)]


def test_an_odd_number_of_rows() -> None:
    text = MODEL.replace("HEAD", "IAuxDetect").replace("ARGS", "[nc, anchors]")
    text = text.replace("[1, 2, 3, 5]", "[1, 2, 3]")
    with pytest.raises(DetectorError) as caught:
        build_model_file(check_model_file(YamlFile(Path("a.yaml"), text)))
    assert str(caught.value).endswith(
        "row 6 (IAuxDetect): reads as many rows for training only as for inference, found 3 in all"
    )


def test_hooks_reach_the_head_that_a_tensor_belongs_to() -> None:
    head = small("IAuxDetect").head
    assert isinstance(head, IAuxDetect)
    assert isinstance(head.main, IDetect)
    rows = head.class_rows("auxiliary.m.1.weight")
    assert rows is not None
    assert (rows.groups, rows.others) == (1, 5)
    assert head.class_rows("main.anchors_wh") is None
    head.check_trainable()
    head.main.fitted = False
    with pytest.raises(DetectorError, match="gives only the number of anchors"):
        head.check_trainable()
    head.mark_loaded({"main.anchors_wh"})
    head.check_trainable()


def test_the_loss_adds_a_share_of_the_auxiliary_ones() -> None:
    """1 and 2 of the main head; 0.25 · (10 + 20) of the other."""

    def losses(raw: Tensor, targets: Targets) -> dict[str, Tensor]:
        return {"loss_box": raw, "loss_class": 2 * raw}

    none = Targets(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0).long())
    raw_outputs = {"main": torch.tensor(1.0), "auxiliary": torch.tensor(10.0)}
    found = AuxiliaryLoss(losses, losses, 0.25)(raw_outputs, none)
    assert {name: float(value) for name, value in found.items()} == {
        "loss_box": 1,
        "loss_class": 2,
        "loss_auxiliary": 7.5,
    }
