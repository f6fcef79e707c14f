"""Conversion of data sets: round trips, what is kept, what is said, what is refused."""

from __future__ import annotations

import filecmp
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import detector
from detector.data.conversion.image_names import image_names
from detector.data.conversion.losses import has_own_area
from detector.data.conversion.read_back import MAX_DIFFERENCE
from detector.data.conversion.run import ConversionReport
from detector.data.dataset import DetectionDataset, open_dataset
from detector.evaluation.coco import CocoEvaluator
from detector.structures.detections import Detections
from detector.utils.errors import DetectorError
from detector.utils.files import temporary_path
from detector.utils.opencv import write_image

CHAIN = ("yolo", "coco", "voc", "csv", "yolo")
NAMES = ["<b> & 'c'", "-x", "é, ü", "=1+1", "yes"]

ImageMaker = Callable[..., Path]


def convert(data: Path, to: str, output: Path, **settings: Any) -> ConversionReport:
    return detector.convert(data, to, output, **settings)


def by_name(dataset: DetectionDataset) -> dict[str, Any]:
    return {sample.path.name: sample for sample in dataset.samples}


def check_same(before: DetectionDataset, after: DetectionDataset) -> None:
    """Compare images, classes and boxes."""
    assert after.names == before.names
    ours, theirs = by_name(before), by_name(after)
    assert theirs.keys() == ours.keys()
    for name, sample in ours.items():
        found = theirs[name]
        keep = ~sample.crowd
        assert found.size_hw == sample.size_hw
        assert found.class_ids.tolist() == sample.class_ids[keep].tolist()
        np.testing.assert_allclose(
            found.boxes_xyxy, sample.boxes_xyxy[keep], rtol=0, atol=MAX_DIFFERENCE
        )


def metrics(dataset: DetectionDataset) -> dict[str, float]:
    """Return the twelve metrics of boxes drawn around each image's objects by its name."""
    evaluator = CocoEvaluator(
        dataset.ground_truth(), dataset.category_ids, [s.image_id for s in dataset.samples]
    )
    for sample in dataset.samples:
        rng = np.random.default_rng(list(sample.path.name.encode()))
        keep = ~sample.crowd
        n, sides = int(keep.sum()), np.tile(sample.size_hw[::-1], 2)
        boxes = sample.boxes_xyxy[keep].round(1) + rng.normal(0, 0.01, (n, 4)) * sides
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        scores = np.sort(rng.random(n))[::-1]
        evaluator.add(
            sample.image_id,
            Detections(
                boxes.astype(np.float32),
                scores.astype(np.float32),
                sample.class_ids[keep],
                dataset.names,
            ),
        )
    return evaluator.compute().summary


def check_chain(data: Path, folder: Path, root: Path, limit: int | None) -> None:
    """Convert along the chain; compare each step with the source, and both YOLO sets exactly.

    Args:
        data: definition of the source.
        folder: where the sets are written.
        root: folder of the source.
        limit: number of images of each split that are read; None: all.
    """
    source, last = data, {}
    for number, to in enumerate(CHAIN):
        output = folder / f"{number}_{to}"
        own = {"data_root": root, "limit": limit} if source == data else {}
        report = convert(source, to, output, images="symlink", **own)  # across file systems, too
        for split in report.images:
            before = open_dataset(data, split, root, limit=limit)
            after = open_dataset(output, split)
            check_same(before, after)
            if not any(sample.crowd.any() for sample in before.samples):
                # YOLO keeps no areas of segmentations, by which boxes are small or large.
                figures, others = metrics(before), metrics(after)
                own_areas = any(has_own_area(sample).any() for sample in before.samples)
                names = {"AP", "AP50", "AP75", "AR100"} if own_areas else figures.keys()
                assert [figures[n] for n in names] == [others[n] for n in names]
                assert 0.1 < figures["AP"] < 0.99  # otherwise nothing would be compared
        source, last[to] = output, output
    first, second = folder / "0_yolo", last["yolo"]
    files = [path.relative_to(first) for path in first.rglob("*") if path.is_file()]
    assert filecmp.cmpfiles(first, second, map(str, files), shallow=False)[1:] == ([], [])


