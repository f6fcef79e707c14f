"""Activations by name, as model files write them: ``SiLU``, ``nn.LeakyReLU(0.1)``, ``False``."""

from __future__ import annotations

import ast
import math

from torch import nn

from detector.utils.errors import nearest, shown

MAX_CHARACTERS = 200
"""Largest length of an activation with arguments, as a model file writes it."""

Activation = str | bool | None
"""Name of an activation, True for SiLU, False or None for no activation."""

_KNOWN: dict[str, type[nn.Module]] = {
    module.__name__: module
    for module in (
        nn.ELU,
        nn.GELU,
        nn.Hardsigmoid,
        nn.Hardswish,
        nn.Identity,
        nn.LeakyReLU,
        nn.Mish,
        nn.PReLU,
        nn.ReLU,
        nn.ReLU6,
        nn.SELU,
        nn.Sigmoid,
        nn.SiLU,
        nn.Softplus,
        nn.Tanh,
    )
}


def make_activation(activation: Activation) -> nn.Module:
    """Return the activation of a name such as ``nn.LeakyReLU(0.1)``; no code is evaluated.

    Raises:
        ValueError: the name is unknown, or an argument is not a number.
    """
    if activation is True:
        return nn.SiLU(inplace=True)
    if activation in (None, False, "None"):
        return nn.Identity()
    name, positional, named = _parse(str(activation))
    if name not in _KNOWN:
        hint = nearest(name, _KNOWN) or f"; known: {', '.join(_KNOWN)}"
        raise ValueError(f"unknown activation {shown(name)}{hint}")
    try:
        module = _KNOWN[name](*positional, **named)
    except (TypeError, ValueError) as error:
        raise ValueError(f"activation {shown(activation)}: {error}") from None
    # Nothing else reads the convolution's output: working in place saves one copy of it.
    if hasattr(module, "inplace"):
        setattr(module, "inplace", True)  # noqa: B010  (mypy: nn.Module's attributes are modules)
    return module


def _parse(text: str) -> tuple[str, list[object], dict[str, object]]:
    """Split ``nn.LeakyReLU(0.1, inplace=True)`` into name, positional and named arguments."""
    name, bracket, rest = text.strip().partition("(")
    name = name.strip().removeprefix("torch.").removeprefix("nn.")
    if not bracket:
        return name, [], {}
    try:
        if len(text) > MAX_CHARACTERS:
            raise ValueError("too long")
        call = ast.parse(f"f({rest}", mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
            raise ValueError("not one call")
        positional = [ast.literal_eval(argument) for argument in call.args]
        named = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
        if not all(math.isfinite(value) for value in (*positional, *named.values())):
            raise ValueError("not a number")
    except (SyntaxError, ValueError, TypeError, OverflowError, RecursionError):
        raise ValueError(
            f"activation {shown(text)}: expected a name with numbers, as nn.LeakyReLU(0.1)"
        ) from None
    return name, positional, named
