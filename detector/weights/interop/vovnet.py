"""VoVNet classifiers (arXiv 1904.09730, V2: 1911.06667) of VoVNet.pytorch and of timm.

stigma0617/VoVNet.pytorch, models_vovnet/vovnet.py: ``stem.stem_1/conv``, ``stem.stem_1/norm``,
``stage2.OSA2_1.layers.0.OSA2_1_0/conv``, ``stage2.OSA2_1.concat.OSA2_1_concat/conv``; then
``classifier``.
timm, models/vovnet.py: ``stem.0.conv``, ``stem.0.bn``, ``stages.0.blocks.0.conv_mid.0.conv``,
``conv_concat``, ``attn.fc`` (eSE); then ``head.fc``. Its ``vovnet39a`` and ``vovnet57a``, without
eSE, leave out the identities of the paper: no name tells, thus it is the lack of eSE that does.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from detector.layers.conv import Conv
from detector.layers.osa import OSAModule
from detector.model.detector import Detector
from detector.utils.errors import DetectorError
from detector.weights.interop.blocks import (
    Names,
    backbone_blocks,
    fit_input,
    place_blocks,
    place_classifier,
    read_blocks,
)

_ORIGINAL = Names(
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
_TIMM = Names(
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
    """Whether the names are those of one of the two projects."""
    return _FIRST_OF_ORIGINAL in state or all(name in state for name in _FIRST_OF_TIMM)


def with_our_names(state: Mapping[str, Tensor], model: Detector) -> dict[str, Tensor]:
    """The weights under the names of a network whose backbone is VoVNet's.

    Args:
        state: for which :func:`is_vovnet` holds.
        model: not deployed.

    Raises:
        DetectorError: identities, the number of blocks, or a block's tensors are others.
    """
    if model.deployed:
        raise DetectorError(
            "VoVNet weights have batch norms, the network is deployed: load them before it is"
        )
    names = _ORIGINAL if _FIRST_OF_ORIGINAL in state else _TIMM
    found = read_blocks(state, names)
    found[0] = fit_input(found[0], model.preprocess)
    ours = _backbone(model)
    result = place_blocks(found, ours, names)
    _check_identities(ours, names is _ORIGINAL or any(".attn." in name for name in state))
    return {**result, **place_classifier(state, model, names)}


def _backbone(model: Detector) -> list[tuple[str, nn.Module]]:
    """The stem's convolutions and the OSA modules; not what follows the last of these."""
    blocks = list(backbone_blocks(model, (Conv, OSAModule)))
    while blocks and not isinstance(blocks[-1][1], OSAModule):
        blocks.pop()
    return blocks


def _check_identities(ours: list[tuple[str, nn.Module]], expected: bool) -> None:
    """Raise DetectorError unless a stage's modules from the second on add their input or not."""
    for path, module in ours:
        if not isinstance(module, OSAModule) or path.endswith(".0"):
            continue
        if module.identity != expected:
            raise DetectorError(
                f"VoVNet weights are of a network {'with' if expected else 'without'} identities "
                f"between OSA modules: expected OSA rows with identity: {expected}"
            )
