"""Acceptance of an ONNX file that was changed after its export: compared again and sealed anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from detector.export.formats import FORMATS
from detector.export.onnx.model import saver
from detector.export.onnx.nms import NETWORK_OUTPUTS
from detector.export.options import Options
from detector.export.proof.measured import EvaluationImages
from detector.export.proof.proof import Candidate
from detector.export.run import Draft, ExportReport, model_metadata, write_proven
from detector.model.detector import Detector
from detector.runtime.backends.backend import ModelMetadata
from detector.runtime.backends.onnx import read_checked_graph
from detector.runtime.backends.seal import MAX_EXPORTED_BYTES
from detector.utils.errors import DetectorError, shown
from detector.utils.files import read_limited


class ChangedFile:
    """An ONNX file whose seal is broken, with metadata that agree with the weights.

    Args:
        path: the file. It is parsed, and nothing in it is run.
        model: the network that it was exported from.

    Attributes:
        proto: the onnx.ModelProto.
        metadata: what an export of the network would write, with the file's input size and NMS.

    Raises:
        DetectorError: not an ONNX file, weights in other files, metadata that differ from the
            network's, or NMS that cannot be told from its network.
    """

    def __init__(self, path: Path, model: Detector) -> None:
        self.proto = _read(path)
        properties = {item.key: item.value for item in self.proto.metadata_props}
        stated = ModelMetadata.from_properties(properties, path)
        options = Options(
            precision=stated.precision, nms=stated.nms, decoded=stated.decoding is None
        )
        self.metadata = model_metadata(model, stated.preprocess.size_hw, options, FORMATS["onnx"])
        for name in ("task", "names", "preprocess", "stride", "eval_nms", "decoding"):
            found, expected = getattr(stated, name), getattr(self.metadata, name)
            if found != expected:
                raise DetectorError(
                    f"its metadata say {name} {shown(found)}, the weights {shown(expected)}",
                    file=path,
                )
        model.check_size(stated.preprocess.size_hw)
        values = {name for node in self.proto.graph.node for name in node.output}
        if stated.nms is not None and not set(NETWORK_OUTPUTS) <= values:
            raise DetectorError(
                f"has no value {NETWORK_OUTPUTS[0]!r}, so that its NMS cannot be compared apart "
                "from its network; change a file that was exported without --nms",
                file=path,
            )

    @property
    def is_dynamic(self) -> bool:
        """True if the file takes other sizes than that of its metadata."""
        (image,) = self.proto.graph.input[:1]
        return any(side.dim_value == 0 for side in image.type.tensor_type.shape.dim[2:])


def accept_file(
    file: ChangedFile,
    path: Path,
    model: Detector,
    images: Sequence[Tensor],
    evaluation: EvaluationImages | None,
    command: str,
) -> ExportReport:
    """Compare a changed file with its network and write it with a new seal and certificate.

    Args:
        file: the changed file.
        path: path to write, which may be that of the file.
        model: the network; not modified.
        images: normalized (b, 3, h, w) batches to compare on, besides random ones.
        evaluation: evaluation set to measure AP on, before and after.
        command: command line, recorded in the certificate.

    Raises:
        DetectorError: the file's outputs differ from the network's. Nothing is written then.
    """
    candidate = Candidate.of(model, images)
    save = saver(file.proto)
    return write_proven(
        Draft(FORMATS["onnx"], path, save, file.metadata), candidate, evaluation, command
    )


def _read(path: Path) -> Any:
    try:
        import onnx
    except ImportError as error:
        message = f"reading ONNX needs onnx ({error}); run: pip install onnx"
        raise DetectorError(message) from error
    content = read_limited(path, MAX_EXPORTED_BYTES, "an ONNX file")
    read_checked_graph(content, path)
    try:
        return onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's own, which has no types
        raise DetectorError("is not an ONNX file, or a part of one", file=path) from error
