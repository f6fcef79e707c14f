"""A classifier that learns something real: scikit-learn's handwritten digits, 8×8 pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.model.deploy import deploy
from detector.utils.opencv import write_image
from detector.weights.checkpoint import load, save_weights

TRAINING = {
    **{"cfg": "repvgg", "variant": "A0", "imgsz": 32, "epochs": 15, "batch": 32},
    **{"optimizer": "adamw", "learning-rate": 0.001, "momentum": 0.9},
    **{"ema-decay": 0.98, "ema-warmup": 20, "fliplr": 0, "scale": 0.2},
    **{"val-interval": 3, "device": "cpu"},
}


def write_digits(root: Path) -> None:
    """1797 images in class folders: 60 % to train on, 20 % to choose the epoch, 20 % to test."""
    datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.model_selection import train_test_split

    digits = datasets.load_digits()
    labels, numbers = digits.target, np.arange(len(digits.target))
    rest, test = train_test_split(numbers, test_size=0.2, stratify=labels, random_state=0)
    train, val = train_test_split(rest, test_size=0.25, stratify=labels[rest], random_state=0)
    for split, chosen in (("train", train), ("val", val), ("test", test)):
        for number in chosen:
            # The centre crop takes a border off.
            image = np.pad((digits.images[number] * 255 / 16).astype(np.uint8), 1)
            path = root / split / str(labels[number]) / f"{number}.png"
            write_image(path, np.repeat(image[..., None], 3, axis=2))


@pytest.mark.slow
def test_digits(run: Callable[..., Any], tmp_path: Path) -> None:
    """RepVGG-A0 reads 97 % of the test images, as trained, deployed, and from ONNX."""
    write_digits(tmp_path / "digits")
    words = [word for name, value in TRAINING.items() for word in (f"--{name}", value)]
    data = ("--data", tmp_path / "digits")
    assert run("train", *words, *data, "--project", tmp_path, "--name", "run").code == 0
    best, deployed = tmp_path / "run" / "best.safetensors", tmp_path / "deployed.safetensors"
    save_weights(deployed, deploy(load(best))[0])
    onnx = run("export", "--weights", best, "--format", "onnx", "--dynamic").metrics["path"]
    found = [
        run("val", "--weights", weights, *data, "--split", "test").metrics["top1"]
        for weights in (best, deployed, onnx)
    ]
    assert found[0] >= 0.97
    assert found == [found[0]] * 3
