"""Weights of an ONNX file in fp16, half the size; the arithmetic stays in fp32.

Runtimes convert the weights back to fp32 when they open the file, so that activations cannot
overflow and no operator needs fp16 support. (The converters of onnxconverter-common and ONNX
Runtime change the arithmetic, which is slow on CPUs.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detector.utils.errors import DetectorError

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators whose second input is a weight; other constants, such as anchors, stay in fp32."""


def store_as_fp16(proto: Any) -> None:
    """Store the weights of an onnx.ModelProto in fp16, each followed by a cast; changes ``proto``.

    Raises:
        DetectorError: a weight is larger than fp16 can hold.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = proto.graph
    weights = {node.input[1] for node in graph.node if node.op_type in WEIGHTED}
    casts = []
    for tensor in graph.initializer:
        if tensor.name not in weights or tensor.data_type != TensorProto.FLOAT:
            continue
        value = numpy_helper.to_array(tensor)
        largest = float(np.abs(value).max(initial=0))
        if largest > float(np.finfo(np.float16).max):
            raise DetectorError(f"a weight is {largest:.3g}, too large for fp16")
        name, stored = tensor.name, f"{tensor.name}/fp16"
        tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
