"""VoVNet classifiers (arXiv 1904.09730, V2: 1911.06667) of VoVNet.pytorch and of timm.

stigma0617/VoVNet.pytorch, models_vovnet/vovnet.py: ``stem.stem_1/conv``, ``stem.stem_1/norm``,
``stage2.OSA2_1.layers.0.OSA2_1_0/conv``, ``stage2.OSA2_1.concat.OSA2_1_concat/conv``; then
``classifier``.
timm, models/vovnet.py: ``stem.0.conv``, ``stem.0.bn``, ``stages.0.blocks.0.conv_mid.0.conv``,
``conv_concat``, ``attn.fc`` (eSE); then ``head.fc``. Its ``vovnet39a`` and ``vovnet57a`` have
neither eSE nor the paper's identity connections. Identities do not show in tensor names, so weights
of timm without eSE are taken to have none.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from detector.layers.conv import Conv
from detector.layers.osa import OSAModule
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

_ORIGINAL = NamePatterns(
    project="VoVNet",
    blocks=(r"stem\.stem_\d+", r"stage\d+\.OSA\d+_\d+"),
    parts=(
        ("/conv", "conv"),
        ("/norm", "bn"),
        (r"\.layers\.(\d+)\.OSA\d+_\d+_\d+/conv", r"convs.\1.conv"),
        (r"\.layers\.(\d+)\.OSA\d+_\d+_\d+/norm", r"convs.\1.bn"),
        (r"\.concat\.OSA\d+_\d+_concat/conv", "concat.conv"),
        (r"\.concat\.OSA\d+_\d+_concat/norm", "concat.bn"),
    ),
    linear="classifier",
)
_TIMM = NamePatterns(
    project="timm's VoVNet",
    blocks=(r"stem\.\d+", r"stages\.\d+\.blocks\.\d+"),
    parts=(
        (r"\.(conv|bn)", r"\1"),
        (r"\.conv_mid\.(\d+)\.(conv|bn)", r"convs.\1.\2"),
        (r"\.conv_concat\.(conv|bn)", r"concat.\1"),
        (r"\.attn\.fc", "ese.fc"),
    ),
    linear=r"head\.fc",
)
_FIRST_OF_ORIGINAL = "stem.stem_1/conv.weight"
_FIRST_OF_TIMM = ("stem.0.conv.weight", "stages.0.blocks.0.conv_concat.conv.weight")


def is_vovnet(state: Mapping[str, Tensor]) -> bool:
    """Return whether the names are those of one of the two projects."""
    return _FIRST_OF_ORIGINAL in state or all(name in state for name in _FIRST_OF_TIMM)


def with_our_names(state: Mapping[str, Tensor], model: Detector) -> dict[str, Tensor]:
    """Return the weights under the names of a network with a VoVNet backbone.

    Args:
        state: weights that satisfy :func:`is_vovnet`.
        model: network to load them into; not deployed.

    Raises:
        DetectorError: the network is deployed, the numbers of blocks differ, a block has other
            tensors, or only one of the two has identity connections.
    """
    if model.deployed:
        raise DetectorError(
            "VoVNet weights have batch norms, the network is deployed: "
            "load them before deploying it"
        )
    patterns = _ORIGINAL if _FIRST_OF_ORIGINAL in state else _TIMM
    found = read_blocks(state, patterns)
    found[0] = fit_input(found[0], model.preprocess)
    ours = _backbone(model)
    result = place_blocks(found, ours, patterns)
    _check_identities(ours, patterns is _ORIGINAL or any(".attn." in name for name in state))
    return {**result, **place_classifier(state, model, patterns)}


def _backbone(model: Detector) -> list[tuple[str, nn.Module]]:
    """Return the stem's convolutions and the OSA modules, without blocks behind the last OSA."""
    blocks = list(backbone_blocks(model, (Conv, OSAModule)))
    while blocks and not isinstance(blocks[-1][1], OSAModule):
        blocks.pop()
    return blocks


def _check_identities(ours: list[tuple[str, nn.Module]], expected: bool) -> None:
    """Raise DetectorError unless a stage's OSA modules after the first add their input or not.

    Args:
        ours: paths and modules of the backbone's blocks.
        expected: whether they should have identity connections.
    """
    for path, module in ours:
        if not isinstance(module, OSAModule) or path.endswith(".0"):
            continue
        if module.identity != expected:
            raise DetectorError(
                f"VoVNet weights are of a network {'with' if expected else 'without'} identities "
                f"between OSA modules: expected OSA rows with identity: {expected}"
            )
