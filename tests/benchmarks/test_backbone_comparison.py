"""Measures of several networks: counted ones exactly, measured ones as far as they are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detector.benchmarks.backbone_comparison import Line, table
from detector.benchmarks.backbones import benchmark
from detector.benchmarks.energy import EnergyMeter
from detector.benchmarks.settings import BackboneBenchmarkSettings
from detector.model.cost import cost
from detector.model.deploy import fuse_modules
from detector.model.detector import build
from detector.model.model_file import name_and_variant
from detector.utils.errors import DetectorError


def counter(folder: Path, name: str, energy: int, largest: int = 1_000_000) -> Path:
    package = folder / name
    package.mkdir(exist_ok=True)
    (package / "energy_uj").write_text(f"{energy}\n")
    (package / "max_energy_range_uj").write_text(f"{largest}\n")
    return package


def test_energy_of_two_packages(tmp_path: Path) -> None:
    """0.5 J and 0.7 J; parts of packages are not counted twice, a counter may begin again."""
    for name, energy in (("intel-rapl:0", 100_000), ("intel-rapl:1", 900_000)):
        counter(tmp_path, name, energy)
    counter(tmp_path, "intel-rapl:0:0", 0)
    meter = EnergyMeter(tmp_path)
    counter(tmp_path, "intel-rapl:0", 600_000)
    counter(tmp_path, "intel-rapl:1", 600_000)  # 100,000 to the largest, then 600,000
    counter(tmp_path, "intel-rapl:0:0", 400_000)
    assert meter.joules() == pytest.approx(0.5 + 0.7)
    meter.start()
    assert meter.joules() == 0


def test_energy_that_is_not_counted(tmp_path: Path) -> None:
    assert EnergyMeter(tmp_path).joules() is None
    package = counter(tmp_path, "intel-rapl:0", 1)
    (package / "energy_uj").unlink()
    assert EnergyMeter(tmp_path).joules() is None


def test_derived_measures() -> None:
    """16 images of 2 G multiply-adds in half a second: 32 images/s, 128 GFLOP/s."""
    line = Line("a", "train", 16, 1000, 2_000_000_000, 3_000_000, 5_000_000, 0.5, 8.0)
    assert line.images_per_second == 32
    assert line.flops_per_second == 128e9
    assert line.joules_per_image == 0.5
    cells = table([line]).splitlines()[-1].split()
    expected = ["a", "train", "16", "1,000", "2.000", "3.0", "5", "500.0", "32.0", "128.0", "0.50"]
    assert cells == expected
    uncounted = Line("a", "train", 1, 1, 1, 1, 1, 1.0, None)
    assert table([uncounted]).splitlines()[-1].endswith("–")


@pytest.mark.slow
def test_two_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = BackboneBenchmarkSettings(
        compare=("peleenet", "vovnet:27-slim"),
        batches=(2,),
        imgsz=64,
        rounds=1,
        threads=1,
        plot=tmp_path / "a.png",
    )
    lines = benchmark(settings)["lines"]
    assert [(line["network"], line["form"], line["batch"]) for line in lines] == [
        ("peleenet", "train", 2),
        ("peleenet", "deployed", 2),
        ("vovnet:27-slim", "train", 2),
        ("vovnet:27-slim", "deployed", 2),
    ]
    for line in lines:
        cfg, variant = name_and_variant(line["network"])
        model = build(cfg, variant=variant)
        counted = cost(fuse_modules(model) if line["form"] == "deployed" else model, (64, 64))
        assert (line["params"], line["macs"]) == (counted.params, counted.macs)
        assert line["memory_access"] == counted.memory_access
        assert line["seconds"] > 0
        assert line["peak_bytes"] >= 0
        assert line["images_per_second"] == pytest.approx(2 / line["seconds"])
    assert len(capsys.readouterr().out.splitlines()) == 1 + 2 + 4
    assert (tmp_path / "a.png").is_file()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"plot": Path("a.png")}, "--plot goes with --compare, which is missing"),
        ({"batches": (1,)}, "--batches goes with --compare, which is missing"),
        (
            {"compare": ("peleenet",), "plot": Path("a.jpg")},
            "--plot: expected a name that ends in .png, found a.jpg",
        ),
        ({"compare": ("vovnet:28",)}, "unknown variant '28'"),
    ],
)
def test_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DetectorError) as caught:
        benchmark(BackboneBenchmarkSettings(**settings))
    assert message in str(caught.value)


def test_names() -> None:
    assert name_and_variant("vovnet:39") == ("vovnet", "39")
    assert name_and_variant("cfg/vgg.yaml") == ("cfg/vgg.yaml", None)
    assert name_and_variant("C:\\cfg\\vgg.yaml") == ("C:\\cfg\\vgg.yaml", None)
