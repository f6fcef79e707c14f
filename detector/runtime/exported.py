"""What the backends of exported files share: the card's fields, and the check against the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from detector.errors import DetectorError
from detector.preprocess import Preprocess
from detector.runtime.backend import OUTPUTS, ModelCard
from detector.settings import NmsSettings, TaskName

INPUT = "images"

Shape = tuple[int | None, ...]
"""Of an input or output, None where the file leaves it open; empty where it says nothing."""


class ExportedBackend:
    """A file that was exported here, opened by a runtime; subclasses run it.

    Args:
        path: the file.
        card: what it says about itself.
        inputs: the shapes of its inputs by name.
        outputs: the shapes of its outputs by name.

    Raises:
        DetectorError: inputs and outputs are not what the card says.
    """

    def __init__(
        self, path: Path, card: ModelCard, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]
    ) -> None:
        self.path = path
        self.task: TaskName = card.task
        self.names: tuple[str, ...] = card.names
        self.preprocess: Preprocess = card.preprocess
        self.measuring: NmsSettings = card.measuring
        self.stride: int = card.stride
        self.output_names: tuple[str, ...] = tuple(OUTPUTS[card.task])
        self.batch_size, *size_hw = self._check_input(inputs)
        self.dynamic_size: bool = None in size_hw
        self._check_outputs(outputs)

    def error(self, message: str) -> DetectorError:
        """An error about the file."""
        return DetectorError(message, file=self.path)

    def _check_input(self, inputs: Mapping[str, Shape]) -> Shape:
        """Batch, height and width, None where they are open."""
        if list(inputs) != [INPUT]:
            raise self.error(f"inputs are {_list(inputs)}, expected {INPUT!r}")
        shape = inputs[INPUT]
        if len(shape) != 4 or shape[1] not in (None, 3):
            raise self.error(f"input has shape {_described(shape)}, expected (batch, 3, h, w)")
        batch, _, *size_hw = shape
        expected = self.preprocess.size_hw
        if any(n not in (None, m) for n, m in zip(size_hw, expected, strict=True)):
            found, stated = ("×".join(map(str, size)) for size in (size_hw, expected))
            raise self.error(f"input is {found}, but its metadata say {stated}")
        return (batch, *size_hw)

    def _check_outputs(self, outputs: Mapping[str, Shape]) -> None:
        if not set(self.output_names) <= outputs.keys():
            raise self.error(f"outputs are {_list(outputs)}, expected {_list(self.output_names)}")
        for name in self.output_names:
            dimensions = OUTPUTS[self.task][name]
            if outputs[name] and len(outputs[name]) != len(dimensions):
                raise self.error(
                    f"output {name!r} has shape {_described(outputs[name])}, "
                    f"expected {len(dimensions)} dimensions"
                )
        classes = (outputs[self.output_names[-1]] or (None,))[-1]
        if classes not in (None, len(self.names)):
            raise self.error(f"{classes} classes, but its metadata name {len(self.names)}")


def one_line(text: str) -> str:
    """A runtime's message on one line, and not too long."""
    text = " ".join(text.split())
    return text if len(text) <= 200 else f"{text[:197]}..."


def _list(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _described(shape: Shape) -> str:
    return f"({', '.join('?' if n is None else str(n) for n in shape)})"
