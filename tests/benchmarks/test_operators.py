"""Shares of operators: from times that are made up, and of real files."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.benchmarks.operators import OperatorShares, measure_shares, shares_of
from detector.cli import run_tool
from detector.runtime.backends.operator_times import OperatorTime


def test_shares():
    """Of 10 ms convolutions take 6, of which 4 with AMX."""
    times = [
        OperatorTime("Convolution", "brgconv_avx512_amx_1x1_bf16", 0.001),
        OperatorTime("Convolution", "brgconv_avx512_amx_1x1_bf16", 0.003),
        OperatorTime("Convolution", "jit_avx512_f32", 0.002),
        OperatorTime("Concat", "ref_any", 0.004),
    ]
    found = shares_of(times)
    assert found.kinds == pytest.approx({"Convolution": 0.6, "Concat": 0.4})
    assert found.instructions == pytest.approx(
        {"AMX bf16": 0.4, "not told by name": 0.4, "AVX-512 f32": 0.2}
    )
    assert found.lines() == [
        "  operators: Convolution 60%, Concat 40%",
        "  instructions: AMX bf16 40%, not told by name 40%, AVX-512 f32 20%",
    ]


def test_few_are_named():
    shares = OperatorShares({str(number): 0.125 for number in range(8)}, {})
    assert shares.lines() == ["  operators: 0 12%, 1 12%, 2 12%, 3 12%, 4 12%, 5 12%, others 25%"]


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_of_a_file(form: str, finder: Path, tmp_path: Path):
    words = ["--weights", str(finder), "--format", form, "--output", str(tmp_path / "a")]
    assert run_tool("export", words) == 0
    path = tmp_path / {"onnx": "a.onnx", "openvino": "a.xml"}[form]
    found = measure_shares(form, path, 1, "fp32")
    assert found is not None
    assert sum(found.kinds.values()) == pytest.approx(1)
    assert {"Conv", "Convolution", "FusedConv"} & found.kinds.keys()
    assert bool(found.instructions) == (form == "openvino")


def test_a_format_that_does_not_count(finder_pt2: Path):
    assert measure_shares("pt2", finder_pt2, 1, "fp32") is None
