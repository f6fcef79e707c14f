"""Costs side by side: the lines of the table, the metrics, the picture."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.cli.costs import COLUMNS, MEASURED_COLUMNS, metrics, network_cost, plot, table
from detector.model.detector import Detector, build
from detector.utils.opencv import read_image


@pytest.fixture(scope="module")
def model() -> Detector:
    return build("yolov5_repvgg", 1, "n")


def test_table_and_metrics(model: Detector) -> None:
    network = network_cost("small", model, (64, 128), rounds=None)
    found = metrics(network)
    lines = table([network, network]).splitlines()
    assert [line.split()[:3] for line in lines[2::2]] == [["small", "at", "64×128"]] * 2
    assert lines[3] == lines[5]
    assert lines[3].split() == [
        "deployed",
        f"{found['deploy_params']:,}",
        f"{found['deploy_macs'] / 1e9:.3f}",
        f"{2 * found['deploy_macs'] / 1e9:.3f}",
        f"{found['deploy_winograd_muls'] / 1e9:.3f}",
        f"{found['deploy_memory_access'] / 1e6:.3f}",
        f"{found['deploy_peak_activation_bytes'] / 1e6:.3f}",
    ]
    assert found["memory_access"] == network.train.cost.memory_access
    assert found["size_hw"] == [64, 128]
    assert all(column in lines[0] for column in COLUMNS)
    assert not {"ms", "deploy_ms"} & set(found)


def test_measured(model: Detector) -> None:
    network = network_cost("small", model, (64, 64), rounds=2)
    found = metrics(network)
    assert 0 < found["ms"] < 60_000
    # two operations a multiply-add, each millisecond
    assert found["flops_per_second"] == pytest.approx(2 * found["macs"] / found["ms"] * 1000)
    assert found["deploy_flops_per_second"] > 0
    lines = table([network]).splitlines()
    assert all(column in lines[0] for column in MEASURED_COLUMNS)
    assert lines[2].split()[-2] == f"{found['ms']:.1f}"


def test_plot(model: Detector, tmp_path: Path) -> None:
    network = network_cost("small", model, (64, 64), rounds=None)
    plot([network] * 3, tmp_path / "costs.png")
    height, width, _ = read_image(tmp_path / "costs.png").shape
    assert (width, height) == (1200, round(120 * (2.5 + 3 * 0.8)))
    assert [file.name for file in tmp_path.iterdir()] == ["costs.png"]
