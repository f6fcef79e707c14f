"""Detections: indexing, drawing, files, other formats."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from detector.structures.detections import Detection, Detections
from detector.utils.drawing import class_colour
from detector.utils.errors import DetectorError

NAMES = ("cell", "plate", "dot")


def detections() -> Detections:
    return Detections(
        np.array([[10, 20, 30, 60], [0, 0, 100, 50]], np.float32),
        np.array([0.9, 0.25], np.float32),
        np.array([2, 0], np.int64),
        NAMES,
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes_xyxy": np.zeros((1, 4), np.float32)}, r"^expected boxes \(n, 4\), .* \(1, 4\)"),
        ({"boxes_xyxy": np.zeros((2, 5), np.float32)}, r"found \(2, 5\), \(2,\), \(2,\)$"),
        ({"class_ids": np.array([0], np.int64)}, r"found \(2, 4\), \(2,\), \(1,\)$"),
        ({"class_ids": np.array([0, 3], np.int64)}, r"^class_ids outside 0\.\.2$"),
        ({"class_ids": np.array([-1, 0], np.int64)}, r"^class_ids outside 0\.\.2$"),
        ({"scores": np.array([0.1, 0.2], np.float32)}, r"^scores are not in descending order$"),
    ],
)
def test_checked_when_made(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Detections(**{**detections().__dict__, **changes})


def test_empty() -> None:
    none = Detections.empty(NAMES)
    assert len(none) == 0
    assert none.names == NAMES
    assert none.to_coco(1, (1, 2, 3)) == []
    assert none.to_yolo((10, 10)) == ""
    assert none.to_dict() == {"boxes_xyxy": [], "scores": [], "class_ids": [], "class_names": []}
    assert len(none.to_supervision()) == 0
    assert len(none[np.zeros(0, bool)]) == len(none[:]) == len(none[[]]) == 0
    assert list(none) == []
    image = np.zeros((4, 4, 3), np.uint8)
    assert none.crops(image) == []
    assert not none.draw(image).any()
    with pytest.raises(IndexError):
        none[0]


def test_chosen_boxes_are_copies() -> None:
    all_of_them = detections()
    kept = all_of_them[all_of_them.class_ids == 0]
    assert len(kept) == 1
    assert kept.scores[0] == 0.25
    kept.boxes_xyxy[:] = 0
    assert all_of_them.boxes_xyxy.sum() > 0
    all_of_them[:].boxes_xyxy[:] = 0
    next(iter(all_of_them)).box_xyxy[:] = 0
    assert all_of_them.boxes_xyxy.sum() > 0


def three() -> Detections:
    return Detections(
        np.arange(12, dtype=np.float32).reshape(3, 4),
        np.array([0.75, 0.5, 0.25], np.float32),
        np.array([2, 0, 1], np.int64),
        NAMES,
    )


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        ([], []),
        (np.zeros(0, np.int64), []),
        (np.zeros(3, bool), []),
        (slice(3, None), []),
        (0, [0]),
        (-1, [2]),
        (np.int64(1), [1]),
        (slice(None), [0, 1, 2]),
        (slice(0, 3, 2), [0, 2]),
        ([0, 2], [0, 2]),
        (np.array([1]), [1]),
        ([True, False, True], [0, 2]),
        (np.array([False, True, True]), [1, 2]),
    ],
)
def test_index(index: Any, rows: list[int]) -> None:
    chosen = three()[index]
    assert isinstance(chosen, Detections)
    assert chosen.names == NAMES
    assert chosen.scores.tolist() == [[0.75, 0.5, 0.25][row] for row in rows]
    assert chosen.class_ids.tolist() == [[2, 0, 1][row] for row in rows]
    expected = [[4 * row + column for column in range(4)] for row in rows]
    assert chosen.boxes_xyxy.tolist() == expected
    assert chosen.boxes_xyxy.shape == (len(rows), 4)


@pytest.mark.parametrize(
    ("index", "error"),
    [
        (3, "index 3 is out of bounds for axis 0 with size 3"),
        (-4, "index -4 is out of bounds for axis 0 with size 3"),
        ([0, 3], "index 3 is out of bounds for axis 0 with size 3"),
        ([True, False], "boolean index did not match indexed array along axis 0; size of axis is 3 "
         "but size of corresponding boolean axis is 2"),
        ([0.5], "arrays used as indices must be of integer (or boolean) type"),
    ],
)  # fmt: skip
def test_an_index_that_does_not_fit(index: Any, error: str) -> None:
    with pytest.raises(IndexError) as caught:
        three()[index]
    assert str(caught.value) == error


def test_boxes_stay_in_their_order() -> None:
    for index in ([1, 0], slice(None, None, -1)):
        with pytest.raises(ValueError, match="^scores are not in descending order$"):
            three()[index]


def test_a_loop_gives_one_box_each() -> None:
    first, second = detections()
    assert isinstance(first, Detection)
    assert first.box_xyxy.tolist() == [10, 20, 30, 60]
    assert (first.score, first.class_id, first.name) == (pytest.approx(0.9), 2, "dot")
    assert [type(value) for value in first] == [np.ndarray, float, int, str]
    box, score, class_id, name = second
    assert (box.tolist(), score, class_id, name) == ([0, 0, 100, 50], 0.25, 0, "cell")


def test_draw_leaves_the_image_alone() -> None:
    """Boxes in the colours of their classes; with the scores, the labels are longer."""
    image = np.zeros((200, 300, 3), np.uint8)
    box = Detections(
        np.array([[50, 60, 250, 180]], np.float32), np.float32([0.9]), np.int64([1]), NAMES
    )
    drawn = box.draw(image)
    assert not image.any()
    assert tuple(drawn[180, 150]) == class_colour(1)
    without = box.draw(image, scores=False)
    assert (drawn[:58] > 0).sum() > (without[:58] > 0).sum() > 100
    np.testing.assert_array_equal(drawn[60:], without[60:])
    np.testing.assert_array_equal(box.draw(image[..., 0]), drawn)  # grey, as predict takes it


def test_crops() -> None:
    """Every pixel that a box touches, inside the image; one at least."""
    image = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3)
    boxes = [[1, 2, 4, 5], [1.2, 0.9, 2.1, 1.1], [-3, -3, 2, 1], [2, 2, 2, 2], [6, 5, 6, 5]]
    scores = np.linspace(0.9, 0.5, 5).astype(np.float32)
    found = Detections(np.array(boxes, np.float32), scores, np.zeros(5, np.int64), NAMES)
    expected = [image[2:5, 1:4], image[0:2, 1:3], image[0:1, 0:2], image[2:3, 2:3], image[4:, 5:]]
    crops = found.crops(image)
    assert len(crops) == 5
    for crop, pixels in zip(crops, expected, strict=True):
        np.testing.assert_array_equal(crop, pixels)
        assert not np.shares_memory(crop, image)


def test_to_coco() -> None:
    first, second = detections().to_coco(7, category_ids=(1, 3, 90))
    assert first == {
        "image_id": 7,
        "category_id": 90,
        "bbox": [10.0, 20.0, 20.0, 40.0],  # x, y, width, height
        "score": 0.9,
    }
    assert second["category_id"] == 1
    json.dumps([first, second])


def test_to_yolo() -> None:
    # (10 + 30) / 2 / 100 = 0.2, (20 + 60) / 2 / 80 = 0.5, 20 / 100 = 0.2, 40 / 80 = 0.5
    assert detections().to_yolo((80, 100)) == (
        "2 0.200000 0.500000 0.200000 0.500000 0.900000\n"
        "0 0.500000 0.312500 1.000000 0.625000 0.250000\n"
    )
    assert detections().to_yolo((80, 100), with_scores=False).splitlines()[0] == (
        "2 0.200000 0.500000 0.200000 0.500000"
    )


PLAIN = {
    "boxes_xyxy": [[10, 20, 30, 60], [0, 0, 100, 50]],
    "scores": [0.9, 0.25],
    "class_ids": [2, 0],
    "class_names": ["dot", "cell"],
}


def test_to_dict_and_json() -> None:
    assert detections().to_dict() == PLAIN
    assert json.loads(detections().to_json()) == PLAIN


def test_json_has_no_word_for_what_is_not_finite() -> None:
    found = detections()
    found.boxes_xyxy[1, 2] = np.inf
    with pytest.raises(DetectorError, match="^a box or score is not a finite number$"):
        found.to_json()


def test_save(tmp_path: Path) -> None:
    found = detections()
    found.save(tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == PLAIN
    found.save(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == (
        "x1,y1,x2,y2,score,class_id,class_name\n"
        "10.0,20.0,30.0,60.0,0.9,2,dot\n"
        "0.0,0.0,100.0,50.0,0.25,0,cell\n"
    )
    found.save(str(tmp_path / "new" / "a.TXT"), size_hw=(80, 100))
    assert (tmp_path / "new" / "a.TXT").read_text() == found.to_yolo((80, 100))
    Detections.empty(NAMES).save(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "x1,y1,x2,y2,score,class_id,class_name\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.json", "new"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.jsn", "no format has the suffix '.jsn'; did you mean '.json'?"),
        ("a.xml", "no format has the suffix '.xml'; expected .csv, .json, .txt"),
        ("a", "no format has the suffix ''; expected .csv, .json, .txt"),
        ("a.txt", "YOLO's boxes are fractions of the image: give size_hw=(height, width)"),
    ],
)
def test_save_without_a_format(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DetectorError) as caught:
        detections().save(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name}: {message}"
    assert list(tmp_path.iterdir()) == []


def test_to_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    """The arguments that the library gets; it need not be installed."""
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=lambda columns: columns))
    columns: Any = detections().to_pandas()
    assert list(columns) == ["x1", "y1", "x2", "y2", "score", "class_id", "class_name"]
    assert {name: list(values) for name, values in columns.items()} == {
        "x1": [10, 0],
        "y1": [20, 0],
        "x2": [30, 100],
        "y2": [60, 50],
        "score": [np.float32(0.9), 0.25],
        "class_id": [2, 0],
        "class_name": ["dot", "cell"],
    }


@pytest.mark.parametrize("package", ["pandas", "supervision"])
def test_a_package_that_is_not_installed(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DetectorError) as caught:
        getattr(detections(), f"to_{package}")()
    assert str(caught.value) == f"{package} is not installed; run: pip install {package}"


def test_to_supervision() -> None:
    supervision = pytest.importorskip("supervision")
    ours = detections()
    theirs = ours.to_supervision()
    assert isinstance(theirs, supervision.Detections)
    np.testing.assert_array_equal(theirs.xyxy, ours.boxes_xyxy)
    np.testing.assert_array_equal(theirs.confidence, ours.scores)
    np.testing.assert_array_equal(theirs.class_id, ours.class_ids)
    assert theirs.data["class_name"].tolist() == ["dot", "cell"]
    theirs.xyxy[:] = 0
    assert ours.boxes_xyxy.sum() > 0
