"""DenseNet classifiers (arXiv 1608.06993) of torchvision and timm, and PeleeNet (1804.06882).

torchvision, models/densenet.py: ``features.conv0``, ``features.norm0``,
``features.denseblock1.denselayer1.norm1``, ``.conv1``, ``.norm2``, ``.conv2``,
``features.transition1.norm``, ``.conv``, ``features.norm5``; then ``classifier``. The files that
torchvision publishes have ``norm.1`` for ``norm1``, and so on. timm's names are the same.
Robert-JunWang/PeleeNet, peleenet.py: ``features.stemblock.stem1.conv``, ``.norm``,
``features.denseblock1.denselayer1.branch1a.conv``, ``features.transition1.conv``; ``classifier``.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from detector.layers.conv import Conv
from detector.layers.densenet import DenseLayer, NormAct, PreActConv
from detector.layers.peleenet import PeleeStem, TwoWayDenseLayer
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

_LAYERS = r"features\.denseblock\d+\.denselayer\d+"
_TRANSITIONS = r"features\.transition\d+"
_DENSENET = NamePatterns(
    project="DenseNet",
    blocks=(r"features(?=\.(?:conv|norm)0)", _LAYERS, _TRANSITIONS, r"features(?=\.norm5)"),
    parts=(
        (r"\.conv0", "conv"),
        (r"\.norm0", "bn"),
        (r"\.norm\.?1", "norm.bn"),
        (r"\.conv\.?1", "reduce.conv"),
        (r"\.norm\.?2", "reduce.bn"),
        (r"\.conv\.?2", "grow"),
        (r"\.norm", "norm.bn"),
        (r"\.conv", "conv"),
        (r"\.norm5", "bn"),
    ),
    linear="classifier",
)
_PELEENET = NamePatterns(
    project="PeleeNet",
    blocks=(r"features\.stemblock", _LAYERS, _TRANSITIONS),
    parts=tuple(
        (rf"{theirs}\.{part}", f"{ours}{our_part}")
        for part, our_part in (("conv", "conv"), ("norm", "bn"))
        for theirs, ours in (
            (r"\.stem1", "first."),
            (r"\.stem2a", "reduce."),
            (r"\.stem2b", "down."),
            (r"\.stem3", "join."),
            (r"\.branch1a", "near.0."),
            (r"\.branch1b", "near.1."),
            (r"\.branch2a", "far.0."),
            (r"\.branch2b", "far.1."),
            (r"\.branch2c", "far.2."),
            ("", ""),
        )
    ),
    linear="classifier",
)
Kinds = tuple[type[nn.Module], ...]
_KINDS: dict[str, Kinds] = {
    _DENSENET.project: (Conv, DenseLayer, PreActConv, NormAct),
    _PELEENET.project: (PeleeStem, TwoWayDenseLayer, Conv),
}
"""Our modules for each of a project's patterns of blocks, by project."""


def is_densenet(state: Mapping[str, Tensor]) -> bool:
    """Return whether the names are those of one of the projects."""
    return _patterns(state) is not None


def with_our_names(state: Mapping[str, Tensor], model: Detector) -> dict[str, Tensor]:
    """Return the weights under the names of a network with such a backbone.

    Args:
        state: weights that satisfy :func:`is_densenet`.
        model: network to load them into; not deployed.

    Raises:
        DetectorError: the network is deployed, the numbers of blocks differ, or a block has other
            tensors.
    """
    patterns = _patterns(state)
    assert patterns is not None
    if model.deployed:
        raise DetectorError(
            f"{patterns.project} weights have batch norms, the network is deployed: "
            "load them before deploying it"
        )
    found = read_blocks(state, patterns)
    found[0] = fit_input(found[0], model.preprocess)
    ours = _of_kinds(model, _KINDS[patterns.project])
    return place_blocks(found, ours, patterns) | place_classifier(state, model, patterns)


def _patterns(state: Mapping[str, Tensor]) -> NamePatterns | None:
    if "features.conv0.weight" in state and "features.transition1.norm.weight" in state:
        return _DENSENET
    return _PELEENET if "features.stemblock.stem1.conv.weight" in state else None


def _of_kinds(model: Detector, kinds: Kinds) -> list[tuple[str, nn.Module]]:
    """Return paths and modules of the backbone's blocks, those of the first kind first."""
    blocks = list(backbone_blocks(model, kinds))
    return [block for kind in kinds for block in blocks if isinstance(block[1], kind)]
