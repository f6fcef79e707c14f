"""Metrics of ``benchmark detect`` from runs that are made up, by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from detector.benchmarks.detect_report import (
    MeasuredConfiguration,
    TimedRun,
    format_report,
    plot,
    to_dict,
)
from detector.benchmarks.detect_worker import Configuration
from detector.benchmarks.operators import OperatorShares
from detector.utils.opencv import read_image


def measured(file: Path, runner: str, wall_seconds: list[float], mode: str = "latency"):
    """Ten images a run; the network takes half of a second, the other phases a hundredth each."""
    file.write_bytes(b"x" * 2_000_000)
    configuration = Configuration(
        weights=file, source="images", batch=1, confidence=0.25, threads=2, mode=mode
    )
    seconds = {"decode": 0.01, "preprocess": 0.01, "network": 0.5, "nms": 0.01}
    runs = [TimedRun(10, seconds, wall, 3_000_000) for wall in wall_seconds]
    return MeasuredConfiguration(
        runner, 2, configuration, flops=10**9, runs=runs, start_seconds=1.5
    )


def test_metrics_of_one(tmp_path):
    one = measured(tmp_path / "x.onnx", "onnx", [0.6, 1.0, 0.8])
    assert one.ms("network") == pytest.approx(50)
    assert one.wall_ms() == pytest.approx((80, 60, 100))
    assert one.images_per_second() == pytest.approx((12.5, 10, 1 / 0.06))
    assert one.network_share() == pytest.approx(50 / 80)
    assert one.flops_per_second() == pytest.approx(1e9 / 0.05)
    assert one.file_bytes == 2_000_000
    assert one.label == "ONNX Runtime, batch 1, 2 thr."


def test_the_precision_is_in_the_label(tmp_path):
    one = measured(tmp_path / "x.xml", "openvino", [0.6])
    one.precision = "bf16"
    one.shares = OperatorShares({"Convolution": 1.0}, {"AMX bf16": 1.0})
    assert one.label == "OpenVINO bf16, batch 1, 2 thr."
    assert replace(one, name="a.xml").label == "a.xml bf16, batch 1, 2 thr."
    lines = format_report([one], {2: 1e11}).splitlines()
    at = lines.index("OpenVINO bf16, batch 1, 2 thr.")
    assert lines[at + 1 : at + 3] == [
        "  operators: Convolution 100%",
        "  instructions: AMX bf16 100%",
    ]
    assert to_dict([one], {2: 1e11})["configurations"][0]["precision"] == "bf16"


def test_parallel_batches_share_the_network_time(tmp_path):
    # Two batches spend 50 ms on an image each, at the same time: 25 ms of the clock.
    one = measured(tmp_path / "x.onnx", "onnx", [0.4], mode="throughput")
    assert one.network_share() == pytest.approx(25 / 40)
    assert one.flops_per_second() == pytest.approx(1e9 / 0.025)


def test_the_weights_beside_a_file_count(tmp_path):
    one = measured(tmp_path / "x.xml", "openvino", [1.0])
    (tmp_path / "x.bin").write_bytes(b"x" * 500_000)
    assert one.file_bytes == 2_500_000


def test_table_comparison_and_picture(tmp_path):
    rows = [
        measured(tmp_path / "a.safetensors", "pytorch", [2.0]),
        measured(tmp_path / "b.onnx", "onnx", [1.0]),
        measured(tmp_path / "c.xml", "openvino", [0.8]),
    ]
    text = format_report(rows, {2: 1e11})
    ratio = "OpenVINO, batch 1, 2 thr.: 0.40 × the time of PyTorch, as trained, batch 1, 2 thr."
    assert text.splitlines()[-1] == ratio
    assert "matrix product: 100 GFLOP/s on 2 threads" in text
    metrics = to_dict(rows, {2: 1e11})
    assert metrics["comparison"] == [ratio]
    # 10⁹ operations in 50 ms of 10¹¹ a second.
    assert metrics["configurations"][0]["peak_share"] == pytest.approx(0.2)
    plot(rows, tmp_path / "plot.png")
    assert read_image(tmp_path / "plot.png").shape[2] == 3
