"""Random graphs: shapes, strides and channels against a plain walk over the rows."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.model.builder import IMAGE
from detector.model.detector import build_model_file
from detector.model.model_file import check_model_file
from detector.registry import contract
from detector.utils.yaml_file import YamlFile


@dataclass
class Node:
    """Channels and stride of a row's output, as the graph is drawn."""

    channels: int
    stride: Fraction


@st.composite
def graphs(draw: st.DrawFn) -> tuple[str, list[Node]]:
    """Draw the rows of a file that must build, and the expected output of each row."""
    nodes: list[Node] = []
    rows: list[str] = []

    def source(index: int) -> str:
        """Return an index as a file may write it; the image lies before row 0."""
        relative = index < 0 or draw(st.booleans())
        return str(index - len(rows) if relative else index)

    def node(index: int) -> Node:
        return Node(3, Fraction(1)) if index < 0 else nodes[index]

    for _ in range(draw(st.integers(2, 9))):
        index = draw(st.integers(-1, len(nodes) - 1))
        read = node(index)
        alike = [i for i in range(len(nodes)) if nodes[i].stride == read.stride]
        kind = draw(st.sampled_from(["Conv", "Conv", "C3", "Pool", "Upsample", "Concat", "Same"]))
        if kind == "Concat" and alike:
            joined = [draw(st.sampled_from(alike)) for _ in range(draw(st.integers(1, 3)))]
            sources = ", ".join(source(i) for i in joined)
            rows.append(f"[[{sources}], 1, Concat, [1]]")
            nodes.append(Node(sum(nodes[i].channels for i in joined), read.stride))
        elif kind == "C3":
            rows.append(f"[{source(index)}, 2, C3, [8]]")
            nodes.append(Node(8, read.stride))
        elif kind == "Pool" and read.stride <= 8:
            rows.append(f"[{source(index)}, 1, nn.MaxPool2d, [2]]")
            nodes.append(Node(read.channels, read.stride * 2))
        elif kind == "Upsample" and read.stride >= 2:
            rows.append(f"[{source(index)}, 1, Upsample, [None, 2]]")
            nodes.append(Node(read.channels, read.stride / 2))
        elif kind == "Conv":
            stride = draw(st.sampled_from([1, 2])) if read.stride <= 8 else 1
            width = draw(st.sampled_from([4, 8, 12]))
            rows.append(f"[{source(index)}, 1, Conv, [{width}, 3, {stride}]]")
            nodes.append(Node(width, read.stride * stride))
        else:
            rows.append(f"[{source(index)}, 1, nn.Identity, []]")
            nodes.append(Node(read.channels, read.stride))
    levels = [draw(st.integers(0, len(nodes) - 1)) for _ in range(2)]
    rows.append(f"[[{source(levels[0])}, {source(levels[1])}], 1, Detect, [nc, anchors]]")
    cut = draw(st.integers(1, len(rows) - 1))
    text = "\n".join(
        ["nc: 3", "imgsz: 64", "anchors: [[10, 13], [30, 61]]"]
        + ["backbone:", *(f"  - {row}" for row in rows[:cut])]
        + ["head:", *(f"  - {row}" for row in rows[cut:])]
    )
    return text, nodes


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(graphs())
def test_random_graphs(drawn: tuple[str, list[Node]]) -> None:
    text, nodes = drawn
    model = build_model_file(check_model_file(YamlFile(Path("a.yaml"), text))).eval()
    assert [row.channels for row in model.plan[:-1]] == [node.channels for node in nodes]
    assert [row.stride for row in model.plan[:-1]] == [node.stride for node in nodes]
    images = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        found = model(images)
        # The same rows with nothing freed.
        outputs: dict[int, Any] = {IMAGE: images}
        for row, module in zip(model.plan, model.rows, strict=True):
            inputs = [outputs[source] for source in row.sources]
            known = contract(row.module)
            outputs[row.index] = module(inputs if known.reads_list else inputs[0])
    for mine, expected in zip(found, outputs[len(nodes)], strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=0)
    for index, node in enumerate(nodes):
        assert outputs[index].shape == (1, node.channels, 32 / node.stride, 48 / node.stride)
    freed = [source for row in model.plan for source in row.frees]
    assert sorted(freed) == list(range(IMAGE, len(nodes))), "each output is freed once"
