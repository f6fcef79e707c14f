"""Names that are too long for any file, in every place that names files: an image is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from detector.data.dataset import open_dataset
from detector.utils.errors import DetectorError

LONG = "x" * 300 + ".png"
SHOWN = "'" + "x" * 56 + "..."
"""As messages quote it: 60 characters."""


def refused(data: Path) -> str:
    with pytest.raises(DetectorError) as caught:
        open_dataset(data, "val")
    return str(caught.value)


@pytest.fixture
def labelled(tmp_path: Path, make_image: Callable[..., Path]) -> Path:
    """A folder with one image and its labels."""
    make_image("images/a.png", (20, 40), 10)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    return tmp_path


def define(folder: Path, split: str) -> Path:
    (folder / "data.yaml").write_text(f"names: [red]\nval: {split}\n")
    return folder / "data.yaml"


def test_a_list_of_images(labelled: Path) -> None:
    (labelled / "val.txt").write_text(f"images/a.png\n{LONG}\n")
    message = f"no image {SHOWN}, looked for at {labelled / LONG} (--skip-bad leaves it out)"
    assert refused(define(labelled, "val.txt")) == f"{labelled / 'val.txt'}:2: {message}"


def test_a_list_of_classes(labelled: Path) -> None:
    (labelled / "val.txt").write_text(f"images/a.png red\n{LONG} red\n")
    message = f"{labelled / LONG}: cannot be read: File name too long (--skip-bad leaves it out)"
    assert refused(define(labelled, "val.txt")) == message


@pytest.mark.parametrize("suffix", ["", ".txt"])
def test_a_split(labelled: Path, suffix: str) -> None:
    place = labelled / f"{'x' * 300}{suffix}"
    message = f":2: split 'val': {place} does not exist; {labelled} holds images/, labels/, "
    assert refused(define(labelled, place.name)).startswith(f"{labelled / 'data.yaml'}{message}")


def test_the_path_of_a_definition(labelled: Path) -> None:
    data = define(labelled, "nowhere")
    data.write_text(f"{data.read_text()}path: {'x' * 300}\n")
    assert f":3: the folder {labelled / ('x' * 300)} does not exist; " in refused(data)


def test_a_coco_file(labelled: Path) -> None:
    images = [{"id": 1, "file_name": LONG, "width": 40, "height": 20}]
    content = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "red"}]}
    (labelled / "val.json").write_text(json.dumps(content))
    data = define(labelled, "{images: images, annotations: val.json}")
    message = f"{labelled / 'images' / LONG}: cannot be read: File name too long"
    assert refused(data) == f"{message} (--skip-bad leaves it out)"


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + ".yaml"])
def test_the_definition_itself(name: str) -> None:
    assert refused(Path(name)) == f"{name}: no such file"
