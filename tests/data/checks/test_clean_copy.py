"""The cleaned copy: what is left out is said, the rest is the same, and the original stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.data.checks.clean_copy import CleanCopy, write_clean_copy
from detector.data.checks.run import CheckedData, check_dataset
from detector.data.dataset import open_dataset
from detector.data.formats.definition import load_definition
from detector.structures.preprocess import Preprocess
from detector.utils.errors import DetectorError
from detector.utils.opencv import write_image


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def copy(checked: CheckedData, tmp_path_factory: pytest.TempPathFactory) -> CleanCopy:
    return write_clean_copy(checked, tmp_path_factory.mktemp("copy") / "clean")


def test_the_copy_has_no_error_and_no_exact_duplicate(copy: CleanCopy):
    definition = load_definition(copy.folder)
    report = check_dataset(definition, Preprocess(size_hw=(320, 320)), 32).report
    kinds = {one.kind for one in report.findings}
    assert not {one.kind for one in report.findings if one.severity == "error"}
    assert not kinds & {"exact-duplicates-across-splits", "empty-boxes", "boxes-outside"}
    assert "near-duplicates-across-splits" in kinds  # these are for a person to judge
    # 75 images, less 5 copies and 2 broken ones
    assert report.splits["train"]["images"] == 68
    assert report.splits["val"]["images"] == 30


def test_each_change_is_said(copy: CleanCopy, planted):
    changes = copy.changes
    assert (copy.folder / "changes.txt").read_text().splitlines() == changes
    train = planted.root / "images/train"
    labels = planted.root / "labels/train"
    val = planted.root / "images/val"
    assert (
        f"train: {train / 'copy0.jpg'} left out: the picture of val: {val / 'val00.jpg'}" in changes
    )
    assert sum("left out: the picture of val" in change for change in changes) == 5
    assert sum(change.startswith("train: image left out: ") for change in changes) == 2
    assert (
        f"train: label left out: {labels / 'train39.txt'}:3: class 9 is out of range, expected 0 "
        "to 4" in changes
    )
    assert f"train: {labels / 'train30.txt'}: duplicate boxes dropped: 1" in changes
    assert f"train: {labels / 'train34.txt'}: boxes clipped to their image: 1" in changes
    assert len(changes) == 5 + 2 + 1 + 1 + 1 + 1 + 1  # and one box empty, one outside


def test_the_rest_is_the_same(copy: CleanCopy, planted):
    before = {
        s.path.name: s for s in open_dataset(planted.definition, "train", skip_bad=True).samples
    }
    after = open_dataset(copy.folder, "train").samples
    for sample in after:
        old = before[sample.path.name]
        assert sample.path.read_bytes() == old.path.read_bytes()
        assert sample.class_ids.tolist() == old.class_ids.tolist()
        assert np.abs(sample.boxes_xyxy - old.boxes_xyxy).max(initial=0) < 1e-3


def test_the_original_stays(checked: CheckedData, planted, tmp_path: Path):
    before = contents(planted.root)
    write_clean_copy(checked, tmp_path / "clean")
    assert contents(planted.root) == before
    assert [path.name for path in tmp_path.iterdir()] == ["clean"]


def test_printed_lines(copy: CleanCopy):
    lines = copy.lines()
    assert lines[0] == f"cleaned copy in {copy.folder}, boxes only, as COCO JSON: 12 changes"
    assert len(lines) == 13
    many = CleanCopy(Path("x"), [str(n) for n in range(25)])
    assert many.lines()[-1] == f"  … and 5 more, all in {Path('x/changes.txt')}"


def test_a_folder_with_files_is_refused(checked: CheckedData, tmp_path: Path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(DetectorError, match="is not empty, expected a new or empty folder"):
        write_clean_copy(checked, tmp_path)
    with pytest.raises(DetectorError, match="is a file, expected a new or empty folder"):
        write_clean_copy(checked, tmp_path / "mine.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_images_of_one_name_in_two_folders(tmp_path: Path, rng: np.random.Generator):
    for folder in ("a", "b"):
        picture = rng.integers(0, 255, (64, 64, 3)).astype(np.uint8)
        write_image(tmp_path / folder / "0.png", picture)
        (tmp_path / folder / "0.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "lists").mkdir()
    file = tmp_path / "lists/data.yaml"
    file.write_text("names: [x]\ntrain: [../a, ../b]\n")
    checked = check_dataset(load_definition(file), Preprocess(size_hw=(64, 64)), 32)
    copy = write_clean_copy(checked, tmp_path / "clean")
    samples = open_dataset(copy.folder, "train").samples
    root = copy.folder / "images/train"
    assert [sample.path.relative_to(root).as_posix() for sample in samples] == [
        "a/0.png",
        "b/0.png",
    ]
    assert copy.changes == []


def test_class_folders_are_refused(tmp_path: Path, rng: np.random.Generator):
    for name in ("cat", "dog"):
        picture = rng.integers(0, 255, (64, 64, 3)).astype(np.uint8)
        write_image(tmp_path / "set/train" / name / "0.png", picture)
    checked = check_dataset(load_definition(tmp_path / "set"), Preprocess(size_hw=(64, 64)), 32)
    assert checked.report.findings == []
    with pytest.raises(DetectorError, match="split 'train' has one class for each image"):
        write_clean_copy(checked, tmp_path / "clean")
