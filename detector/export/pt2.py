"""``.pt2`` files: torch.export's programs, written, and read back without trusting them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from detector.errors import DetectorError
from detector.export.program import first_line, quiet
from detector.export.pt2_archive import clean
from detector.preprocess import Preprocess
from detector.runtime.backend import METADATA_KEY, OUTPUTS, Arrays, ModelCard
from detector.runtime.exported import INPUT
from detector.settings import NmsSettings, TaskName


def write_pt2(program: ExportedProgram, path: Path, card: ModelCard) -> None:
    """Write a traced program, without example inputs and traces of the source code.

    Raises:
        DetectorError: torch cannot write it, or the network uses an operator that reading refuses.
    """
    written = io.BytesIO()
    try:
        with quiet():
            torch.export.save(program, written, extra_files={METADATA_KEY: card.to_json()})
    except Exception as error:  # the exporter's errors have no common base
        raise DetectorError(f"cannot be written as pt2: {first_line(error)}") from error
    content, _ = clean(path, written)
    path.write_bytes(content)


class Pt2Backend:
    """An exported ``.pt2`` file; see :class:`detector.runtime.backend.Backend`.

    Args:
        path: the file. Nothing in it is run before it has been checked.
        device: where it runs.

    Raises:
        DetectorError: damaged, not one that was exported here, or refused.
    """

    def __init__(self, path: str | Path, device: torch.device | str = "cpu") -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise DetectorError("no such file", file=self.path)
        content, card_text = clean(self.path)
        metadata = {METADATA_KEY: card_text} if card_text else {}
        card = ModelCard.from_metadata(metadata, self.path)
        self.device = torch.device(device)
        self.task: TaskName = card.task
        self.names: tuple[str, ...] = card.names
        self.preprocess: Preprocess = card.preprocess
        self.measuring: NmsSettings = card.measuring
        self.stride: int = card.stride
        try:
            program = _load(content, self.device)
            self._module = program.module()
        except Exception as error:  # a program that fits nowhere may fail in any way
            raise self._error(f"torch.export cannot read it: {first_line(error)}") from error
        self.batch_size, self.dynamic_size = self._check(program, card)

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.float32]) -> Arrays:
        """(b, 3, h, w) float32 → the task's outputs."""
        try:
            outputs = self._module(torch.from_numpy(images).to(self.device))
        except Exception as error:  # as above
            shape = "×".join(map(str, images.shape))
            raise self._error(f"does not run on input of {shape}: {first_line(error)}") from error
        return tuple(output.float().cpu().numpy() for output in outputs)

    def _check(self, program: ExportedProgram, card: ModelCard) -> tuple[int | None, bool]:
        """Compare inputs and outputs with the card; give the batch size and whether it is open."""
        inputs = _shapes(program, program.graph_signature.user_inputs)
        outputs = _shapes(program, program.graph_signature.user_outputs)
        if list(inputs) != [INPUT] or len(inputs[INPUT]) != 4 or inputs[INPUT][1] != 3:
            raise self._error(f"inputs {inputs}, expected {INPUT!r} of (batch, 3, h, w)")
        expected = OUTPUTS[card.task]
        if [len(shape) for shape in outputs.values()] != [len(one) for one in expected.values()]:
            raise self._error(f"{len(outputs)} outputs, expected {' and '.join(expected)}")
        classes = list(outputs.values())[-1][-1]
        if classes != len(card.names):
            raise self._error(f"{classes} classes, but its metadata name {len(card.names)}")
        batch, _, *size_hw = inputs[INPUT]
        for found, stated in zip(size_hw, card.preprocess.size_hw, strict=True):
            if found not in (None, stated):
                raise self._error(
                    f"input is {size_hw[0]}×{size_hw[1]}, but its metadata say "
                    f"{card.preprocess.size_hw[0]}×{card.preprocess.size_hw[1]}"
                )
        return batch, None in size_hw

    def _error(self, message: str) -> DetectorError:
        return DetectorError(message, file=self.path)


def _load(content: bytes, device: torch.device) -> ExportedProgram:
    with quiet():
        program = torch.export.load(io.BytesIO(content))
        return program if device.type == "cpu" else move_to_device_pass(program, device)


def _shapes(program: ExportedProgram, names: tuple[object, ...]) -> dict[str, list[int | None]]:
    """Shapes of inputs or outputs by name, None where they are open."""
    shapes: dict[str, list[int | None]] = {}
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.name in names and isinstance(value, torch.Tensor):
            shapes[node.name] = [n if isinstance(n, int) else None for n in value.shape]
    return {str(name): shapes.get(str(name), []) for name in names}
