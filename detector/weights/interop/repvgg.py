"""RepVGG classifiers (arXiv 2101.03697) of the official project and of timm.

DingXiaoH/RepVGG, repvgg.py: ``stage0``, ``stage1.0`` … with ``rbr_dense.conv``, ``rbr_dense.bn``,
``rbr_1x1``, ``rbr_identity``, ``se``; deployed ``rbr_reparam``; then ``linear``. repvggplus.py:
``stage1.blocks.0``, stage 3 as ``stage3_first`` and ``stage3_second``, ``post_se``, and auxiliary
classifiers ``stage1_aux.0.conv``, ``stage1_aux.3``.
timm, models/byobnet.py: ``stem``, ``stages.0.0`` … with ``conv_kxk``, ``conv_1x1``, ``identity``,
``attn.fc1``; deployed ``reparam_conv``; then ``head.fc``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from detector.heads.head import AUXILIARY
from detector.layers.conv import FusedConv
from detector.layers.repvgg import RepVGGBlock
from detector.model.detector import Detector
from detector.utils.errors import DetectorError
from detector.weights.interop.blocks import (
    NamePatterns,
    backbone_blocks,
    fit_input,
    place_blocks,
    place_classifier,
    read_blocks,
)
from detector.weights.interop.order import natural

_OFFICIAL = NamePatterns(
    project="RepVGG",
    blocks=("stage0", r"stage[1-4](?:_first|_second)?(?:\.blocks)?\.\d+"),
    parts=(
        (r"\.rbr_dense\.(conv|bn)", r"\1"),
        (r"\.rbr_1x1\.conv", "pointwise"),
        (r"\.rbr_1x1\.bn", "pointwise_bn"),
        (r"\.rbr_identity", "identity_bn"),
        (r"\.(?:post_)?se\.(down|up)", r"se.\1"),
        (r"\.rbr_reparam", "conv"),
    ),
    linear="linear",
)
_TIMM = NamePatterns(
    project="timm's RepVGG",
    blocks=("stem", r"stages\.\d+\.\d+"),
    parts=(
        (r"\.conv_kxk\.(conv|bn)", r"\1"),
        (r"\.conv_1x1\.conv", "pointwise"),
        (r"\.conv_1x1\.bn", "pointwise_bn"),
        (r"\.identity", "identity_bn"),
        (r"\.attn\.fc1", "se.down"),
        (r"\.attn\.fc2", "se.up"),
        (r"\.reparam_conv", "conv"),
    ),
    linear=r"head\.fc",
)
_TRAINED = ("stage0.rbr_dense.conv.weight", "stem.conv_kxk.conv.weight")
_DEPLOYED = ("stage0.rbr_reparam.weight", "stem.reparam_conv.weight")
_AUXILIARY = re.compile(r"(stage\d(?:_first)?)_aux\.(.+)")


def is_repvgg(state: Mapping[str, Tensor]) -> bool:
    """Return whether the names are those of one of the two projects."""
    return any(name in state for name in (*_TRAINED, *_DEPLOYED))


def with_our_names(state: Mapping[str, Tensor], model: Detector) -> dict[str, Tensor]:
    """Return the weights under the names of a network with a RepVGG backbone.

    Args:
        state: weights that satisfy :func:`is_repvgg`.
        model: network to load them into; deployed if and only if the weights are.

    Raises:
        DetectorError: only one of the two is deployed, the numbers of blocks differ, or a block
            has other tensors.
    """
    _check_form(state, model)
    patterns = _OFFICIAL if any(name.startswith("stage0.") for name in state) else _TIMM
    auxiliary = {name: tensor for name, tensor in state.items() if _AUXILIARY.fullmatch(name)}
    found = read_blocks({n: t for n, t in state.items() if n not in auxiliary}, patterns)
    found[0] = fit_input(found[0], model.preprocess)
    ours = list(backbone_blocks(model, (FusedConv if model.deployed else RepVGGBlock,)))
    return {
        **place_blocks(found, ours, patterns),
        **place_classifier(state, model, patterns),
        **_place_auxiliary(auxiliary, model),
    }


def _check_form(state: Mapping[str, Tensor], model: Detector) -> None:
    """Raise DetectorError unless weights and network are both deployed or both not."""
    deployed = any(name in state for name in _DEPLOYED)
    if deployed and not model.deployed:
        raise DetectorError(
            "RepVGG weights are deployed, their branches fused; the network has branches: "
            "expected the weights as trained, or a network of detector.model.deploy.fuse_modules"
        )
    if model.deployed and not deployed:
        raise DetectorError(
            "RepVGG weights have branches, the network is deployed: load them before deploying it"
        )


def _place_auxiliary(state: Mapping[str, Tensor], model: Detector) -> dict[str, Tensor]:
    """Rename RepVGGplus's auxiliary classifiers to ours, matched in the order of stages.

    Names are kept if the network has another number of auxiliary classifiers.
    """
    matches = {name: match for name in state if (match := _AUXILIARY.fullmatch(name))}
    stages = sorted({match[1] for match in matches.values()}, key=natural)
    head = f"rows.{len(model.plan) - 1}.{AUXILIARY}"
    classifiers = {name.split(".")[3] for name in model.state_dict() if name.startswith(f"{head}.")}
    if len(classifiers) != len(stages):
        return dict(state)
    return {
        f"{head}.{stages.index(match[1])}.{match[2]}": state[name]
        for name, match in matches.items()
    }
