"""Export to ``.pt2``, torch.export's programs, and the backend that reads untrusted files."""

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
from detector.export.pt2.archive import clean, refused_operator
from detector.export.pt2.memory import check_memory
from detector.export.rows import RowError, row_of_node
from detector.model.torch_backend import torch_nms
from detector.runtime.backends.backend import METADATA_KEY, Arrays, KeptBoxes, ModelMetadata
from detector.runtime.backends.exported import ExportedBackend, Shape
from detector.runtime.backends.parts import read_parts
from detector.runtime.backends.seal import SEAL_KEY, seal
from detector.settings.nms import NmsSettings
from detector.utils.errors import DetectorError, one_line


def convert_pt2(program: ExportedProgram, metadata: ModelMetadata, options: Options) -> Save:
    """Convert a traced program to a ``.pt2`` file, without example inputs and source locations.

    The returned function raises DetectorError if torch cannot write the program.

    Raises:
        RowError: the network uses an operator that the reader refuses.
    """
    for node in program.graph.nodes:
        refused = refused_operator(node.target) if node.op == "call_function" else None
        if refused is not None:
            message = f"pt2 files do not take the operator {refused}; use --format onnx"
            raise RowError(message, row_of_node(node))

    def save(path: Path, properties: Mapping[str, str]) -> None:
        written = io.BytesIO()
        extra = {key: text for key, text in properties.items() if key != SEAL_KEY}
        try:
            with quiet():
                torch.export.save(program, written, extra_files=extra)
        except Exception as error:  # the exporter's exceptions have no common base class
            raise DetectorError(f"cannot be written as pt2: {one_line(error)}") from error
        try:
            content, _ = clean(path, written)
        except DetectorError as error:
            message = f"cannot be written as pt2, {error.message}; use --format onnx"
            raise DetectorError(message) from error
        path.write_bytes(content)
        seal(path)

    return save


class Pt2Backend(ExportedBackend):
    """Backend of an exported ``.pt2`` file.

    Args:
        path: the file. It is validated before anything in it is run.
        device: device to run it on.

    Raises:
        DetectorError: damaged, not exported by this package, or refused as unsafe.
    """

    def __init__(self, path: str | Path, device: torch.device | str = "cpu") -> None:
        path = Path(path)
        (sealed,) = read_parts(path, expected="a pt2 file")
        content, metadata_text = clean(path, io.BytesIO(sealed))
        properties = {METADATA_KEY: metadata_text} if metadata_text else {}
        metadata = ModelMetadata.from_properties(properties, path)
        self.device = torch.device(device)
        try:
            program = _load(content, self.device)
            self._module = program.module()
        except Exception as error:  # an invalid program may raise any exception
            message = f"torch.export cannot read it: {one_line(error)}"
            raise DetectorError(message, file=path) from error
        inputs = _shapes(program, program.graph_signature.user_inputs)
        outputs = _shapes(program, program.graph_signature.user_outputs)
        # In the program, outputs have the names of the last operators.
        named_outputs = dict(zip(metadata.outputs, outputs.values(), strict=False))
        super().__init__(path, metadata, inputs, named_outputs)
        self.check_sizes(self.input_shape)

    def run(self, images: NDArray[np.float32]) -> Arrays:
        """Return the outputs of the task for (b, 3, h, w) float32 input."""
        self.check_sizes(images.shape)
        try:
            with torch.inference_mode():
                outputs = self._module(torch.from_numpy(images).to(self.device))
            return tuple(output.float().cpu().numpy() for output in outputs)
        except Exception as error:  # as above
            raise self._does_not_run(images.shape, error) from error

    def _check_run(self, image: tuple[int, ...]) -> None:
        try:
            check_memory(self._module, image)
        except ValueError:
            raise
        except Exception as error:  # as above
            raise self._does_not_run(image, error) from error

    def _does_not_run(self, image: tuple[int, ...], error: Exception) -> DetectorError:
        shape = "×".join(map(str, image))
        return self.error(f"does not run on input of {shape}: {one_line(error)}")

    def apply_nms(
        self, boxes_xyxy: NDArray[np.float32], scores: NDArray[np.float32], settings: NmsSettings
    ) -> KeptBoxes:
        """Apply NMS by torchvision, which is available wherever torch runs the file."""
        return torch_nms(boxes_xyxy, scores, settings)


def _load(content: bytes, device: torch.device) -> ExportedProgram:
    with quiet():
        program = torch.export.load(io.BytesIO(content))
        return program if device.type == "cpu" else move_to_device_pass(program, device)


def _shapes(program: ExportedProgram, names: tuple[object, ...]) -> dict[str, Shape]:
    """Return the shapes of inputs or outputs by name, None for dynamic dimensions."""
    shapes: dict[str, Shape] = {}
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.name in names and isinstance(value, torch.Tensor):
            shapes[node.name] = tuple(n if isinstance(n, int) else None for n in value.shape)
    return {str(name): shapes.get(str(name), ()) for name in names}
