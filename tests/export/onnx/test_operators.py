"""Every operator that this package exports has a rule for its sizes."""

from __future__ import annotations

import pytest

pytest.importorskip("onnxscript")

from detector.export.onnx.model import onnx_model
from detector.export.options import Options
from detector.export.program import trace
from detector.export.run import model_metadata
from detector.model.detector import build
from detector.runtime.backends.onnx_graph import read_graph
from detector.runtime.backends.onnx_sizes import check_operators, check_sizes, input_sizes
from detector.utils.files import packaged_files

CFGS = [name for name in packaged_files("cfg") if "/" not in name]


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("cfg", CFGS)
def test_each_packaged_network(cfg: str, dynamic: bool) -> None:
    model = build(cfg).eval()
    size_hw = model.preprocess.size_hw
    options = Options(dynamic=dynamic)
    program = trace(model, size_hw, options.fixed_batch)
    proto = onnx_model(program, model_metadata(model, size_hw, options), options)
    graph = read_graph(proto.SerializeToString())
    check_operators(graph)
    check_sizes(graph, input_sizes(graph, (1, 3, *size_hw)))
    if dynamic:
        check_sizes(graph, input_sizes(graph, (3, 3, 2 * size_hw[0], 2 * size_hw[1])))
