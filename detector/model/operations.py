"""Counts of a run's tensor operations: elements read and written, memory kept in between."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


class OperationLog(TorchDispatchMode):
    """Counts operations while it is entered; for runs without gradients, also on the meta device.

    Attributes:
        operations: number of operations that have run.
        memory_access: elements that convolutions and linear layers read and write, see
            :func:`_memory_access`.
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
        """Run one operation and record it."""
        output = func(*args, **(kwargs or {}))
        self.operations += 1
        self.memory_access += _memory_access(func, args, output)
        self.winograd_saved += _winograd_saved(func, args, output)
        given = {tensor.untyped_storage() for tensor in tensors((args, kwargs))}
        # A view shares the storage of its base, and so does the result of an in-place operation.
        made = {tensor.untyped_storage() for tensor in tensors(output)} - given
        self._made.update(dict.fromkeys(made, self.operations))
        self._last_used.update(dict.fromkeys(made | given, self.operations))
        return output

    def keep(self, output: Any) -> None:
        """Count a tensor as kept until the end of the run, as the network's output is."""
        for tensor in tensors(output):
            self._last_used[tensor.untyped_storage()] = self.operations + 1

    def kept_bytes(self) -> list[int]:
        """Return the bytes in memory before the first operation and after each one.

        A tensor counts from the operation that makes it to the last one that reads it; weights and
        the input do not count. RepVGG's paper counts in this way (arXiv 2101.03697, section 3.2
        and figure 3): a residual block keeps twice its input, a plain convolution once.
        """
        changes = [0] * (self.operations + 2)
        for storage, made in self._made.items():
            changes[made] += storage.nbytes()
            changes[self._last_used[storage]] -= storage.nbytes()
        return list(accumulate(changes[:-1]))


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield all tensors in nested lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors(part)


def _memory_access(func: Any, args: tuple[Any, ...], output: Any) -> int:
    """Return h·w·(c_in + c_out) + k²·c_in·c_out / groups of a convolution, 0 of other operations.

    The formula is that of arXiv 1904.09730, section 3.1. It has one h × w only; for a strided
    convolution that of the output is used. A linear layer counts as a 1×1 convolution with one
    cell for each vector.
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
    """Return 5/9 of the multiply-adds of a 3×3 convolution of stride 1, 0 of other operations."""
    if func is not aten.convolution.default:
        return 0
    _, weight, _, stride, _, dilation, transposed = args[:7]
    fits = tuple(weight.shape[2:]) == (3, 3) and {*stride, *dilation} == {1} and not transposed
    return int(output.numel() * weight[0].numel() * 5 // 9) if fits else 0
