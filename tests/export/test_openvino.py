"""OpenVINO files are small: shared constants, no indents, and the same outputs to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from detector.export.openvino import SHARED_BYTES, saver
from detector.runtime.backends.openvino import import_openvino, openvino_core
from detector.runtime.backends.seal import SEAL_KEY, UNSEALED

NAME = "a > <b>"
"""A text that looks like tags, which must stay as it is."""


def rounded_twice() -> Any:
    """x → round to 256 steps in 0..1 → round to 256 steps in 0..2 → plus a large constant, twice.

    NNCF writes each range twice, for what goes in and what comes out: eight numbers, three of which
    differ. The large constants are equal, too.
    """
    opset = import_openvino().opset13
    x = opset.parameter([1, 3, 4, 8], np.float32, name="x")
    value = x
    for high in (1, 2):
        ends = [opset.constant(np.float32(end)) for end in (0, high, 0, high)]
        value = opset.fake_quantize(value, *ends, 256)
    large = np.arange(32, dtype=np.float32).reshape(1, 1, 4, 8)
    for _ in range(2):
        value = opset.add(value, opset.constant(large))
    model = import_openvino().Model([value], [x], "tiny")
    model.set_rt_info(NAME, ["note"])
    return model


def constants(model: Any) -> list[Any]:
    return [node for node in model.get_ops() if node.get_type_name() == "Constant"]


def test_small_constants_are_shared(tmp_path: Path) -> None:
    """Of eight numbers 0, 1 and 2 stay; 128 bytes are more than constants that are shared have."""
    model = rounded_twice()
    core = openvino_core(import_openvino())
    x = np.random.default_rng(0).normal(1, 1, (1, 3, 4, 8)).astype(np.float32)
    assert len(constants(model)) == 10
    expected = core.compile_model(model, "CPU")([x])[0]
    saver(model)(tmp_path / "a.xml", {SEAL_KEY: UNSEALED})
    read = core.read_model(tmp_path / "a.xml")
    assert SHARED_BYTES < 128
    assert sorted(node.get_byte_size() for node in constants(read)) == [4, 4, 4, 128, 128]
    assert np.array_equal(core.compile_model(read, "CPU")([x])[0], expected)


def test_no_indents(tmp_path: Path) -> None:
    saver(rounded_twice())(tmp_path / "a.xml", {SEAL_KEY: UNSEALED})
    text = (tmp_path / "a.xml").read_text()
    assert "\n" not in text.partition("<net")[2].rstrip()
    note = ElementTree.fromstring(text).find("rt_info/note")
    assert note is not None
    assert note.get("value") == NAME
