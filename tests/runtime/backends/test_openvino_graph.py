"""OpenVINO files: operators and sizes are checked before OpenVINO reads them, and after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("openvino")

from detector.runtime.backends import held
from detector.runtime.backends.openvino import import_openvino
from detector.runtime.backends.openvino_graph import check_layers, check_sizes

IMAGE = (1, 3, 32, 64)


def file_of(*layers: str) -> bytes:
    return f"<net><layers>{''.join(layers)}</layers></net>".encode()


def layer(operator: str, *sizes: object, inner: str = "") -> str:
    dims = "".join(f"<dim>{size}</dim>" for size in sizes)
    output = f"<output><port id='0'>{dims}</port></output>"
    return f"<layer name='a {operator}' type='{operator}'>{output}{inner}</layer>"


INPUT = layer("Parameter", *IMAGE)


def test_layers_of_networks() -> None:
    check_layers(file_of(INPUT))
    check_layers(file_of(layer("Parameter", 64, 3, 8192, 8192)))
    check_layers(file_of(INPUT, layer("FakeQuantize", *IMAGE), layer("ReLU", -1, 3, 32, 64)))
    check_layers(
        file_of(layer("Parameter", 1, 3, 640, 640), layer("Convolution", 1, 512, 640, 640))
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an XML file: no element found"),
        (b"<net/>", "is not an OpenVINO file"),
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]><net/>",
         "has a document type, which OpenVINO's files have not"),
        *[(file_of(INPUT, layer(name)),
           f"has the operator '{name}', which is not among those of networks")
          for name in ("Loop", "If", "TensorIterator", "ReadValue", "RandomUniform", "Acme")],
        (file_of(layer("Relu", inner="<body></body>")),
         "has a graph within an operator, which is not run"),
        (file_of(layer("Relu", inner=layer("Relu"))),
         "has a graph within an operator, which is not run"),
        (file_of(layer("Relu", inner="<x>" * 20)),
         "has more than 16 elements within each other"),
        (file_of(INPUT, layer("Relu", "many")), "has the size 'many', expected an integer"),
        (file_of(layer("ReLU", *IMAGE)), "has 0 inputs, expected 1"),
        (file_of(INPUT, layer("Parameter", 64, 3, 8192, 8192)), "has 2 inputs, expected 1"),
        # 64·8192² pixels are 2³², the most; a batch of 65 has 65·2²⁶.
        (file_of(layer("Parameter", 65, 3, 8192, 8192)),
         "has an input of 4,362,076,160 pixels, at most 4,294,967,296 are given"),
        (file_of(INPUT, layer("Broadcast", 1 << 20, 1 << 20)),
         "needs more memory than a network: 1,099,511,627,776 values at once from "
         "'a Broadcast' on, at most 33,554,432 for an input of 2,048 pixels"),
    ],
)  # fmt: skip
def test_files_that_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_layers(content)
    assert str(caught.value) == message


def test_limits_are_those_of_all_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    two = file_of(INPUT, layer("ReLU", *IMAGE))
    for name, value, message in (
        ("MAX_NODES", 1, "has more than 1 operators"),
        # 1·3·32·64 values are 3 a pixel.
        ("VALUES_PER_PIXEL", 2, "needs more memory than a network: 6,144 values at once from "
         "'a Parameter' on, at most 4,096 for an input of 2,048 pixels"),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(held, "MIN_VALUES", 0)
            check_layers(two)
            patch.setattr(held, name, value)
            with pytest.raises(ValueError) as caught:
                check_layers(two)
        assert str(caught.value) == message


Build = Callable[[Any, Any], Any]


def huge(op: Any, *sizes: int) -> Any:
    return op.constant(np.array(sizes, np.int64))


GROWN: dict[str, Build] = {
    "Broadcast": lambda op, x: op.broadcast(op.constant(np.float32(1)), huge(op, 1 << 20, 1 << 16)),
    "Tile": lambda op, x: op.tile(x, huge(op, 1, 1, 1 << 14, 1 << 12)),
    "Pad": lambda op, x: op.pad(x, huge(op, 0, 0, 0, 0), huge(op, 0, 0, 0, 1 << 30), "constant"),
    "Add": lambda op, x: op.add(
        op.constant(np.ones((1 << 18, 1), np.float32)),
        op.constant(np.ones((1, 1 << 18), np.float32)),
    ),
    "Interpolate": lambda op, x: op.interpolate(
        x, huge(op, 1 << 18, 1 << 18), "nearest", "sizes", axes=huge(op, 2, 3)
    ),
}


@pytest.mark.parametrize("name", GROWN)
def test_sizes_that_openvino_works_out(name: str) -> None:
    openvino = import_openvino()
    from openvino import opset13 as op

    x = op.parameter([-1, 3, 32, 64], np.float32)
    check_sizes(openvino.Model([op.relu(x)], [x], "small"), IMAGE)
    with pytest.raises(ValueError, match=r"^needs more memory than a network: "):
        check_sizes(openvino.Model([GROWN[name](op, x)], [x], "large"), IMAGE)


def test_a_size_that_follows_from_the_image() -> None:
    openvino = import_openvino()
    from openvino import opset13 as op

    x = op.parameter([1, 3, 32, 64], np.float32)
    total = op.convert(op.reduce_sum(x, huge(op, 1, 2, 3)), "i64")
    model = openvino.Model([op.broadcast(op.constant(np.float32(1)), total)], [x], "any")
    with pytest.raises(ValueError, match=r"^the size of '\w+' cannot be told before it is run$"):
        check_sizes(model, IMAGE)


def test_a_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    from detector.runtime.backends.openvino import OpenVinoBackend
    from detector.runtime.backends.seal import UNSEALED, seal
    from detector.utils.errors import DetectorError

    path = tmp_path / "a.xml"
    path.write_bytes(file_of(INPUT, layer("Loop")) + f"<!--{UNSEALED}-->".encode())
    path.with_suffix(".bin").write_bytes(b"")
    seal(path, path.with_suffix(".bin"))
    with pytest.raises(DetectorError) as caught:
        OpenVinoBackend(path)
    assert str(caught.value) == (
        f"{path}: refused, it was not run: has the operator 'Loop', which is not among those of "
        "networks"
    )
