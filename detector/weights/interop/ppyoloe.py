"""PP-YOLOE's weights (PaddlePaddle/PaddleDetection, ppdet/modeling), as dictionaries of arrays.

``backbone.stages.0.blocks.0.conv2.conv1.bn._mean``: the backbone and the neck are named modules,
our ``cfg/ppyoloe.yaml`` has one row for each. The lists of ``yolo_head`` begin with the coarsest
level. PP-YOLOE+ learns a factor of each 1×1 branch of the backbone; in PP-YOLOE it is 1. A network
whose rows have ``alpha: False`` gets the factor as part of the branch's batch norm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from detector.model.detector import Detector, build
from detector.structures.preprocess import Preprocess, PreprocessKeys
from detector.utils.errors import DetectorError
from detector.weights.interop.bins import without_bins
from detector.weights.interop.blocks import COUNTER, IMAGENET
from detector.weights.interop.order import count_outputs, rename_all, renamed
from detector.weights.interop.own import fit_weights
from detector.weights.interop.packaged_names import coco_names

_ROWS = {
    "backbone.stem.conv1": "rows.0",
    "backbone.stem.conv2": "rows.1",
    "backbone.stem.conv3": "rows.2",
    **{f"backbone.stages.{i}.conv_down": f"rows.{3 + i}.0" for i in range(4)},
    **{f"backbone.stages.{i}": f"rows.{3 + i}.1" for i in range(4)},
    "neck.fpn_stages.0.0": "rows.7",
    "neck.fpn_routes.0": "rows.8",
    "neck.fpn_stages.1.0": "rows.11",
    "neck.fpn_routes.1": "rows.12",
    "neck.fpn_stages.2.0": "rows.15",
    "neck.pan_routes.1": "rows.16",
    "neck.pan_stages.1.0": "rows.18",
    "neck.pan_routes.0": "rows.19",
    "neck.pan_stages.0.0": "rows.21",
    "yolo_head": "rows.22",
}
"""Path in ``cfg/ppyoloe.yaml`` of each of the authors' modules."""
_MODULE = re.compile(
    rf"({'|'.join(re.escape(name) for name in sorted(_ROWS, key=len, reverse=True))})(?=\.)"
)
_PARTS = (
    (r"\._mean$", ".running_mean"),
    (r"\._variance$", ".running_var"),
    (r"^(rows\.[3-6]\.1)\.attn\.", r"\1.attention."),
    (r"\.(?:blocks|convs)\.(\d+)\.", r".chain.\1."),
    (r"(\.chain\.\d+\.conv2)\.conv1\.", r"\1.branches.0."),
    (r"(\.chain\.\d+\.conv2)\.conv2\.", r"\1.branches.1."),
    (r"(\.chain\.\d+\.conv2)\.alpha$", r"\1.branches.1.alpha"),
)
"""Patterns inside names → our words, in this order."""
_PAIR = re.compile(r"neck\.fpn_stages\.0\.0\.convs\.(\d+)\.")
"""Pairs of convs of the stage with the pyramid."""
_HEAD_LISTS = {
    "stem_reg": "box_convs",
    "stem_cls": "class_convs",
    "pred_reg": "box_layers",
    "pred_cls": "class_layers",
}
_LEVEL = re.compile(rf"(rows\.22)\.({'|'.join(_HEAD_LISTS)})\.(\d)(?=\.)")
_LAST_LEVEL = 2
_BRANCH = re.compile(r"(rows\..*\.chain\.\d+\.conv2\.branches\.1)\.((?:conv|bn)\..*)")
"""Path of a 1×1 branch, and a tensor in it."""

STEM = "backbone.stem.conv1.conv.weight"
CLASSES = "yolo_head.pred_cls.0.bias"
BINS = "yolo_head.proj_conv.weight"
"""The numbers 0, 1, … of the bins, which the authors' code stores and never trains."""
ALPHA = "backbone.stages.0.blocks.0.conv2.alpha"
VARIANTS = {16: "s", 24: "m", 32: "l", 40: "x"}
"""Variant of ``cfg/ppyoloe.yaml`` by the channels of the stem's first convolution."""
PLUS_INPUT = PreprocessKeys(mode="stretch")
INPUT = PreprocessKeys(mode="stretch", mean_rgb=IMAGENET.mean_rgb, scale_rgb=IMAGENET.scale_rgb)
"""The inputs that PP-YOLOE+ and PP-YOLOE were trained with."""


