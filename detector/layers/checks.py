"""Checks of arguments that several blocks share."""

from __future__ import annotations

from collections.abc import Sequence


def check_odd(kernels: Sequence[int]) -> None:
    """Raise ValueError for an empty list, or for a kernel of even size or below 1."""
    if not kernels or any(kernel < 1 or kernel % 2 == 0 for kernel in kernels):
        raise ValueError(f"argument 'kernels': expected odd numbers, found {list(kernels)}")


def even_half(name: str, channels: int) -> int:
    """Return half of an even number of channels; raise ValueError for an odd one."""
    if channels % 2:
        expected = "expected an even number of channels"
        raise ValueError(f"argument {name!r}: {expected}, found {channels}")
    return channels // 2
