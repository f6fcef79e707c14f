"""Network and NMS of an ONNX file, as separate functions.

NMS drops nearly all of a network's raw outputs, and all of those of an untrained one. The file's
network and its NMS are therefore also compared separately.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from detector.export.onnx.nms import NETWORK_OUTPUTS
from detector.export.proof.comparison import ArrayFunction
from detector.export.proof.nms_check import Parts
from detector.runtime.backends.backend import OUTPUTS_AFTER_NMS, Arrays
from detector.runtime.backends.exported import INPUT
from detector.runtime.backends.onnx import open_session


def onnx_parts(path: Path) -> Parts:
    """Split a file with NMS, made by :func:`detector.export.onnx.nms.with_nms`, into its parts."""
    import onnx
    from onnx import TensorProto, helper, utils

    proto = onnx.load(path)
    float32 = TensorProto.FLOAT
    proto.graph.value_info.extend(
        helper.make_tensor_value_info(name, float32, (None, None, None)) for name in NETWORK_OUTPUTS
    )
    extractor = utils.Extractor(proto)

    def part(inputs: Sequence[str], outputs: Sequence[str]) -> ArrayFunction:
        return _as_function(extractor.extract_model(list(inputs), list(outputs)), path)

    return Parts(
        network=part([INPUT], NETWORK_OUTPUTS),
        nms=part(NETWORK_OUTPUTS, list(OUTPUTS_AFTER_NMS)),
    )


def _as_function(proto: Any, path: Path) -> ArrayFunction:
    session = open_session(proto.SerializeToString(), path)
    names = [value.name for value in proto.graph.input]

    def run(*arrays: NDArray[Any]) -> Arrays:
        return tuple(session.run(None, dict(zip(names, arrays, strict=True))))

    return run