def is_ppyoloe(state: Mapping[str, Tensor]) -> bool:
    """Return whether the names are those of PP-YOLOE or PP-YOLOE+."""
    return STEM in state and CLASSES in state


def input_of(state: Mapping[str, Tensor]) -> PreprocessKeys:
    """Return the preprocessing that the weights were trained with."""
    return PLUS_INPUT if ALPHA in state else INPUT


def with_our_names(state: Mapping[str, Tensor], model: Detector) -> dict[str, Tensor]:
    """Return the weights under the names of ``cfg/ppyoloe.yaml``, for the network's own input.

    Raises:
        DetectorError: its bins are not 0, 1, ….
    """
    pyramid = _pyramid_place(state)
    result = rename_all(
        without_bins(state, (BINS,), "PP-YOLOE"), lambda name: _our_name(name, pyramid)
    )
    for name in list(result):
        if name.endswith(".running_mean"):
            result[f"{name.removesuffix('running_mean')}{COUNTER}"] = torch.tensor(0)
    return fit_weights(_with_factors(result, model), input_of(state), model)


def class_names(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return COCO's class names if the head has 80 classes; the weights hold no names."""
    return coco_names(count_outputs(state, CLASSES))


def build_network(state: Mapping[str, Tensor], path: Path) -> Detector:
    """Build the network of PP-YOLOE's weights, with fresh weights.

    Raises:
        DetectorError: the weights are not those of a published size.
    """
    width = count_outputs(state, STEM)
    if width not in VARIANTS:
        sizes = ", ".join(f"{count} ({name})" for count, name in VARIANTS.items())
        raise DetectorError(
            f"PP-YOLOE with {width} channels in its stem, expected {sizes}", file=path
        )
    model = build("ppyoloe", class_names(state) or count_outputs(state, CLASSES), VARIANTS[width])
    size_hw = model.preprocess.size_hw
    model.preprocess = Preprocess(size_hw=size_hw, **input_of(state).model_dump())
    return model


def _with_factors(state: Mapping[str, Tensor], model: Detector) -> dict[str, Tensor]:
    """Give 1×1 branches a factor where the network learns it; else their batch norms take it in."""
    own = model.state_dict()
    result = dict(state)
    for name in state:
        match = _BRANCH.fullmatch(name)
        if match is None:
            continue
        factor = f"{match[1]}.alpha"
        alpha = state.get(factor, torch.ones(1))
        if factor in own:
            result[factor] = alpha
            result[f"{match[1]}.branch.{match[2]}"] = result.pop(name)
        elif alpha.shape == (1,):
            result.pop(factor, None)
            if match[2] in ("bn.weight", "bn.bias"):
                result[name] = alpha * state[name]
    return result


def _pyramid_place(state: Mapping[str, Tensor]) -> int:
    """Return the place of the pyramid in the chain of its stage: after the middle pair."""
    pairs = {match[1] for name in state if (match := _PAIR.match(name))}
    return (len(pairs) + 1) // 2


def _our_name(name: str, pyramid: int) -> str:
    match = _MODULE.match(name)
    if match is None:
        return name
    if pair := _PAIR.match(name):  # the authors' numbers do not count the pyramid
        number = int(pair[1])
        name = f"{name[: pair.start(1)]}{number + (number >= pyramid)}{name[pair.end(1) :]}"
    name = f"{_ROWS[match[0]]}{name[match.end() :]}"
    name = name.replace(".convs.spp.conv.", f".chain.{pyramid}.1.")
    return _LEVEL.sub(
        lambda m: f"{m[1]}.{_HEAD_LISTS[m[2]]}.{_LAST_LEVEL - int(m[3])}",
        renamed(name, _PARTS),
        count=1,
    )
