"""Lifetime of features while a network runs: kept only as long as a later row reads them."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detector.model.detector import Detector, build, build_model_file
from detector.model.model_file import check_model_file
from detector.utils.yaml_file import YamlFile

UNREAD = """\
nc: 3
imgsz: 64
anchors: [[10, 13], [30, 61]]
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
  - [0, 1, Conv, [8, 3, 2]]
  - [0, 1, Conv, [8, 3, 4]]
head:
  - [[2, 3], 1, Detect, [nc, anchors]]
"""


def live_outputs(model: Detector, images: Tensor) -> list[set[int]]:
    """Return, for each row, the earlier rows whose outputs are in memory when it begins."""
    outputs: dict[int, weakref.ref[Tensor]] = {}
    alive: list[set[int]] = []
    hooks = []
    for row, module in zip(model.plan, model.rows, strict=True):

        def before(_module: nn.Module, _inputs: Any) -> None:
            alive.append({index for index, ref in outputs.items() if ref() is not None})

        def after(_module: nn.Module, _inputs: Any, out: Any, index: int = row.index) -> None:
            if isinstance(out, Tensor):
                outputs[index] = weakref.ref(out)

        hooks += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    with torch.no_grad():
        model.eval()(images)
    for hook in hooks:
        hook.remove()
    return alive


def needed_outputs(model: Detector) -> list[set[int]]:
    """Return, for each row, the earlier rows whose outputs it or a later row reads."""
    return [
        {s for later in model.plan[row.index :] for s in later.sources if 0 <= s < row.index}
        for row in model.plan
    ]


@pytest.mark.parametrize("name", ["yolov5n", "yolov5_vovnet27slim"])
def test_only_what_a_later_row_reads_is_kept(name: str) -> None:
    model = build(name)
    assert live_outputs(model, torch.rand(1, 3, 64, 64)) == needed_outputs(model)


def test_an_output_no_row_reads_is_not_kept() -> None:
    model = build_model_file(check_model_file(YamlFile(Path("a.yaml"), UNREAD)))
    assert live_outputs(model, torch.rand(1, 3, 64, 64)) == [set(), {0}, {0}, {0, 2}, {2, 3}]
    assert [row.frees for row in model.plan] == [(-1,), (1,), (), (0,), (2, 3)]