@pytest.fixture
def drawn(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A set of two splits with odd names of classes, folders and files, and negatives."""
    root = tmp_path / "drawn set"
    for split in ("train", "val"):
        for number, name in enumerate(("a", "b c", "-d", "é", "x/a", "y/a", "empty", "unlabeled")):
            height, width = (60 + number, 80)
            image = root / "images" / split / f"{name}.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            write_image(image, np.full((height, width, 3), number * 20, np.uint8))
            text = root / "labels" / split / f"{name}.txt"
            text.parent.mkdir(parents=True, exist_ok=True)
            centers, sizes = rng.uniform(0.2, 0.8, (6, 2)), rng.uniform(0.1, 0.4, (6, 2))
            rows = np.concatenate([centers, sizes], axis=1).round(6).tolist()
            lines = [f"{i % 5} {' '.join(map(str, row))}\n" for i, row in enumerate(rows)]
            if name != "unlabeled":
                text.write_text("" if name == "empty" else "".join(lines))
    (root / "data.yaml").write_text(
        f"names: {json.dumps(NAMES)}\ntrain: images/train\nval: images/val\n"
    )
    return root


def test_round_trip(drawn: Path, tmp_path: Path):
    # The two a.png of x/ and y/ stay apart: compare by the number of images, then one by one.
    source = drawn
    for number, to in enumerate(CHAIN):
        output = tmp_path / f"{number}"
        report = convert(source, to, output)
        assert report.images == {"train": 8, "val": 8}
        assert report.boxes == {"train": 36, "val": 36}
        source = output
    for split in ("train", "val"):
        before, after = open_dataset(drawn, split), open_dataset(source, split)
        assert after.names == tuple(NAMES)
        for one, other in zip(before.samples, after.samples, strict=True):
            assert one.path.read_bytes() == other.path.read_bytes()
            assert one.class_ids.tolist() == other.class_ids.tolist()
            np.testing.assert_allclose(one.boxes_xyxy, other.boxes_xyxy, rtol=0, atol=1e-3)
        assert metrics(before) == metrics(after)


FIRST_OR_ALL = pytest.mark.parametrize("limit", [10, pytest.param(None, marks=pytest.mark.slow)])


@FIRST_OR_ALL
def test_round_trip_of_bccd(shared: Path, tmp_path: Path, limit: int | None):
    check_chain(Path("datasets/bccd.yaml"), tmp_path, shared / "data/bccd", limit)


@FIRST_OR_ALL
def test_round_trip_of_coco128(shared: Path, tmp_path: Path, limit: int | None):
    check_chain(Path("datasets/coco128.yaml"), tmp_path, shared / "data/coco128", limit)


def test_layouts(drawn: Path, tmp_path: Path):
    """Each layout is found by our readers, and has the files that other tools look for."""
    for to in ("yolo", "coco", "voc", "csv"):
        convert(drawn, to, tmp_path / to)
    for file in (
        "yolo/images/train/x/a.png",
        "yolo/labels/train/x/a.txt",
        "yolo/labels/train/unlabeled.txt",
        "coco/annotations/instances_val.json",
        "voc/JPEGImages/train/b c.png",
        "voc/Annotations/val/x/a.xml",
        "voc/ImageSets/Main/train.txt",
        "csv/train_labels.csv",
        "csv/images/val/é.png",
    ):
        assert (tmp_path / file).is_file(), file
    definition = (tmp_path / "yolo/data.yaml").read_text()
    assert definition.endswith("train: images/train\nval: images/val\n")
    listed = (tmp_path / "voc/ImageSets/Main/train.txt").read_text().splitlines()
    assert listed[:2] == ["train/-d", "train/a"]


@pytest.mark.parametrize("transfer", ["link", "symlink", "copy"])
def test_images(transfer: str, drawn: Path, tmp_path: Path):
    convert(drawn, "yolo", tmp_path / "out", images=transfer)
    source, image = drawn / "images/train/a.png", tmp_path / "out/images/train/a.png"
    assert image.read_bytes() == source.read_bytes()
    assert image.is_symlink() == (transfer == "symlink")
    assert image.samefile(source) == (transfer != "copy")


def test_a_link_of_a_link_is_one_of_the_file(drawn: Path, tmp_path: Path):
    image = drawn / "images/train/a.png"
    image.rename(drawn / "moved.png")
    image.symlink_to(drawn / "moved.png")
    convert(drawn, "coco", tmp_path / "out", splits=("train",))
    assert not (tmp_path / "out/images/train/a.png").is_symlink()


def test_links_to_another_file_system(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def link(*unused: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(DetectorError) as error:
        convert(drawn, "yolo", tmp_path / "out")
    assert str(error.value) == (
        f"{drawn}/images/train/-d.png: cannot be hard-linked: Invalid cross-device link; "
        "--images copy copies the images"
    )
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["drawn set"]


def test_coco_keeps_ids_flags_and_attribution(coco_folder: Callable[..., Path], tmp_path: Path):
    annotations = [
        {"id": 5, "image_id": 10, "category_id": 7, "bbox": [1, 2, 3.25, 4], "area": 9},
        {"id": 6, "image_id": 10, "category_id": 3, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        {"id": 8, "image_id": 4, "category_id": 3, "bbox": [5, 5, 9, 9], "difficult": 1},
        {
            "id": 9,
            "image_id": 4,
            "category_id": 3,
            "bbox": [1, 5, 4, 9],
            "segmentation": [[1, 5, 5, 5, 5, 14]],
        },
    ]
    data = coco_folder(
        annotations,
        info={"year": 2017},
        licenses=[{"id": 1, "name": "BY"}],
        images=[
            {"id": 10, "file_name": "a.png", "height": 20, "width": 40, "license": 1},
            {"id": 4, "file_name": "b.png", "height": 20, "width": 40},
        ],
        categories=[{"id": 7, "name": "cat", "supercategory": "pet"}, {"id": 3, "name": "dog"}],
    )
    report = convert(data, "coco", tmp_path / "out")
    assert report.notes[-1] == "not converted from truth.json: segmentation of 1 annotations"
    content = json.loads((tmp_path / "out/annotations/instances_val.json").read_text())
    assert (content["info"], content["licenses"]) == ({"year": 2017}, [{"id": 1, "name": "BY"}])
    assert content["categories"] == [
        {"id": 3, "name": "dog"},
        {"supercategory": "pet", "id": 7, "name": "cat"},
    ]
    assert [(one["id"], one.get("license")) for one in content["images"]] == [(10, 1), (4, None)]
    found = [
        (one["image_id"], one["category_id"], one["bbox"], one["area"], one["iscrowd"])
        for one in content["annotations"]
    ]
    assert found == [
        (10, 7, [1, 2, 3.25, 4], 9, 0),
        (10, 3, [0, 0, 9, 9], 81, 1),
        (4, 3, [5, 5, 9, 9], 81, 0),
        (4, 3, [1, 5, 4, 9], 36, 0),
    ]
    assert [one.get("difficult") for one in content["annotations"]] == [None, None, 1, None]

    report = convert(data, "yolo", tmp_path / "yolo")
    assert report.notes[-4:] == [
        "crowd regions left out, for which YOLO txt has no place: 1",
        "boxes whose mark 'difficult' is left out, for which YOLO txt has no place: 1",
        "areas other than that of the box left out, for which YOLO txt has no place: 1",
        "not converted from truth.json: segmentation of 1 annotations, info, licenses, license of "
        "1 images, supercategory of 1 categories",
    ]
    assert report.boxes == {"val": 3}


def test_difficult_survives_coco(voc_folder: Callable[..., Path], tmp_path: Path):
    from tests.data.conftest import voc_xml

    data = voc_folder({"a": voc_xml("cat 1 2 3.5 4 1", "dog 5 5 9 9"), "b": voc_xml()})
    convert(data, "coco", tmp_path / "coco")
    report = convert(tmp_path / "coco", "voc", tmp_path / "voc")
    (sample, _) = open_dataset(tmp_path / "voc", "train").samples
    assert sample.difficult.tolist() == [True, False]
    assert report.lines()[-1] == (f"{tmp_path / 'voc'}: Pascal VOC XML, train 2 images and 2 boxes")


def test_repairs_are_said_as_readers_say_them(yolo_folder: Callable[..., Path], tmp_path: Path):
    data = yolo_folder({"a": "0 0.5 0.5 2 0.5\n1 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.1 0.1\n", "b": ""})
    report = convert(data, "csv", tmp_path / "out")
    assert report.notes == [
        f"split 'train' of {data}: 2 images, 2 boxes, from YOLO txt",
        "boxes clipped to their image: 1",
        "duplicate boxes dropped: 1",
    ]
    assert report.to_dict()["boxes"] == {"train": 2}


def test_other_formats_are_sources(make_image: ImageMaker, tmp_path: Path):
    make_image("labelme/a.png")
    shape = {"label": "cat", "shape_type": "polygon", "points": [[1, 2], [9, 2], [5, 8.5]]}
    (tmp_path / "labelme/a.json").write_text(
        json.dumps({"imagePath": "a.png", "shapes": [shape], "imageHeight": 20, "imageWidth": 40})
    )
    make_image("via/a.png")
    region = {
        "shape_attributes": {"name": "rect", "x": 1, "y": 2, "width": 8, "height": 6.5},
        "region_attributes": {"type": "cat"},
    }
    (tmp_path / "via/via.json").write_text(
        json.dumps({"a.png": {"filename": "a.png", "regions": [region]}})
    )
    for name in ("labelme", "via"):
        data = tmp_path / f"{name}.yaml"
        key = "labelme: labelme" if name == "labelme" else "via: via/via.json, images: via"
        data.write_text(f"names: [cat]\ntrain: {{{key}}}\n")
        report = convert(data, "yolo", tmp_path / f"{name}_out")
        text = (tmp_path / f"{name}_out/labels/train/a.txt").read_text()
        assert (
            text == "0 0.125 0.2625 0.2 0.325\n"
        )  # (1 + 9) / 80, (2 + 8.5) / 40, 8 / 40, 6.5 / 20
        assert report.notes[-1].startswith(f"not converted from {name.replace('via', 'VIA')} JSON")


# ------------------------------------------------------------------------------------------ names


def test_image_names():
    paths = [
        Path("/set/p/images/a.jpg"),
        Path("/set/q/images/a.jpg"),
        Path("/set/q/images/A.png"),
        Path("/set/q/images/A.png"),
        Path("/set/q/.b.jpg"),
        Path("/set/q/c\n\\d.jpg"),
        Path("/set/q/e\udce9.jpg"),
    ]
    assert image_names(paths) == [
        "p/a.jpg",
        "q/a.jpg",
        "q/A_2.png",
        "q/A_3.png",
        "q/_b.jpg",
        "q/c__d.jpg",
        "q/e_.jpg",
    ]
    assert image_names([]) == []


def test_renamed_images_are_said(make_image: ImageMaker, tmp_path: Path):
    for name in ("a.png", "a.jpg"):
        make_image(f"pictures/{name}")
    images = [
        {"id": i, "file_name": name, "height": 20, "width": 40}
        for i, name in enumerate(("a.png", "a.jpg"), 1)
    ]
    annotation = {"id": 1, "image_id": 2, "category_id": 1, "bbox": [1, 2, 3, 4]}
    (tmp_path / "all.json").write_text(
        json.dumps(
            {
                "images": images,
                "annotations": [annotation],
                "categories": [{"id": 1, "name": "cat"}],
            }
        )
    )
    data = tmp_path / "set.yaml"
    data.write_text("splits: {'sets/1': {annotations: all.json, images: pictures}}\n")
    report = convert(data, "yolo", tmp_path / "out")
    assert report.notes[-1] == (
        "images renamed, since label files of several would be one or readers would not find "
        "them: 1; the first is a.jpg, now a_2.jpg"
    )
    assert (tmp_path / "out/labels/sets_1/a.txt").read_text() == ""
    assert (tmp_path / "out/labels/sets_1/a_2.txt").read_text() != ""
    assert open_dataset(tmp_path / "out", "sets/1").names == ("cat",)


# ----------------------------------------------------------------------------------------- errors


def message(data: Path, to: str, output: Path, **settings: Any) -> str:
    with pytest.raises(DetectorError) as error:
        convert(data, to, output, **settings)
    text = str(error.value)
    assert "\n" not in text
    return text


def test_wrong_requests(drawn: Path, tmp_path: Path):
    out = tmp_path / "out"
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").touch()
    (tmp_path / "file").touch()
    assert message(drawn, "yolo", full) == (f"{full}: is not empty, expected a new or empty folder")
    assert message(drawn, "yolo", tmp_path / "file") == (
        f"{tmp_path / 'file'}: is a file, expected a new or empty folder"
    )
    assert message(drawn, "yolo", drawn / "out") == (
        f"{drawn / 'out'}: lies in {drawn}, which is read; expected a folder outside of it"
    )
    inside = drawn / "images/train/out"
    assert message(drawn / "data.yaml", "yolo", inside) == (
        f"{inside}: lies in {drawn / 'images/train'}, which is read; expected a folder outside of "
        "it"
    )
    assert message(drawn, "yolo", out, splits=("trian",)) == (
        f"{drawn / 'data.yaml'}: no split 'trian'; did you mean 'train'?"
    )
    assert message(drawn, "yool", out).startswith("to: ")
    assert message(drawn, "yolo", out, imges="copy") == (
        "unknown key 'imges'; did you mean 'images'?"
    )
    assert not out.exists()


def test_a_folder_beside_a_definition_is_not_in_the_data(drawn: Path):
    convert(drawn / "data.yaml", "yolo", drawn / "out")
    assert open_dataset(drawn / "out", "val").names == tuple(NAMES)


def test_an_empty_folder_is_filled(drawn: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    assert convert(drawn, "voc", tmp_path / "out").images == {"train": 8, "val": 8}


def test_names_that_the_format_cannot_hold(yolo_folder: Callable[..., Path], tmp_path: Path):
    data = yolo_folder({"a": "0 0.5 0.5 0.1 0.1\n"}, names="[' cat', dog]")
    for to, title in (("csv", "CSV"), ("voc", "Pascal VOC XML")):
        assert message(data, to, tmp_path / "out") == (
            f"class name ' cat' begins or ends with a space, which {title} cannot hold"
        )
    assert not (tmp_path / "out").exists()
    convert(data, "yolo", tmp_path / "out")
    assert open_dataset(tmp_path / "out", "train").names == (" cat", "dog")


def test_a_missing_image(coco_folder: Callable[..., Path], tmp_path: Path):
    data = coco_folder([{"id": 5, "image_id": 10, "category_id": 7, "bbox": [1, 2, 3, 4]}])
    (tmp_path / "pictures/b.png").unlink()
    assert message(data, "yolo", tmp_path / "out") == (
        f"{tmp_path / 'pictures/b.png'}: cannot be read: No such file or directory (--skip-bad "
        "leaves it out)"
    )
    assert convert(data, "yolo", tmp_path / "out", skip_bad=True).images == {"val": 1}


def test_whole_image_classes(make_image: ImageMaker, tmp_path: Path):
    make_image("set/train/cat/a.png")
    make_image("set/val/cat/a.png")
    assert message(tmp_path / "set", "yolo", tmp_path / "out") == (
        f"{tmp_path / 'set'}: split 'train' has one class for each image, expected boxes to convert"
    )


def test_boxes_that_would_be_read_as_something_else(
    yolo_folder: Callable[..., Path], tmp_path: Path
):
    """A box of less than a pixel in the corner would be taken for fractions of the image."""
    data = yolo_folder({"a": "0 0.01 0.02 0.01 0.02\n"})  # of 40×20: 0.2, 0.2, 0.6, 0.6
    assert message(data, "csv", tmp_path / "out") == (
        "split 'train' is not converted, since CSV would be read as something else: "
        "images/train/a.png: box (0.2, 0.2, 0.6, 0.6) has fractions of the image, expected pixels"
    )
    assert convert(data, "yolo", tmp_path / "out").boxes == {"train": 1}


def test_what_a_killed_process_left_is_removed(drawn: Path, tmp_path: Path):
    out = tmp_path / "out"
    orphan = Path(str(temporary_path(out)).replace(f".{os.getpid()}.", ".4194304."))
    assert orphan != temporary_path(out)
    (orphan / "images").mkdir(parents=True)
    convert(drawn, "yolo", out, splits=("val",))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drawn set", "out"]
