"""Classification weights of other projects, matched block by block with our backbone's.

A tensor's name consists of a block's path and a part inside the block; :class:`NamePatterns` holds
a project's patterns for both and our names for the parts. Our paths are taken from the network
itself, so it makes no difference whether blocks share a row or have one each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from detector.heads.head import AUXILIARY
from detector.layers.traced_fuse import COLOURS
from detector.model.detector import Detector
from detector.model.model_file import check_model_file
from detector.structures.preprocess import PreprocessKeys
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import YamlFile
from detector.weights.interop.order import natural

IMAGENET = PreprocessKeys(mean_rgb=(123.675, 116.28, 103.53), scale_rgb=(58.395, 57.12, 57.375))
"""Input normalization of the projects: ImageNet's mean and standard deviation, times 255."""

INPUT_LAYERS = {
    "conv": ("conv_bn", "bn"),
    "pointwise": ("pointwise_bn", "bn"),
    "first.conv": ("first.bn",),
}
"""Convolutions of a first block that read the image → candidates for the norm behind each; the
first one that exists is used."""
COUNTER = "num_batches_tracked"
"""Name of a batch norm's step counter, which weights saved by early versions of torch lack."""


@dataclass(frozen=True)
class NamePatterns:
    """Patterns of a project's tensor names.

    Attributes:
        project: the project's name, for messages.
        blocks: patterns of block paths, in network order.
        parts: pairs of a pattern for the start of a name inside a block, and our name for it.
        linear: pattern of the paths of the classifier's linear layers.
    """

    project: str
    blocks: tuple[str, ...]
    parts: tuple[tuple[str, str], ...]
    linear: str


@dataclass(frozen=True)
class Block:
    """A block of another project: its path, and its tensors under our names for the parts."""

    path: str
    tensors: dict[str, Tensor]


def read_blocks(state: Mapping[str, Tensor], patterns: NamePatterns) -> list[Block]:
    """Group the tensors by block, in network order; the classifier's tensors are left out.

    Raises:
        DetectorError: a tensor belongs neither to a block nor to the classifier.
    """
    found: dict[tuple[int, str], dict[str, Tensor]] = {}
    linear = re.compile(rf"{patterns.linear}\.(weight|bias)")
    for name, tensor in state.items():
        if linear.fullmatch(name):
            continue
        number, path = _block(name, patterns)
        part = _part(name.removeprefix(path), patterns)
        if part is None:
            raise DetectorError(f"{patterns.project} weights: {name!r} has no place in the network")
        found.setdefault((number, path), {})[part] = tensor
    order = sorted(found, key=lambda key: (key[0], natural(key[1])))
    return [Block(path, found[number, path]) for number, path in order]


def place_blocks(
    found: list[Block], ours: list[tuple[str, nn.Module]], patterns: NamePatterns
) -> dict[str, Tensor]:
    """Rename the tensors of each block to those of our block at the same position.

    Args:
        found: blocks of the other project.
        ours: paths and modules of our blocks.
        patterns: of the project, for messages.

    Raises:
        DetectorError: the numbers of blocks differ, or a block has other tensors than ours.
    """
    if len(found) != len(ours):
        raise DetectorError(
            f"{patterns.project} weights: expected {len(ours)} blocks, found {len(found)}"
        )
    result: dict[str, Tensor] = {}
    for block, (path, module) in zip(found, ours, strict=True):
        _check_same(block, module, f"{patterns.project} weights: block {block.path!r}")
        result |= {f"{path}.{part}": tensor for part, tensor in block.tensors.items()}
    return result


def place_classifier(
    state: Mapping[str, Tensor], model: Detector, patterns: NamePatterns
) -> dict[str, Tensor]:
    """Rename the classifier's linear layers to ours; keep the names if ours has another number."""
    linear = re.compile(rf"({patterns.linear})\.(?:weight|bias)")
    paths = {name: match[1] for name in state if (match := linear.fullmatch(name))}
    theirs = sorted(set(paths.values()), key=natural)
    ours = _linear_layers(model)
    renamed = dict(zip(theirs, ours if len(ours) == len(theirs) else theirs, strict=True))
    return {name.replace(path, renamed[path], 1): state[name] for name, path in paths.items()}


def backbone_blocks(
    model: Detector, kinds: tuple[type[nn.Module], ...]
) -> Iterator[tuple[str, nn.Module]]:
    """Yield path and module of each block of these kinds in the backbone's rows."""
    for index in backbone_rows(model):
        yield from _of_kinds(f"rows.{index}", model.rows[index], kinds)


def backbone_rows(model: Detector) -> list[int]:
    """Return the indices of the rows in the model file's section ``backbone``."""
    definition = model.definition
    file = YamlFile(Path(definition.path), definition.text)
    rows = check_model_file(file, definition.variant).rows
    return [row.index for row in rows if row.section == "backbone"]


