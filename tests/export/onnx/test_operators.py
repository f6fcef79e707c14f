"""Every operator that this package exports has a rule for its sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("onnxscript")

from detector.export.formats import FORMATS
from detector.export.onnx.model import onnx_model
from detector.export.options import Options
from detector.export.program import trace
from detector.export.run import model_metadata
from detector.model.detector import build, build_model_file
from detector.model.model_file import check_model_file
from detector.runtime.backends.onnx_graph import read_graph
from detector.runtime.backends.onnx_sizes import check_operators, check_sizes, input_sizes
from detector.utils.files import packaged_files
from detector.utils.yaml_file import YamlFile

CFGS = [name for name in packaged_files("cfg") if "/" not in name]


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("cfg", CFGS)
def test_each_packaged_network(cfg: str, dynamic: bool) -> None:
    model = build(cfg).eval()
    size_hw = model.preprocess.size_hw
    options = Options(dynamic=dynamic)
    metadata = model_metadata(model, size_hw, options, FORMATS["onnx"])
    program = trace(model, size_hw, options.fixed_batch, metadata.decoding)
    proto = onnx_model(program, metadata, options)
    graph = read_graph(proto.SerializeToString())
    check_operators(graph)
    check_sizes(graph, input_sizes(graph, (1, 3, *size_hw)))
    if dynamic:
        check_sizes(graph, input_sizes(graph, (3, 3, 2 * size_hw[0], 2 * size_hw[1])))


SMALL_YOLOX = """
nc: 3
imgsz: 64
backbone:
  - [-1, 1, Conv, [8, 3, 8]]
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
head:
  - [[0, 1, 2], 1, YOLOXHead, {nc: nc, width: 8}]
"""


def test_points_of_a_dynamic_network() -> None:
    """The number of cells follows from the size of the input: 8·16 + 4·8 + 2·4 = 168 at 64×128."""
    model = build_model_file(check_model_file(YamlFile(Path("a.yaml"), SMALL_YOLOX))).eval()
    program = trace(model, (64, 64), None)
    boxes_xyxy, scores = program.module()(torch.zeros(3, 3, 64, 128))
    assert boxes_xyxy.shape == (3, 168, 4)
    assert scores.shape == (3, 168, 3)
