"""Which concatenated features a convolution uses: mean absolute weights by source.

DenseNet (arXiv 1608.06993, figure 5) and VoVNet (1904.09730, figure 2) draw them for each layer.
The network runs on tensors without values; what a convolution reads is followed back, through
operations that keep the channels, to the concatenation that made it. So it works for one-shot
aggregation, dense blocks, cross-stage partial blocks and rows of ``Concat`` alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn
from torch.utils._python_dispatch import TorchDispatchMode

from detector.model.builder import Row
from detector.model.detector import FEATURE_AXES, Detector, run_empty
from detector.model.operations import tensors

aten = torch.ops.aten


@dataclass(frozen=True)
class Aggregation:
    """Weights of one convolution that reads concatenated features.

    Attributes:
        path: path of the convolution in the network.
        widths: channels of each source, in the order of the concatenation.
        weights: mean absolute weight of each source.
    """

    path: str
    widths: tuple[int, ...]
    weights: tuple[float, ...]

    @property
    def normalized(self) -> tuple[float, ...]:
        """Weights divided by the largest one; zeros stay zeros."""
        largest = max(self.weights)
        return tuple(weight / largest if largest else 0.0 for weight in self.weights)


def aggregations(model: Detector, size_hw: tuple[int, int]) -> list[Aggregation]:
    """Return the convolutions that read concatenated features, in the order of computation.

    Convolutions of several groups are left out: each of their channels reads a part of the sources.

    Args:
        model: network as trained or as deployed; not modified.
        size_hw: height and width of an input that it accepts, pixels.
    """
    log = _SourceLog()
    with log.naming_convolutions(model):
        run_empty(model, size_hw, _ignore, within=log)
    return [
        Aggregation(path, widths, _mean_weights(model.get_submodule(path), widths))
        for path, widths in log.found.items()
    ]


def _ignore(row: Row, output: Any) -> None:
    """Do nothing with a row's output."""


def _mean_weights(conv: nn.Module, widths: tuple[int, ...]) -> tuple[float, ...]:
    assert isinstance(conv, nn.Conv2d)
    parts = conv.weight.detach().float().abs().split(widths, 1)
    return tuple(float(part.mean()) for part in parts)


class _SourceLog(TorchDispatchMode):
    """Follows the widths of concatenated features to the convolutions that read them.

    Attributes:
        found: widths of the sources that each convolution reads, by its path.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: dict[str, tuple[int, ...]] = {}
        self._sources: dict[UntypedStorage, tuple[int, ...]] = {}
        self._running: str | None = None

    @contextmanager
    def naming_convolutions(self, model: nn.Module) -> Iterator[None]:
        """Let the log know, within the block, which convolution runs."""
        handles = []
        for path, module in model.named_modules():
            if isinstance(module, nn.Conv2d):
                handles.append(module.register_forward_pre_hook(self._beginning(path)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _beginning(self, path: str) -> Any:
        def begin(module: nn.Module, inputs: Any) -> None:
            self._running = path

        return begin

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation, and note the sources of what it makes."""
        output = func(*args, **(kwargs or {}))
        feature = next(tensors(output), None)  # a batch norm returns statistics, too
        if feature is not None and feature.ndim == FEATURE_AXES:
            widths = self._widths_after(func, args, feature)
            if widths:
                self._sources[feature.untyped_storage()] = widths
        return output

    def _widths_after(
        self, func: Any, args: tuple[Any, ...], output: Tensor
    ) -> tuple[int, ...] | None:
        if func is aten.cat.default:
            is_of_channels = len(args) > 1 and args[1] in (1, 1 - FEATURE_AXES)
            parts = [self._widths_of(part) or (part.shape[1],) for part in args[0]]
            return sum(parts, ()) if is_of_channels else None
        if func is aten.convolution.default:
            return self._widths_after_convolution(args[0], args[1], groups=args[8])
        features = [one for one in tensors(args) if one.ndim == FEATURE_AXES]
        if len(features) != 1 or features[0].shape[1] != output.shape[1]:
            return None
        return self._widths_of(features[0])

    def _widths_after_convolution(
        self, x: Tensor, weight: Tensor, groups: int
    ) -> tuple[int, ...] | None:
        """Note a convolution's sources; a depthwise one passes them on."""
        widths = self._widths_of(x)
        if groups == x.shape[1] == weight.shape[0]:
            return widths
        if widths and groups == 1 and self._running is not None:
            self.found[self._running] = widths
        return None

    def _widths_of(self, feature: Tensor) -> tuple[int, ...] | None:
        """Return the widths of a feature's sources, None if it is no concatenation."""
        widths = self._sources.get(feature.untyped_storage())
        return widths if widths and sum(widths) == feature.shape[1] else None
