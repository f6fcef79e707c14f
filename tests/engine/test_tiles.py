"""``train --tiles``: training and validation in tiles, and what its weights say later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import detector
from detector.cli import run_tool
from detector.engine.head_settings import train_settings
from detector.engine.setup import prepare
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import read_metadata


@pytest.fixture(scope="module")
def trained(tiny_cfg: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One epoch on tiles of 32 px of the images of 64 px."""
    project = tmp_path_factory.mktemp("runs")
    words = ("--cfg", tiny_cfg, "--data", tiny_data, "--project", project, "--name", "tiles")
    words += ("--tiles", 32, "--epochs", 1, "--batch", 8, "--workers", 0, "--no-pictures")
    assert run_tool("train", [*map(str, words)]) == 0
    return project / "tiles"


def test_training_says_what_it_cuts(tiny_cfg: Path, tiny_data: Path, tmp_path: Path, caplog):
    """64 px are three tiles of 32 with 6 px in common, nine in an image."""
    caplog.set_level("INFO")
    flags = train_settings(
        cfg=str(tiny_cfg), data=str(tiny_data), tiles=32, workers=0, project=tmp_path
    )
    trainer = prepare(flags)
    assert len(trainer.datasets[0].samples) == 8 * 10
    assert len(trainer.datasets[1].samples) == 8
    assert any(
        "tiles of 32 px, overlap 0.2, and the whole image: 8 images become 80 images and tiles"
        in line
        for line in caplog.messages
    )


def test_the_weights_hint_at_the_tiles(trained: Path, tiny_data: Path, caplog):
    """Where images are not cut, whether by detect, by val or in Python."""
    best = trained / "best.safetensors"
    line = f"{best}: trained on tiles of 32 px; without --tiles it sees whole images"
    caplog.set_level("INFO")
    detector.Predictor(best)
    assert line in caplog.messages
    caplog.clear()
    detector.Predictor(best, tiles=64)
    assert line not in caplog.messages


def test_val_hints_at_the_tiles(trained: Path, tiny_data: Path, capfd):
    words = ["val", "--weights", str(trained / "best.safetensors"), "--data", str(tiny_data)]
    assert run_tool(words[0], words[1:]) == 0
    out, err = capfd.readouterr()
    assert "trained on tiles of 32 px; without --tiles it sees whole images" in out + err


def test_validation_in_tiles_is_that_of_val(trained: Path, tiny_data: Path):
    best = trained / "best.safetensors"
    stored = read_metadata(best).training
    assert stored["settings"]["tiles"] == 32
    metrics = detector.validate(best, tiny_data, tiles=32)
    assert metrics.summary["AP"] == pytest.approx(stored["metrics"]["AP"], abs=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tiles": 31}, "tiles: expected at least 32, found 31"),
        ({"tile_visible": 0.5}, "tile_visible: has no effect without tiles, found 0.5"),
        ({"tiles": 32, "tile_visible": 0}, "tile_visible: expected more than 0, found 0"),
        ({"tiles": 32, "tile_overlap": 0.95}, "tile_overlap: expected less than 0.9, found 0.95"),
    ],
)
def test_values_that_do_not_fit(values: dict[str, Any], message: str, tiny_cfg: Path):
    with pytest.raises(DetectorError) as caught:
        train_settings(cfg=str(tiny_cfg), **values)
    assert str(caught.value) == message


def test_tiles_smaller_than_the_stride(tiny_data: Path, tmp_path: Path):
    text = "nc: 2\nanchors: [[9, 9]]\nimgsz: 64\nbackbone:\n"
    text += "  - [-1, 1, Conv, [8, 3, 2]]\n" * 6 + "head:\n  - [[5], 1, Detect, [nc, anchors]]\n"
    cfg = tmp_path / "deep.yaml"
    cfg.write_text(text)
    with pytest.raises(DetectorError) as caught:
        detector.train(cfg, tiny_data, tiles=32, epochs=1, project=tmp_path)
    assert str(caught.value) == "tiles 32: expected at least the network's stride, 64 px"
