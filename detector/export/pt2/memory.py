"""The memory that a program of torch.export would need, worked out without running it.

The program is interpreted on torch's device ``meta``, whose tensors have a size and no content: an
operator that asks for all memory there is costs nothing.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from detector.runtime.backends.held import HeldValues, check_count

META = torch.device("meta")

BY_CONTENT = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
"""Tags of operators whose output may follow from the content of a tensor."""


def check_memory(module: GraphModule, image: tuple[int, ...]) -> None:
    """Raise where a program would hold too many values at once, or where that cannot be told.

    Args:
        module: of a program whose operators were checked; not run.
        image: (b, 3, h, w).

    Raises:
        ValueError: more than ``HeldValues`` allow, or sizes that follow from the content of the
            image.
        Exception: an operator does not take its inputs; torch has no common base class for that.
    """
    check_count(len(module.graph.nodes))
    pixels = math.prod(image) // image[1]
    with _OnMeta(pixels), torch.no_grad():
        _Sizes(module, HeldValues(pixels)).run(torch.empty(image, device=META))


class _Sizes(Interpreter):
    """Interprets a program and counts the values that it holds."""

    def __init__(self, module: GraphModule, held: HeldValues) -> None:
        super().__init__(module)
        self.extra_traceback = False  # it would become part of messages
        self._held = held
        self._counts: dict[Node, int] = {}

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Return a weight, without content; weights are in the file, and not counted."""
        with _disable_current_modes():
            return torch.empty_like(super().get_attr(target, args, kwargs), device=META)

    def run_node(self, n: Node) -> Any:
        """Return the outputs of an operator, without content."""
        if n.op == "call_module" or n.target is torch.ops.aten._assert_tensor_metadata.default:
            return None  # they only check that sizes and devices are those of the program
        label = f"{n.target} {n.name!r}"
        try:
            output = super().run_node(n)
        except Exception as error:
            if BY_CONTENT & set(getattr(n.target, "tags", ())):
                raise ValueError(f"the size of {label} cannot be told before it is run") from error
            raise
        if n.op == "call_function":
            self._counts[n] = _count(output)
            self._held.add(self._counts[n], label)
        self._held.free(sum(self._counts.pop(one, 0) for one in self.user_to_last_uses.get(n, ())))
        return output


class _OnMeta(TorchDispatchMode):
    """Runs every operator on ``meta``, and counts the values of each that others consist of."""

    def __init__(self, pixels: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._pixels = pixels

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return the output of an operator."""
        kwargs = dict(kwargs or {})
        if any(argument.name == "device" for argument in func._schema.arguments):
            kwargs["device"] = META
        output = func(*args, **kwargs)
        if not any(returned.alias_info for returned in func._schema.returns):  # no view of inputs
            HeldValues(self._pixels).add(_count(output), str(func))
        return output


def _count(output: Any) -> int:
    return sum(leaf.numel() for leaf in tree_leaves(output) if isinstance(leaf, Tensor))
