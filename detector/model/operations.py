"""A run seen as its operations: what they read and write, and how long each map has to be kept."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


class OperationLog(TorchDispatchMode):
    """Counts while it is entered, without gradients; tensors may be on the meta device.

    Attributes:
        operations: how many have run.
        memory_access: elements that convolutions read and write, see :func:`_memory_access`.
        winograd_saved: multiplications that Winograd's algorithm F(2×2, 3×3) would save.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = 0
        self.memory_access = 0
        self.winograd_saved = 0
        self._made: dict[UntypedStorage, int] = {}
        self._last_used: dict[UntypedStorage, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation and note what it did."""
        output = func(*args, **(kwargs or {}))
        self.operations += 1
        self.memory_access += _memory_access(func, args, output)
        self.winograd_saved += _winograd_saved(func, args, output)
        given = {tensor.untyped_storage() for tensor in tensors((args, kwargs))}
        # A view shares the storage of its base, and so does what is computed in place.
        made = {tensor.untyped_storage() for tensor in tensors(output)} - given
        self._made.update(dict.fromkeys(made, self.operations))
        self._last_used.update(dict.fromkeys(made | given, self.operations))
        return output

    def keep(self, output: Any) -> None:
        """Have the run's output kept until its end."""
        for tensor in tensors(output):
            self._last_used[tensor.untyped_storage()] = self.operations + 1

    def kept_bytes(self) -> list[int]:
        """Bytes that are kept before the first operation and after each one.

        Kept is what an operation has made and a later one reads: neither weights nor the input.
        This is how RepVGG's paper counts (arXiv 2101.03697, section 3.2 and metric 3): a residual
        block keeps twice its input, a plain convolution once.
        """
        changes = [0] * (self.operations + 2)
        for storage, made in self._made.items():
            changes[made] += storage.nbytes()
            changes[self._last_used[storage]] -= storage.nbytes()
        return list(accumulate(changes[:-1]))


def tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors(part)


def _memory_access(func: Any, args: tuple[Any, ...], output: Any) -> int:
    """h·w·(c_in + c_out) + k²·c_in·c_out / groups of a convolution (arXiv 1904.09730, section 3.1).

    The formula knows one size of map; with a stride it is the output's. A linear layer is a 1×1
    convolution whose map has one cell for each vector.
    """
    if func is aten.convolution.default:
        image, weight = args[:2]
        cells = output[:, 0].numel()
        return int(cells * (image.shape[1] + output.shape[1]) + weight.numel())
    if func in (aten.mm.default, aten.addmm.default):
        vectors, weight = args[-2:]
        return int(vectors.numel() + output.numel() + weight.numel())
    return 0


def _winograd_saved(func: Any, args: tuple[Any, ...], output: Any) -> int:
    """5/9 of the multiply-adds of a 3×3 convolution with stride 1; nothing of all others."""
    if func is not aten.convolution.default:
        return 0
    _, weight, _, stride, _, dilation, transposed = args[:7]
    fits = tuple(weight.shape[2:]) == (3, 3) and {*stride, *dilation} == {1} and not transposed
    return int(output.numel() * weight[0].numel() * 5 // 9) if fits else 0
