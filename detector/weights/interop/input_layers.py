"""Conversion of the layers that read the image to an input with another mean, scale or order.

One run of the network shows which convolutions read the image, and where another mean goes: into
the convolution's bias, or the mean of the batch norm behind it
(:func:`detector.layers.traced_fuse.trace`).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from detector.layers.timm_backbone import TimmBackbone
from detector.layers.traced_fuse import trace
from detector.model.builder import IMAGE
from detector.model.detector import Detector
from detector.structures.preprocess import PreprocessKeys
from detector.utils.errors import DetectorError
from detector.weights.interop.blocks import Block, fit_input


def fit_input_layers(
    state: Mapping[str, Tensor], source: PreprocessKeys, model: Detector
) -> dict[str, Tensor]:
    """Convert the weights that read the image to the network's mean, scale and channel order.

    Args:
        state: weights under our names.
        source: the input that they were trained with.
        model: the network that is to start from them.

    Raises:
        DetectorError: other layers than convolutions read the image, or a convolution has neither
            a bias nor a batch norm that could take in another mean.
    """
    result, own, target = dict(state), model.state_dict(), model.preprocess
    if _values(source) == _values(target) or not state.keys() & own.keys():
        return result
    layers = trace(model, target.size_hw)
    if not layers.input_convolutions:
        raise _other_input(model, source)
    for path in layers.input_convolutions:
        weight = f"{path}.weight"
        if weight not in state or state[weight].shape != own[weight].shape:
            continue  # the network keeps its own
        names = {"conv.weight": weight}
        if f"{path}.bias" in own:
            names["conv.bias"] = f"{path}.bias"
        elif path in layers.shifted:
            names["bn.running_mean"] = f"{layers.shifted[path]}.running_mean"
        elif source.mean_rgb != target.mean_rgb:
            raise _other_input(model, source)
        tensors = {part: result.get(name, own[name]) for part, name in names.items()}
        fitted = fit_input(Block(path, tensors), target, source).tensors
        result |= {names[part]: tensor for part, tensor in fitted.items()}
    return result


def _values(keys: PreprocessKeys) -> tuple[object, ...]:
    return keys.mean_rgb, keys.scale_rgb, keys.channel_order


def _other_input(model: Detector, source: PreprocessKeys) -> DetectorError:
    rows = [(row, model.rows[row.index]) for row in model.plan if IMAGE in row.sources]
    timm = next((module.model for _, module in rows if isinstance(module, TimmBackbone)), None)
    first = ", ".join(f"row {row.index} ({row.module})" for row, _ in rows)
    what = (
        f"weights of timm's {timm} expect another input, and its first layers"
        if timm
        else f"the weights expect another input, and what reads the image in {first}"
    )
    mean, scale = ([*map(float, values)] for values in (source.mean_rgb, source.scale_rgb))
    same_order = source.channel_order == model.preprocess.channel_order
    order = "" if same_order else f"channel_order: {source.channel_order}, "
    return DetectorError(
        f"{what} cannot be converted; expected in the model file: preprocess: "
        f"{{{order}mean_rgb: {mean}, scale_rgb: {scale}}}"
    )
