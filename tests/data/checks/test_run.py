"""Each kind of planted fault is found, and nothing else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from detector.data.checks.finding import Finding
from detector.data.checks.run import CheckedData, check_dataset, quick_findings
from detector.data.dataset import open_dataset
from detector.data.formats.definition import load_definition
from detector.structures.preprocess import Preprocess
from detector.utils.errors import DetectorError
from detector.utils.opencv import write_image

EXPECTED = {
    "broken-images": ("error", 2),
    "invalid-labels": ("error", 1),
    "unused-labels": ("warning", 3),
    "exact-duplicates-across-splits": ("warning", 5),
    "near-duplicates-across-splits": ("warning", 10),
    "same-names": ("warning", 1),
    "missing-classes": ("warning", 1),
    "duplicate-boxes": ("warning", 2),
    "empty-boxes": ("warning", 1),
    "boxes-outside": ("warning", 1),
    "blank-images": ("warning", 1),
    "small-objects": ("warning", 30),
    "unlabeled-images": ("note", 1),
    "images-without-objects": ("note", 1),
    "unused-classes": ("note", 1),
    "boxes-of-two-classes": ("note", 1),
    "nested-boxes": ("note", 1),
    "clipped-boxes": ("note", 1),
    "needle-boxes": ("note", 1),
    "whole-image-boxes": ("note", 1),
    "dark-images": ("note", 1),
    "bright-images": ("note", 1),
    "blurred-images": ("note", 1),
    "grey-images": ("note", 1),
    "long-images": ("note", 1),
    "turned-images": ("note", 1),
    "transparent-images": ("note", 1),
    "deep-images": ("note", 1),
}


def finding(checked: CheckedData, kind: str) -> Finding:
    (one,) = [one for one in checked.report.findings if one.kind == kind]
    return one


def pairs(one: Finding) -> set[frozenset[str]]:
    groups: dict[int | None, set[str]] = {}
    for place in one.places:
        groups.setdefault(place.group, set()).add(place.file.name)
    return {frozenset(names) for names in groups.values()}


def test_each_planted_kind_is_found(checked: CheckedData):
    found = {one.kind: (one.severity, one.count) for one in checked.report.findings}
    assert found == EXPECTED
    assert checked.report.counts() == Counter(severity for severity, _ in EXPECTED.values())
    assert not checked.report.passes


def test_all_fifteen_duplicates_and_no_other_pair(checked: CheckedData, planted):
    assert len(planted.exact) == 5 and len(planted.near) == 10
    assert pairs(finding(checked, "exact-duplicates-across-splits")) == planted.exact
    assert pairs(finding(checked, "near-duplicates-across-splits")) == planted.near


def test_lines_of_labels(checked: CheckedData):
    def places(kind: str) -> list[tuple[str, int | None, str]]:
        return [(p.file.name, p.line, p.detail) for p in finding(checked, kind).places]

    assert places("duplicate-boxes") == [
        ("train30.txt", 3, "IoU 1.00 with that of line 2"),
        ("train31.txt", 3, "IoU 0.97 with that of line 2"),
    ]
    assert places("nested-boxes") == [("train33.txt", 3, "in that of line 2")]
    assert places("clipped-boxes") == [("train34.txt", 3, "20.0 px beyond the border")]
    assert places("empty-boxes") == [("train35.txt", 3, "zero wide or high")]
    assert places("boxes-outside") == [("train36.txt", 3, "outside the image")]
    assert places("needle-boxes") == [("train37.txt", 3, "21 times as long as wide")]
    assert places("invalid-labels") == [
        ("train39.txt", 3, "class 9 is out of range, expected 0 to 4")
    ]


def test_messages(checked: CheckedData):
    assert finding(checked, "same-names").message == (
        "1 class under several names that differ in case, spaces or hyphens only: 'cell' and 'Cell'"
    )
    assert finding(checked, "missing-classes").message == (
        "split 'val' has no box of 1 class that other splits have: 'platelet'"
    )
    assert finding(checked, "small-objects").advice == (
        # 4 px at 320 have 8 at 640; more than that at the next multiple of 32
        "they are as small in the images themselves: no input and no tiles show them better"
    )
    assert [place.detail for place in finding(checked, "turned-images").places] == ["orientation 6"]


def test_numbers_of_splits(checked: CheckedData):
    numbers = checked.report.splits["train"]
    assert numbers["images"] == 60 + 5 + 10
    assert numbers["unusable_images"] == 2
    assert numbers["median_size_hw"] == [240, 320]
    val = checked.report.splits["val"]
    assert (val["images"], val["boxes"]) == (30, 60)
    assert checked.report.classes["platelet"]["val"] == 0
    assert sum(checked.report.sizes.values()) == numbers["boxes"] + val["boxes"]


def test_one_split_and_a_limit(planted):
    definition = load_definition(planted.definition)
    checked = check_dataset(definition, Preprocess(size_hw=(320, 320)), 32, ["val"], limit=4)
    assert list(checked.report.splits) == ["val"]
    assert checked.report.splits["val"]["images"] == 4
    kinds = {one.kind for one in checked.report.findings}
    assert not {"exact-duplicates-across-splits", "broken-images"} & kinds
    assert "unused-labels" in kinds  # the labels of train are not unused


def test_a_set_without_faults(tmp_path: Path, rng: np.random.Generator):
    for split in ("train", "val"):
        for number in range(4):
            noise = rng.integers(0, 255, (64, 64, 3)).astype(np.uint8)
            write_image(tmp_path / "images" / split / f"{number}.png", noise)
            label = tmp_path / "labels" / split / f"{number}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(f"{number % 2} 0.5 0.5 0.5 0.5\n")
    (tmp_path / "data.yaml").write_text("names: [a, b]\ntrain: images/train\nval: images/val\n")
    definition = load_definition(tmp_path)
    report = check_dataset(definition, Preprocess(size_hw=(64, 64)), 32).report
    assert report.findings == []
    assert report.passes
    assert report.lines() == [
        "split 'train': 4 images, 4 boxes",
        "split 'val': 4 images, 4 boxes",
        f"{tmp_path / 'data.yaml'}: 0 errors, 0 warnings, 0 notes",
    ]


def test_the_quick_part_needs_no_image(planted):
    datasets = [
        open_dataset(planted.definition, split, skip_bad=True) for split in ("train", "val")
    ]
    found = {one.kind: one.count for one in quick_findings(datasets)}
    # the equal box was dropped as the split was read
    assert found == {"same-names": 1, "missing-classes": 1, "duplicate-boxes": 1}


def test_a_split_that_cannot_be_read(tmp_path: Path, rng: np.random.Generator):
    write_image(tmp_path / "images/a.png", rng.integers(0, 255, (64, 64, 3)).astype(np.uint8))
    (tmp_path / "images/a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    file = tmp_path / "data.yaml"
    file.write_text("names: [a]\ntrain: images\nval: {annotations: none.json, images: images}\n")
    report = check_dataset(load_definition(file), Preprocess(size_hw=(64, 64)), 32).report
    (error,) = [one for one in report.findings if one.severity == "error"]
    assert error.message.startswith(f"split 'val': {tmp_path / 'none.json'} does not exist; ")
    assert (error.places[0].file, error.places[0].line) == (file, 3)


def test_unknown_split(planted):
    definition = load_definition(planted.definition)
    with pytest.raises(DetectorError, match=r"no split 'vale'; did you mean 'val'\?"):
        check_dataset(definition, Preprocess(size_hw=(64, 64)), 32, ["vale"])
