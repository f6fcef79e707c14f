"""Weights of timm's networks as they are, for a backbone that is one of them.

``features_only`` renames layers: ``stages.0.blocks.1`` becomes ``stages_0.blocks.1``, and some
networks are put below ``model.``. Names are compared without dots, so that a classifier's weights
and those of its features both find their places.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from detector.layers.timm_backbone import TimmBackbone
from detector.model.detector import Detector
from detector.structures.preprocess import PreprocessKeys
from detector.utils.errors import DetectorError
from detector.weights.interop import blocks
from detector.weights.interop.blocks import Block

WRAPPER = "model."
"""Prefix of the names in networks that timm wraps to get their features."""


def find_timm_backbone(model: Detector) -> tuple[str, TimmBackbone] | None:
    """Return path and module of the row that is one of timm's networks, or None."""
    found = (i for i, module in enumerate(model.rows) if isinstance(module, TimmBackbone))
    index = next(found, None)
    if index is None:
        return None
    backbone = model.rows[index]
    assert isinstance(backbone, TimmBackbone)
    return f"rows.{index}", backbone


def is_of_timm_backbone(state: Mapping[str, Tensor], model: Detector) -> bool:
    """Return whether weights of another project have names of the network's timm backbone."""
    found = find_timm_backbone(model)
    ours = any(name.startswith("rows.") for name in state)
    return found is not None and not ours and bool(_places(state, found[1]))


def with_our_names(state: Mapping[str, Tensor], model: Detector) -> dict[str, Tensor]:
    """Return the weights under our names; those without a place, a classifier's, keep theirs.

    Args:
        state: weights that satisfy :func:`is_of_timm_backbone`.
        model: the network to load them into. They are converted to its input's mean and scale.

    Raises:
        DetectorError: they cannot be converted to the input; names the input that they expect.
    """
    found = find_timm_backbone(model)
    assert found is not None
    path, backbone = found
    places = _places(state, backbone)
    placed = {
        f"{path}.net.{places[name]}" if name in places else name: tensor
        for name, tensor in state.items()
    }
    return fit_timm_input(placed, backbone.published.input, model)


def fit_timm_input(
    state: Mapping[str, Tensor], source: PreprocessKeys, model: Detector
) -> dict[str, Tensor]:
    """Convert a timm backbone's weights to the network's input mean and scale.

    Args:
        state: weights under our names.
        source: mean and scale of the input that they were trained with.
        model: the network that is to start from them.

    Raises:
        DetectorError: other layers than convolutions read the image, or a convolution has neither
            a bias nor a batch norm that could take in another mean.
    """
    result, found = dict(state), find_timm_backbone(model)
    target = model.preprocess
    same_mean = target.mean_rgb == source.mean_rgb
    if found is None or (same_mean and target.scale_rgb == source.scale_rgb):
        return result
    path, backbone = found
    layers = backbone.trace()
    for conv in layers.input_convolutions:
        places = {"conv": f"{path}.net.{conv}"}
        if conv in layers.norms:
            places["bn"] = f"{path}.net.{layers.norms[conv]}"
        names = {
            f"{part}.{kind}": f"{place}.{kind}"
            for part, place in places.items()
            for kind in ("weight", "bias", "running_mean")
            if f"{place}.{kind}" in state and (part, kind) != ("bn", "bias")
        }
        if not same_mean and not {"conv.bias", "bn.running_mean"} & names.keys():
            raise _other_input(backbone, source)
        block = Block(conv, {part: state[name] for part, name in names.items()})
        fitted = blocks.fit_input(block, target, source).tensors
        result |= {names[part]: tensor for part, tensor in fitted.items()}
    if not layers.input_convolutions:
        raise _other_input(backbone, source)
    return result


def _other_input(backbone: TimmBackbone, source: PreprocessKeys) -> DetectorError:
    mean, scale = ([*map(float, values)] for values in (source.mean_rgb, source.scale_rgb))
    return DetectorError(
        f"weights of timm's {backbone.model} expect another input, and its first layers cannot be "
        f"converted; expected in the model file: preprocess: {{mean_rgb: {mean}, "
        f"scale_rgb: {scale}}}"
    )


def _places(state: Mapping[str, Tensor], backbone: TimmBackbone) -> dict[str, str]:
    """Return the names of weights that have a place in the backbone → the names there."""
    own = {_plain(name.removeprefix(WRAPPER)): name for name in backbone.net.state_dict()}
    plain = {name: _plain(name.removeprefix(WRAPPER)) for name in state}
    return {name: own[key] for name, key in plain.items() if key in own}


def _plain(name: str) -> str:
    return name.replace(".", "_")
