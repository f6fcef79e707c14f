"""Fusing of batch norms in networks of another library, whose blocks have no ``fuse`` of ours.

One run in eval mode, on the meta device, shows what reads what: a batch norm is folded into the
convolution before it if that convolution's output is read by this norm alone, and if both run
once. A convolution whose weight is computed (standardized weights) is not found by its weight, and
stays as it is.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from detector.layers.fuse import fold_batch_norm, plain_conv

aten = torch.ops.aten

BATCH_NORMS = (aten._native_batch_norm_legit_no_training.default, aten.native_batch_norm.default)
"""Operations of a batch norm in eval mode."""
MOVES = (
    aten.alias.default,
    aten.cat.default,
    aten.clone.default,
    aten.detach.default,
    aten.permute.default,
    aten.pixel_unshuffle.default,
    aten.reflection_pad2d.default,
    aten.replication_pad2d.default,
    aten.slice.Tensor,
    aten.view.default,
    aten._unsafe_view.default,
)
"""Operations that choose and order pixels, and compute nothing."""
COLOURS = 3
"""Channels of an image: red, green, blue."""


@dataclass(frozen=True)
class Trace:
    """Convolutions and batch norms of a network, by path, as one run shows them.

    Attributes:
        norms: convolution → the batch norm that alone reads its output.
        input_convolutions: convolutions that read the image, or its pixels moved into channels, in
            the order red, green, blue for each pixel; empty if anything else reads it, too.
        shifted: convolution among these → the batch norm that alone reads its output, or the sum
            that it is a part of; a constant added to the output can be added to the norm's mean.
    """

    norms: dict[str, str]
    input_convolutions: tuple[str, ...]
    shifted: dict[str, str] = field(default_factory=dict)


def trace(net: nn.Module, size_hw: tuple[int, int]) -> Trace:
    """Run a copy of a network on the meta device, and return what its convolutions feed.

    Args:
        net: network that takes (b, 3, h, w); not changed.
        size_hw: input size of the run, pixels.
    """
    traced = copy.deepcopy(net).eval().to("meta")
    dtype = next(traced.parameters()).dtype
    image = torch.empty(1, 3, *size_hw, dtype=dtype, device="meta")
    log = _Log()
    with torch.no_grad(), log:
        outputs = traced(image)
    log.count_as_read(outputs)
    modules = dict(traced.named_modules())
    convolutions = {
        id(module.weight): path
        for path, module in modules.items()
        if isinstance(module, nn.Conv2d) and len(log.readers[id(module.weight)]) == 1
    }
    norms = {
        id(module.running_mean): path
        for path, module in modules.items()
        if _is_foldable(module) and len(log.readers[id(module.running_mean)]) == 1
    }
    found = {
        conv: norm
        for conv, norm in _pairs(log, convolutions, norms)
        if modules[conv].out_channels == modules[norm].num_features
    }
    means = {
        id(module.running_mean): path for path, module in modules.items() if _is_foldable(module)
    }
    calls = list(_input_calls(log, image))
    inputs = {convolutions.get(id(call.weight)): call for call in calls if call is not None}
    if None in calls or None in inputs:
        return Trace(found, ())
    paths = tuple(path for path in inputs if path is not None)
    behind = {path: _norm_behind(log, inputs[path], means) for path in paths}
    return Trace(found, paths, {path: norm for path, norm in behind.items() if norm is not None})


def fold_batch_norms(net: nn.Module, found: Trace) -> None:
    """Fold batch norms into convolutions in place; what runs inside a norm after it is kept."""
    homes = defaultdict(list)  # a module may be registered under several paths
    for path, module in net.named_modules(remove_duplicate=False):
        homes[module].append(path)
    for conv_path, norm_path in found.norms.items():
        conv, norm = net.get_submodule(conv_path), net.get_submodule(norm_path)
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        fused = plain_conv(conv, fold_batch_norm(conv, norm))
        conv.weight, conv.bias = fused.weight, fused.bias
        for path in homes[norm]:
            parent, _, name = path.rpartition(".")
            setattr(net.get_submodule(parent), name, _without_norm(norm))


def _without_norm(norm: nn.BatchNorm2d) -> nn.Module:
    """Return what runs in a batch norm's module after the norm: timm's may end in an activation."""
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    after = (norm.drop, norm.act)
    return nn.Sequential(*(part for part in after if isinstance(part, nn.Module)))


def _is_foldable(module: nn.Module) -> bool:
    if not isinstance(module, nn.BatchNorm2d) or module.running_mean is None:
        return False
    if module._forward_hooks or module._forward_pre_hooks:  # a hook would see another value
        return False
    return type(module) is nn.BatchNorm2d or type(module).__name__ == "BatchNormAct2d"


class _Call:
    """One operation with its tensors, which it keeps alive, so that their ids stay their own."""

    def __init__(self, func: Any, args: tuple[Any, ...], kwargs: Any, output: Any) -> None:
        self.func = func
        self.args = args
        self.kwargs = kwargs or {}
        self.tensors = _tensors((args, kwargs))
        self.output = output

    @property
    def weight(self) -> Tensor | None:
        """The weight that a convolution multiplies by; None for any other operation."""
        return self.tensors[1] if self.func is aten.convolution.default else None


class _Log(TorchDispatchMode):
    """Records which operations read a tensor, by the tensor's id."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[_Call] = []
        self.readers: dict[int, list[_Call]] = defaultdict(list)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation and record it."""
        output = func(*args, **(kwargs or {}))
        self._record(_Call(func, args, kwargs, output))
        return output

    def count_as_read(self, outputs: Any) -> None:
        """Count the network's outputs as read once more, by its caller."""
        self._record(_Call(None, (outputs,), None, None))

    def _record(self, call: _Call) -> None:
        self.calls.append(call)
        for key in {id(tensor) for tensor in call.tensors}:
            self.readers[key].append(call)


