"""The error about a row that fails while a network runs without values, to find its sizes."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from detector.model.builder import Row
from detector.registry import contract
from detector.utils.errors import DetectorError, one_line

PACKAGE = __name__.partition(".")[0]

REMEDIES = (
    (
        re.compile(r"(?i)\bmeta\b.*\b(backend|kernel)\b|no fake impl"),
        "rows run without values to find sizes, for which the operator has no kernel: register "
        "one with torch.library.register_fake",
    ),
    (
        re.compile(r"\bmeta tensors?\b|\bregister_meta\b|\bto numpy\b"),
        "rows run without values to find sizes, and the block reads values (.item(), float(), "
        ".numpy(), `if` or a mask of a tensor): write torch.where, and sizes from x.shape",
    ),
    (
        re.compile(r"\bdevice\b.*\bmeta\b|\bmeta\b.*\bdevice\b"),
        "the block makes a tensor on a device of its own: write device=x.device where it is made, "
        "or register_buffer for a constant",
    ),
)
"""What to write in a block, by the pattern of torch's message about a tensor without values."""


class RowRunError(DetectorError):
    """Error about a row that does not run.

    Args:
        row: the row.
        inputs: what its module was called with.
        error: what it raised.
        file: the model file.

    Attributes:
        row: index of the row.
        reason: the message without the row's name.
    """

    def __init__(self, row: Row, inputs: tuple[Any, ...], error: Exception, file: str) -> None:
        self.row = row.index
        self.reason = f"does not run on {_sizes(inputs)}: {_reason(row, error)}"
        super().__init__(f"row {row.index} ({row.module}): {self.reason}", file=file)


def _reason(row: Row, error: Exception) -> str:
    """Return the message of an error, the line of the block, and what to write in its place."""
    text = one_line(error).rstrip("!.")
    remedy = next((f"; {remedy}" for sign, remedy in REMEDIES if sign.search(str(error))), "")
    return f"{text}{_line(row, error)}{remedy}"


def _line(row: Row, error: Exception) -> str:
    """Return the line of the block's own source that failed, or "" for blocks of this package."""
    home = contract(row.module).module.__module__
    if home.partition(".")[0] in (PACKAGE, "torch"):
        return ""
    frames = traceback.walk_tb(error.__traceback__)
    lines = [
        (frame.f_code.co_filename, line)
        for frame, line in frames
        if frame.f_globals.get("__name__") == home
    ]
    return f" ({Path(lines[-1][0]).name}, line {lines[-1][1]})" if lines else ""


def _sizes(inputs: tuple[Any, ...]) -> str:
    """Return channels, height and width of all feature maps, ``8 channels of 32×32``."""
    return " and ".join(
        f"{tensor.shape[1]} channels of {'×'.join(map(str, tensor.shape[2:]))}"
        for tensor in _tensors(inputs)
    )


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    else:
        for part in value:
            yield from _tensors(part)
