"""Classification weights of other projects: their n-th block is the n-th of our backbone.

A project's names are a block's path, then what lies inside of it; :class:`Names` says how both
read, and what the inside is called here. Paths of ours come from the network itself, so that a
row of many blocks and many rows of one block are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from detector.heads.classify import AUXILIARY
from detector.model.detector import Detector
from detector.model.model_file import check_model_file
from detector.structures.preprocess import PreprocessKeys
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import YamlFile
from detector.weights.interop.order import natural

IMAGENET = PreprocessKeys(mean_rgb=(123.675, 116.28, 103.53), scale_rgb=(58.395, 57.12, 57.375))
"""What the projects' inputs are normalised with: ImageNet's mean and deviation, times 255."""

INPUT_LAYERS = {"conv": ("conv_bn", "bn"), "pointwise": ("pointwise_bn", "bn")}
"""Convolutions of a first block, which read the image; the first norm that is there follows."""
COUNTER = "num_batches_tracked"
"""Of a batch norm; torch did not always have it."""


@dataclass(frozen=True)
class Names:
    """How a project names its tensors.

    Attributes:
        project: for messages.
        blocks: patterns of a block's path, in the order of the network.
        parts: beginning of a name inside a block, a pattern, and its counterpart here.
        linear: pattern of the paths of the classifier's linear layers.
    """

    project: str
    blocks: tuple[str, ...]
    parts: tuple[tuple[str, str], ...]
    linear: str


@dataclass(frozen=True)
class Block:
    """A block of theirs: its path, and its tensors under the names they have in ours."""

    path: str
    tensors: dict[str, Tensor]


def read_blocks(state: Mapping[str, Tensor], names: Names) -> list[Block]:
    """Their blocks, the first one first; the classifier's tensors are passed over.

    Raises:
        DetectorError: a tensor belongs to neither.
    """
    found: dict[tuple[int, str], dict[str, Tensor]] = {}
    linear = re.compile(rf"{names.linear}\.(weight|bias)")
    for name, tensor in state.items():
        if linear.fullmatch(name):
            continue
        number, path = _block(name, names)
        part = _part(name.removeprefix(path), names)
        if part is None:
            raise DetectorError(f"{names.project} weights: {name!r} has no place in the network")
        found.setdefault((number, path), {})[part] = tensor
    order = sorted(found, key=lambda key: (key[0], natural(key[1])))
    return [Block(path, found[number, path]) for number, path in order]


def place_blocks(
    found: list[Block], ours: list[tuple[str, nn.Module]], names: Names
) -> dict[str, Tensor]:
    """Give the tensors of each block of theirs the names of ours.

    Raises:
        DetectorError: another number of blocks, or a block has other tensors.
    """
    if len(found) != len(ours):
        raise DetectorError(
            f"{names.project} weights: expected {len(ours)} blocks, found {len(found)}"
        )
    result: dict[str, Tensor] = {}
    for block, (path, module) in zip(found, ours, strict=True):
        _check_same(block, module, f"{names.project} weights: block {block.path!r}")
        result |= {f"{path}.{part}": tensor for part, tensor in block.tensors.items()}
    return result


def place_classifier(
    state: Mapping[str, Tensor], model: Detector, names: Names
) -> dict[str, Tensor]:
    """Give the linear layers our names; where the network has no such ones, theirs remain."""
    linear = re.compile(rf"({names.linear})\.(?:weight|bias)")
    paths = {name: match[1] for name in state if (match := linear.fullmatch(name))}
    theirs = sorted(set(paths.values()), key=natural)
    ours = _linear_layers(model)
    renamed = dict(zip(theirs, ours if len(ours) == len(theirs) else theirs, strict=True))
    return {name.replace(path, renamed[path], 1): state[name] for name, path in paths.items()}


def backbone_blocks(
    model: Detector, kinds: tuple[type[nn.Module], ...]
) -> Iterator[tuple[str, nn.Module]]:
    """Paths and modules of some kinds in the backbone's rows, alone or in a row of many."""
    for index in backbone_rows(model):
        yield from _of_kinds(f"rows.{index}", model.rows[index], kinds)


