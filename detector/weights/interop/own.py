"""Our own checkpoints as start weights of a network with another input or other block forms."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from detector.layers.conv import Conv
from detector.layers.vgg import ConvAct
from detector.model.detector import Detector
from detector.structures.preprocess import PreprocessKeys
from detector.weights.interop.blocks import Block, backbone_blocks, without_bias
from detector.weights.interop.input_layers import fit_input_layers

_KINDS = (Conv, ConvAct)


def fit_weights(
    state: Mapping[str, Tensor], source: PreprocessKeys, model: Detector
) -> dict[str, Tensor]:
    """Convert weights to a network's input, and biases to batch norms' means.

    Args:
        state: weights under our names.
        source: the preprocessing that the weights were trained with.
        model: the network that is to start from them.

    Returns:
        The converted weights. A bias becomes part of the batch norm's running mean where the
        network's convolution has no bias.

    Raises:
        DetectorError: the layers that read the image cannot be converted to the network's input.
    """
    result = fit_input_layers(state, source, model)
    for path, module in backbone_blocks(model, _KINDS):
        _replace(result, without_bias(_block(result, path), module))
    return result


def _block(state: Mapping[str, Tensor], path: str) -> Block:
    inside = f"{path}."
    return Block(
        path, {n.removeprefix(inside): t for n, t in state.items() if n.startswith(inside)}
    )


def _replace(state: dict[str, Tensor], block: Block) -> None:
    for name in [name for name in state if name.startswith(f"{block.path}.")]:
        del state[name]
    state |= {f"{block.path}.{name}": tensor for name, tensor in block.tensors.items()}
