"""INT8 in OpenVINO files: NNCF's post-training quantisation, with bias correction.

OpenVINO's converter joins ``x · sigmoid(x)`` to one operator first. NNCF then rounds what comes out
of it instead of what goes in, which keeps AP, and the runtime computes it within the convolution.

Ranges of activations are symmetric first: the runtime then has no zero points to subtract, which
saves a tenth of the time. SiLU's outputs reach down to −0.28 only, so that half of their 256 values
are hardly used; where that loses too much, the ranges begin at the smallest value.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from detector.export.openvino import saver
from detector.export.options import Save
from detector.export.program import quiet
from detector.export.proof.comparison import InputBatch
from detector.export.rows import row_in
from detector.runtime.backends.backend import Arrays
from detector.runtime.backends.exported import INPUT
from detector.runtime.backends.openvino import import_openvino, openvino_core, reason_of
from detector.utils.errors import DetectorError
from detector.utils.system import require

TENSORS = ("Constant", "Parameter", "Result")
"""Nodes of a graph that compute nothing."""


class OpenVinoInt8:
    """An OpenVINO network with calibration images, of which rows can be left in float.

    Args:
        proto: onnx.ModelProto in fp32, whose nodes are named by rows.
        batches: normalized calibration images, in batches that the network takes.
        per_tensor: weights have one scale a layer, in place of one for each output channel.

    Raises:
        DetectorError: NNCF or OpenVINO is not installed, or does not support an operator.
    """

    def __init__(self, proto: Any, batches: Sequence[InputBatch], per_tensor: bool = False) -> None:
        self._nncf = import_nncf()
        openvino = import_openvino()
        try:
            self._model = openvino.convert_model(io.BytesIO(proto.SerializeToString()))
        except Exception as error:  # the converter's exceptions have no common base class
            raise DetectorError(f"cannot be written for OpenVINO: {reason_of(error)}") from error
        self._core = openvino_core(openvino)
        self._batches = batches
        self._per_tensor = per_tensor
        self._symmetric = True
        self._nodes = {
            node.get_friendly_name(): row_in(node.get_friendly_name())
            for node in self._model.get_ops()
            if node.get_type_name() not in TENSORS
        }

    @property
    def rows(self) -> tuple[int, ...]:
        """Indices of the rows of the network."""
        return tuple(sorted({row for row in self._nodes.values() if row is not None}))

    def other_ranges(self) -> Iterator[OpenVinoInt8]:
        """Yield the network with ranges from the smallest value; see :class:`Quantizable`."""
        other = copy.copy(self)
        other._symmetric = False
        yield other

    def save(self, in_float: Collection[int]) -> Save:
        """Return the function that writes the network; see :class:`Quantizable`."""
        return saver(self._quantised(in_float, self._batches))

    def run(self, in_float: Collection[int], batches: Sequence[InputBatch]) -> list[Arrays]:
        """Return the network's outputs, calibrated on these batches; see :class:`Quantizable`."""
        model = self._quantised(in_float, batches)
        compiled = self._core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        request = compiled.create_infer_request()
        count = len(model.outputs)
        found = [request.infer({INPUT: batch}) for batch in batches]
        return [tuple(np.array(one[index]) for index in range(count)) for one in found]

    def _quantised(self, in_float: Collection[int], batches: Sequence[InputBatch]) -> Any:
        """Return an openvino.Model in INT8, except for these rows."""
        nncf, kinds = self._nncf, self._nncf.QuantizationPreset
        kept = [name for name, row in self._nodes.items() if row is None or row in in_float]
        model = self._model.clone()
        if len(kept) == len(self._nodes):
            return model
        with quiet(), contextlib.redirect_stdout(io.StringIO()):  # NNCF draws progress bars
            quantised = nncf.quantize(
                model,
                nncf.Dataset(batches),
                preset=kinds.PERFORMANCE if self._symmetric else kinds.MIXED,
                subset_size=len(batches),
                ignored_scope=nncf.IgnoredScope(names=kept, validate=False),
                advanced_parameters=self._scales(),
            )
        # NNCF notes the nodes in float in an order that changes; the certificate has the rows.
        quantised.set_rt_info("", ["nncf", "quantization", "ignored_scope", "names"])
        return quantised

    def _scales(self) -> Any:
        """Return NNCF's settings for one scale a layer; None for its default, one a channel."""
        if not self._per_tensor:
            return None
        from nncf.quantization.advanced_parameters import QuantizationParameters

        return self._nncf.AdvancedQuantizationParameters(
            weights_quantization_params=QuantizationParameters(per_channel=False)
        )


def import_nncf() -> Any:
    """Import NNCF without its telemetry, which would report each call to a server.

    As OpenVINO, it works without if the package ``openvino_telemetry`` cannot be imported.

    Raises:
        DetectorError: it is not installed; or something else has imported it, with its telemetry.
    """
    if "nncf" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    elif sys.modules.get("openvino_telemetry") is not None:
        raise DetectorError(
            "NNCF was imported before, with telemetry, which reports each call to a server; "
            "quantise in a process of its own, or import detector.export first"
        )
    import_openvino()
    with quiet():
        nncf = require("nncf", "int8")
    nncf.set_log_level(logging.ERROR)
    return nncf