def _pairs(
    log: _Log, convolutions: dict[int, str], norms: dict[int, str]
) -> Iterator[tuple[str, str]]:
    """Yield each convolution whose output has one reader, a batch norm, with that norm."""
    for call in log.calls:
        conv = convolutions.get(id(call.weight))
        readers = log.readers[id(call.output)] if conv is not None else []
        if conv is None or len(readers) != 1 or readers[0].tensors[0] is not call.output:
            continue
        keys = (id(tensor) for tensor in readers[0].tensors[1:])
        norm = next((norms[key] for key in keys if key in norms), None)
        if norm is not None:
            yield conv, norm


def _input_calls(log: _Log, image: Tensor) -> Iterator[_Call | None]:
    """Yield the convolutions that read the image or its pixels, and None for anything else.

    Moves of pixels are repeated on an image whose channels hold their own numbers, which shows
    what colours a convolution's input channels are.
    """
    colours = torch.arange(COLOURS, dtype=torch.float32).view(1, COLOURS, 1, 1)
    pixels = {id(image): colours.expand(image.shape)}
    for call in log.calls:
        held = [id(tensor) in pixels for tensor in call.tensors]
        if call.func in MOVES and all(held):
            args = tree_map(lambda value: pixels.get(id(value), value), call.args)
            pixels[id(call.output)] = call.func(*args, **call.kwargs)
        elif any(held):
            reads = held == [True] + [False] * (len(held) - 1) and call.weight is not None
            yield call if reads and _reads_colours(call, pixels[id(call.tensors[0])]) else None


def _reads_colours(call: _Call, colours: Tensor) -> bool:
    """Return whether a convolution without groups reads red, green, blue of one or more pixels."""
    channels = colours.shape[1]
    expected = torch.arange(channels).remainder(COLOURS).view(1, channels, 1, 1)
    without_groups = call.tensors[1].shape[1] == channels
    return without_groups and channels % COLOURS == 0 and bool((colours == expected).all())


def _norm_behind(log: _Log, call: _Call, norms: dict[int, str]) -> str | None:
    """Return the batch norm that alone reads an operation's output, or a sum of it and others."""
    readers = log.readers[id(call.output)]
    if len(readers) != 1:
        return None
    reader = readers[0]
    if reader.func is aten.add.Tensor and not reader.kwargs:
        same = {tensor.shape for tensor in reader.tensors} == {call.output.shape}
        return _norm_behind(log, reader, norms) if same else None
    if reader.func not in BATCH_NORMS or reader.tensors[0] is not call.output:
        return None
    mean = next((key for key in map(id, reader.tensors[1:]) if key in norms), None)
    if mean is None or sum(one.func in BATCH_NORMS for one in log.readers[mean]) > 1:
        return None
    return norms[mean]


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
