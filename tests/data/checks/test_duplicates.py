"""Images that a data set has several times."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from detector.data.checks.duplicates import duplicate_findings, duplicate_groups
from detector.data.checks.measure import MeasuredImage, measure_image
from detector.data.formats.rows import AnnotatedImage, LabelRow, Labels
from detector.utils.opencv import cv2, write_image


def measured(path: Path, split: str, *boxes: tuple[float, float, float, float]) -> MeasuredImage:
    rows = [LabelRow(0, box, line) for line, box in enumerate(boxes, 1)]
    return measure_image(AnnotatedImage(path, 1, lambda _: Labels(path, rows)), split)


@pytest.fixture
def noise(tmp_path: Path, rng: np.random.Generator):
    def noise(name: str, size_hw: tuple[int, int] = (48, 64)) -> Path:
        pixels = cv2.resize(rng.integers(0, 256, (12, 16, 3)).astype(np.uint8), size_hw[::-1])
        write_image(tmp_path / name, np.asarray(pixels, np.uint8))
        return tmp_path / name

    return noise


def found(images: list[MeasuredImage]) -> dict[str, int]:
    return {one.kind: one.count for one in duplicate_findings(*duplicate_groups(images))}


def test_no_image():
    assert found([]) == {}


def test_different_images(noise):
    assert found([measured(noise(f"{n}.png"), "train") for n in range(4)]) == {}


def test_equal_bytes_and_equal_pixels(noise, tmp_path: Path):
    first = noise("a.png")
    (tmp_path / "b.png").write_bytes(first.read_bytes())
    picture = cv2.imread(str(first))
    cv2.imwrite(str(tmp_path / "c.bmp"), picture)  # other bytes, the same pixels
    images = [measured(tmp_path / name, "train") for name in ("a.png", "b.png", "c.bmp")]
    (group,), _ = duplicate_groups(images)
    assert group.is_exact and len(group.images) == 3
    (one,) = duplicate_findings([group])
    assert (one.kind, one.severity) == ("exact-duplicates", "warning")
    assert (
        one.message == "1 picture several times in one split (3 files with equal bytes or pixels)"
    )


def test_one_file_in_two_splits(noise):
    path = noise("a.png")
    images = [measured(path, "train"), measured(path, "val")]
    (one,) = duplicate_findings(*duplicate_groups(images))
    assert one.kind == "exact-duplicates-across-splits"
    assert [place.split for place in one.places] == ["train", "val"]
    assert {place.group for place in one.places} == {1}


def test_a_near_duplicate_of_an_exact_pair(noise, tmp_path: Path):
    path = noise("a.png")
    smaller = cv2.resize(cv2.imread(str(path)), (56, 42))
    cv2.imwrite(str(tmp_path / "small.png"), smaller)
    train = partial(measured, split="train")
    images = [train(path), train(path), measured(tmp_path / "small.png", "val")]
    assert found(images) == {"exact-duplicates": 1, "near-duplicates-across-splits": 1}
    _, near = duplicate_groups(images)[0]
    assert [image.split for image in near.images] == ["train", "val"]  # one of each split


def test_near_duplicates_in_one_split_are_a_note(noise, tmp_path: Path):
    path = noise("a.png")
    cv2.imwrite(str(tmp_path / "b.jpg"), cv2.imread(str(path)), [cv2.IMWRITE_JPEG_QUALITY, 50])
    images = [measured(path, "val"), measured(tmp_path / "b.jpg", "val")]
    (one,) = duplicate_findings(*duplicate_groups(images))
    assert (one.kind, one.severity) == ("near-duplicates", "note")


def test_equal_images_with_other_labels(noise):
    path, box = noise("a.png"), (1, 1, 20, 20)
    same = [measured(path, "train", box), measured(path, "train", box)]
    assert found(same) == {"exact-duplicates": 1}
    other = [*same, measured(path, "train", (1, 1, 20, 21))]
    assert found(other) == {"exact-duplicates": 1, "duplicates-with-other-labels": 1}


def test_broken_images_of_equal_bytes(tmp_path: Path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"no image")
    images = [measured(tmp_path / name, "train") for name in ("a.jpg", "b.jpg", "missing.jpg")]
    assert found(images) == {"exact-duplicates": 1}


def test_an_incomplete_search_is_said():
    (one,) = duplicate_findings([], is_complete=False)
    assert one.message == (
        "more than 5000000 pairs of images look alike; the others were not compared"
    )