def backbone_rows(model: Detector) -> list[int]:
    """Indices of the rows that the model file calls backbone."""
    definition = model.definition
    file = YamlFile(Path(definition.path), definition.text)
    rows = check_model_file(file, definition.variant).rows
    return [row.index for row in rows if row.section == "backbone"]


def fit_input(first: Block, preprocess: PreprocessKeys, source: PreprocessKeys = IMAGENET) -> Block:
    """The first block for an input of another mean and scale than its own, ``source``.

    A pixel p is (p − m) / s there and x = (p − M) / S here, thus (S · x + M − m) / s: the scales go
    into the weights; what the means make goes into the bias, or from the batch norm's mean. That is
    exact but where the kernel reaches over the border, as zeros stand for another colour there.
    """
    mean, scale = _float64(source.mean_rgb), _float64(source.scale_rgb)
    factor = _float64(preprocess.scale_rgb) / scale
    offset = (_float64(preprocess.mean_rgb) - mean) / scale
    tensors = dict(first.tensors)
    for conv, norms in INPUT_LAYERS.items():
        weight = tensors.get(f"{conv}.weight")
        if weight is None or weight.ndim != 4 or weight.shape[1] != 3:
            continue
        shift = (weight * offset.to(weight.device)).sum((1, 2, 3))
        tensors[f"{conv}.weight"] = weight * factor.to(weight.device)
        places = [(f"{conv}.bias", shift), *((f"{norm}.running_mean", -shift) for norm in norms)]
        any(add(tensors, name, values) for name, values in places)  # in the first that there is
    return Block(first.path, tensors)


def without_bias(block: Block, module: nn.Module) -> Block:
    """The bias as part of the norm's mean, where our convolution has none."""
    tensors, own = dict(block.tensors), module.state_dict()
    bias = None if "conv.bias" in own else tensors.get("conv.bias")
    if bias is not None and "bn.running_mean" in own:
        tensors.setdefault("bn.running_mean", own["bn.running_mean"])
        if add(tensors, "bn.running_mean", -bias):
            del tensors["conv.bias"]
    return Block(block.path, tensors)


def add(tensors: dict[str, Tensor], name: str, values: Tensor) -> bool:
    """Add to a tensor in its place, if it is there and has that shape."""
    fits = name in tensors and tensors[name].shape == values.shape
    if fits:
        tensors[name] = tensors[name] + values
    return fits


def _float64(rgb: tuple[float, float, float]) -> Tensor:
    """A value for each colour, for weights of (c_out, 3, k, k)."""
    return torch.tensor(rgb, dtype=torch.float64).view(1, 3, 1, 1)


def _block(name: str, names: Names) -> tuple[int, str]:
    """Number of the pattern that a name begins with, and the block's path; else no path."""
    for number, pattern in enumerate(names.blocks):
        if match := re.match(rf"{pattern}(?=[./])", name):
            return number, match[0]
    return len(names.blocks), ""


def _part(inside: str, names: Names) -> str | None:
    """Our name for what is inside a block."""
    for theirs, ours in names.parts:
        if match := re.match(rf"{theirs}\.(?=\w+$)", inside):
            return f"{match.expand(ours)}.{inside[match.end() :]}"
    return None


def _check_same(block: Block, module: nn.Module, what: str) -> None:
    ours = module.state_dict()
    for name in ours:
        if name not in block.tensors and not name.endswith(COUNTER):
            raise DetectorError(f"{what} has nothing for {name!r}")
    for name in block.tensors:
        if name not in ours:
            raise DetectorError(f"{what} has {name!r}, which has no place in the network")


def _linear_layers(model: Detector) -> list[str]:
    """Return the names of the head's linear layers but those of auxiliary classifiers."""
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
