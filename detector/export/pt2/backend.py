"""``.pt2`` files: torch.export's programs, written, and read back without trusting them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from detector.export.options import Options, Save
from detector.export.program import quiet
from detector.export.pt2.archive import clean
from detector.model.torch_backend import torch_nms
from detector.runtime.backends.backend import METADATA_KEY, Arrays, KeptBoxes, ModelMetadata
from detector.runtime.backends.exported import ExportedBackend, Shape
from detector.runtime.backends.seal import SEAL_KEY, check_seal, seal
from detector.settings import NmsSettings
from detector.utils.errors import DetectorError, one_line


def convert_pt2(program: ExportedProgram, card: ModelMetadata, options: Options) -> Save:
    """Write a traced program, without example inputs and traces of the source code.

    Raises:
        DetectorError: when it is written: torch cannot, or the network uses an operator that
            reading refuses.
    """

    def save(path: Path, metadata: Mapping[str, str]) -> None:
        written = io.BytesIO()
        extra = {key: text for key, text in metadata.items() if key != SEAL_KEY}
        try:
            with quiet():
                torch.export.save(program, written, extra_files=extra)
        except Exception as error:  # the exporter's errors have no common base
            raise DetectorError(f"cannot be written as pt2: {one_line(error)}") from error
        content, _ = clean(path, written)
        path.write_bytes(content)
        seal(path)

    return save


class Pt2Backend(ExportedBackend):
    """An exported ``.pt2`` file; see :class:`detector.runtime.backends.backend.Backend`.

    Args:
        path: the file. Nothing in it is run before it has been checked.
        device: where it runs.

    Raises:
        DetectorError: damaged, not one that was exported here, or refused.
    """

    def __init__(self, path: str | Path, device: torch.device | str = "cpu") -> None:
        path = Path(path)
        if not path.is_file():
            raise DetectorError("no such file", file=path)
        check_seal(path)
        content, card_text = clean(path)
        metadata = {METADATA_KEY: card_text} if card_text else {}
        card = ModelMetadata.from_metadata(metadata, path)
        self.device = torch.device(device)
        try:
            program = _load(content, self.device)
            self._module = program.module()
        except Exception as error:  # a program that fits nowhere may fail in any way
            message = f"torch.export cannot read it: {one_line(error)}"
            raise DetectorError(message, file=path) from error
        inputs = _shapes(program, program.graph_signature.user_inputs)
        outputs = _shapes(program, program.graph_signature.user_outputs)
        # The outputs' own names are those of the last operators.
        super().__init__(
            path, card, inputs, dict(zip(card.outputs, outputs.values(), strict=False))
        )

    @torch.inference_mode()
    def run(self, images: NDArray[np.float32]) -> Arrays:
        """(b, 3, h, w) float32 → the task's outputs."""
        try:
            outputs = self._module(torch.from_numpy(images).to(self.device))
            return tuple(output.float().cpu().numpy() for output in outputs)
        except Exception as error:  # as above
            shape = "×".join(map(str, images.shape))
            raise self.error(f"does not run on input of {shape}: {one_line(error)}") from error

    def apply_nms(
        self, boxes_xyxy: NDArray[np.float32], scores: NDArray[np.float32], settings: NmsSettings
    ) -> KeptBoxes:
        """Apply NMS by torchvision, which is here already."""
        return torch_nms(boxes_xyxy, scores, settings)


def _load(content: bytes, device: torch.device) -> ExportedProgram:
    with quiet():
        program = torch.export.load(io.BytesIO(content))
        return program if device.type == "cpu" else move_to_device_pass(program, device)


def _shapes(program: ExportedProgram, names: tuple[object, ...]) -> dict[str, Shape]:
    """Shapes of inputs or outputs by name, None where they are open."""
    shapes: dict[str, Shape] = {}
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.name in names and isinstance(value, torch.Tensor):
            shapes[node.name] = tuple(n if isinstance(n, int) else None for n in value.shape)
    return {str(name): shapes.get(str(name), ()) for name in names}
