"""Ids of tracks: they stay with their boxes, whatever is chosen and converted."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from detector.structures.detections import Detections
from detector.utils.drawing import class_colour
from detector.utils.errors import DetectorError

NAMES = ("cat", "dog")


def tracked() -> Detections:
    return Detections(
        np.array([[10, 20, 30, 60], [0, 0, 100, 50], [5, 5, 9, 9]], np.float32),
        np.array([0.75, 0.5, 0.25], np.float32),
        np.array([1, 0, 0], np.int64),
        NAMES,
        np.array([7, 3, 12], np.int64),
    )


@pytest.mark.parametrize("ids", [np.zeros(2, np.int64), np.zeros((3, 1), np.int64)])
def test_one_id_a_box(ids: np.ndarray) -> None:
    with pytest.raises(ValueError) as caught:
        replace(tracked(), track_ids=ids)
    assert str(caught.value) == f"expected track_ids (3,), found {ids.shape}"


@pytest.mark.parametrize(
    ("index", "ids"),
    [
        ([], []),
        (0, [7]),
        (-1, [12]),
        (slice(1, None), [3, 12]),
        ([True, False, True], [7, 12]),
        (np.array([0, 1]), [7, 3]),
    ],
)
def test_chosen_boxes_keep_their_ids(index: Any, ids: list[int]) -> None:
    chosen = tracked()[index]
    assert chosen.track_ids is not None
    assert chosen.track_ids.tolist() == ids


def test_ids_of_chosen_boxes_are_copies() -> None:
    all_of_them = tracked()
    chosen = all_of_them[:]
    assert chosen.track_ids is not None
    chosen.track_ids[:] = 0
    assert all_of_them.track_ids is not None
    assert all_of_them.track_ids.tolist() == [7, 3, 12]


def test_without_ids_there_is_no_word_of_them() -> None:
    plain = replace(tracked(), track_ids=None)
    assert plain[:2].track_ids is None
    assert "track_ids" not in plain.to_dict()
    assert "track_id" not in plain.to_coco(1, (1, 2))[0]
    assert plain.to_supervision().tracker_id is None


def test_dict_and_coco() -> None:
    assert tracked().to_dict()["track_ids"] == [7, 3, 12]
    assert [record["track_id"] for record in tracked().to_coco(1, (1, 2))] == [7, 3, 12]


def test_csv_and_pandas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracked()[:1].save(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == (
        "x1,y1,x2,y2,score,class_id,class_name,track_id\n10.0,20.0,30.0,60.0,0.75,1,dog,7\n"
    )
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=lambda columns: columns))
    columns: Any = tracked().to_pandas()
    assert columns["track_id"].tolist() == [7, 3, 12]


def test_yolo_has_no_place_for_ids(tmp_path: Path) -> None:
    message = (
        "YOLO's lines have no place for track ids; expected .json or .csv, or the boxes without "
        "ids: dataclasses.replace(detections, track_ids=None)"
    )
    for convert in (
        lambda: tracked().to_yolo((10, 10)),
        lambda: tracked().save(tmp_path / "a.txt", (10, 10)),
    ):
        with pytest.raises(DetectorError) as caught:
            convert()
        assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []
    assert len(replace(tracked(), track_ids=None).to_yolo((10, 10)).splitlines()) == 3


def test_supervision() -> None:
    pytest.importorskip("supervision")
    theirs = tracked().to_supervision()
    assert theirs.tracker_id.tolist() == [7, 3, 12]


def test_drawn_in_the_colour_of_the_id() -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    box = Detections(
        np.array([[50, 60, 250, 180]], np.float32), np.float32([0.9]), np.int64([1]), NAMES
    )
    with_id = replace(box, track_ids=np.int64([5]))
    assert tuple(box.draw(image)[180, 150]) == class_colour(1)
    assert tuple(with_id.draw(image)[180, 150]) == class_colour(5)
    # "#5 dog 0.90" is longer than "dog 0.90".
    assert (with_id.draw(image)[:58] > 0).sum() > (box.draw(image)[:58] > 0).sum()