def fit_input(first: Block, preprocess: PreprocessKeys, source: PreprocessKeys = IMAGENET) -> Block:
    """Convert the first block's weights to an input with another mean, scale or channel order.

    A pixel p was trained as (p − m) / s and is given as x = (p − M) / S, so that the trained value
    is (S · x + M − m) / s. The factor S / s is multiplied into the weights; the offset (M − m) / s
    is added to the bias, or subtracted from the batch norm's running mean. The result is exact
    except at the image border, where padding with zeros stands for another colour.

    Args:
        first: the first block.
        preprocess: M, S and the channel order of the network.
        source: m, s and the channel order of the weights.
    """
    mean, scale = _float64(source.mean_rgb), _float64(source.scale_rgb)
    factor = _float64(preprocess.scale_rgb) / scale
    offset = (_float64(preprocess.mean_rgb) - mean) / scale
    tensors = dict(first.tensors)
    for conv, norms in INPUT_LAYERS.items():
        weight = tensors.get(f"{conv}.weight")
        if weight is None or weight.ndim != 4 or weight.shape[1] % COLOURS:
            continue
        # (c_out, pixels, 3, k, k): Focus moves pixels here.
        rgb = weight.unflatten(1, (-1, COLOURS))
        rgb = rgb if source.channel_order == "rgb" else rgb.flip(2)
        shift = (rgb * offset.to(weight.device)).sum((1, 2, 3, 4))
        rgb = rgb * factor.to(weight.device)
        rgb = rgb if preprocess.channel_order == "rgb" else rgb.flip(2)
        tensors[f"{conv}.weight"] = rgb.flatten(1, 2)
        places = [(f"{conv}.bias", shift), *((f"{norm}.running_mean", -shift) for norm in norms)]
        any(add(tensors, name, values) for name, values in places)  # to the first that exists
    return Block(first.path, tensors)


def without_bias(block: Block, module: nn.Module) -> Block:
    """Move a block's bias into the batch norm's running mean if our convolution has no bias."""
    tensors, own = dict(block.tensors), module.state_dict()
    bias = None if "conv.bias" in own else tensors.get("conv.bias")
    if bias is not None and "bn.running_mean" in own:
        tensors.setdefault("bn.running_mean", own["bn.running_mean"])
        if add(tensors, "bn.running_mean", -bias):
            del tensors["conv.bias"]
    return Block(block.path, tensors)


def add(tensors: dict[str, Tensor], name: str, values: Tensor) -> bool:
    """Replace a tensor by its sum with ``values`` and return True, if it has their shape."""
    fits = name in tensors and tensors[name].shape == values.shape
    if fits:
        tensors[name] = tensors[name] + values
    return fits


def _float64(rgb: tuple[float, float, float]) -> Tensor:
    """Return one value per colour, shaped to multiply weights (c_out, 3, k, k)."""
    return torch.tensor(rgb, dtype=torch.float64).view(1, 3, 1, 1)


def _block(name: str, patterns: NamePatterns) -> tuple[int, str]:
    """Return the index of the block pattern that a name starts with, and the block's path.

    The path is empty and the index past the last pattern if none matches.
    """
    for number, pattern in enumerate(patterns.blocks):
        if match := re.match(rf"{pattern}(?=[./])", name):
            return number, match[0]
    return len(patterns.blocks), ""


def _part(inside: str, patterns: NamePatterns) -> str | None:
    """Return our name for a tensor inside a block, or None."""
    for theirs, ours in patterns.parts:
        if match := re.match(rf"{theirs}\.(?=\w+$)", inside):
            return f"{match.expand(ours)}.{inside[match.end() :]}"
    return None


def _check_same(block: Block, module: nn.Module, what: str) -> None:
    """Raise DetectorError if a block's tensors differ from our module's; ``what`` names it."""
    ours = module.state_dict()
    for name in ours:
        if name not in block.tensors and not name.endswith(COUNTER):
            raise DetectorError(f"{what} has nothing for {name!r}")
    for name in block.tensors:
        if name not in ours:
            raise DetectorError(f"{what} has {name!r}, which has no place in the network")


def _linear_layers(model: Detector) -> list[str]:
    """Return the paths of the head's linear layers except those of auxiliary classifiers."""
    prefix = f"rows.{len(model.plan) - 1}"
    return [
        f"{prefix}.{name}"
        for name, layer in model.head.named_modules()
        if isinstance(layer, nn.Linear) and not name.startswith(f"{AUXILIARY}.")
    ]


def _of_kinds(
    path: str, module: nn.Module, kinds: tuple[type[nn.Module], ...]
) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(module, kinds):
        yield path, module
    elif isinstance(module, nn.Sequential):
        for name, child in module.named_children():
            yield from _of_kinds(f"{path}.{name}", child, kinds)
