"""Metrics of tracks, by hand, and files that are not in MOT's format."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.evaluation import tracks as module
from detector.evaluation.tracks import evaluate_tracks
from detector.utils.errors import DetectorError

pytest.importorskip("trackers")


def rows(ids: list[int], end: str = "1,1,1", left: float = 0) -> str:
    """A box of 10 px in each frame, with the ids given; id 0 stands for no box."""
    return "".join(
        f"{frame},{track_id},{left},0,10,10,{end}\n"
        for frame, track_id in enumerate(ids, 1)
        if track_id
    )


def measured(tmp_path: Path, ground_truth: str, tracks: str) -> dict[str, float]:
    (tmp_path / "gt.txt").write_text(ground_truth)
    (tmp_path / "found.txt").write_text(tracks)
    return evaluate_tracks(tmp_path / "gt.txt", tmp_path / "found.txt")["gt"]


def test_the_same(tmp_path: Path) -> None:
    found = measured(tmp_path, rows([7] * 10), rows([1] * 10, "0.9,-1,-1,-1"))
    names = ("HOTA", "DetA", "AssA", "MOTA", "IDF1", "IDSW", "matched", "missed", "wrong")
    assert [found[name] for name in names] == [1, 1, 1, 1, 1, 0, 10, 0, 0]


def test_an_id_that_changes_in_the_middle(tmp_path: Path) -> None:
    """Each of ten matches shares its pair of ids with five; either id's other rows are none.

    AssA = 5 / (5 + 5 + 0) = 0.5, DetA = 1, HOTA = √0.5; MOTA = 1 − 1/10; IDF1 = 2·5 / (10 + 10).
    """
    found = measured(tmp_path, rows([1] * 10), rows([1] * 5 + [2] * 5))
    assert found["HOTA"] == pytest.approx(0.5**0.5)
    assert (found["DetA"], found["AssA"], found["IDSW"]) == (1, 0.5, 1)
    assert (found["MOTA"], found["IDF1"]) == (pytest.approx(0.9), 0.5)


def test_missed_and_wrong_boxes(tmp_path: Path) -> None:
    """Two of ten are missing, and one box is where nothing is: MOTA = 1 − 3/10, IoU 1 otherwise."""
    tracks = rows([1] * 8) + "3,2,500,0,10,10,1,1,1\n"
    found = measured(tmp_path, rows([1] * 10), tracks)
    assert (found["matched"], found["missed"], found["wrong"]) == (8, 2, 1)
    assert found["MOTA"] == pytest.approx(0.7)


def test_the_iou_from_which_boxes_match(tmp_path: Path) -> None:
    """Boxes moved by 5 of 10 px: IoU 5/15."""
    (tmp_path / "gt.txt").write_text(rows([1] * 4))
    (tmp_path / "found.txt").write_text(rows([1] * 4, left=5))
    for iou, matched in ((0.5, 0), (0.3, 4)):
        found = evaluate_tracks(tmp_path / "gt.txt", tmp_path / "found.txt", iou)["gt"]
        assert found["matched"] == matched


def test_rows_that_do_not_count(tmp_path: Path) -> None:
    """Class 3 is a car, confidence 0 is ignored, in MOTChallenge's rules."""
    others = rows([5] * 3, "1,3,1", left=100) + rows([6] * 2, "0,1,1", left=200)
    found = measured(tmp_path, rows([1] * 4) + others, rows([1] * 4))
    assert (found["matched"], found["missed"], found["ignored"]) == (4, 0, 5)
    with pytest.raises(DetectorError) as caught:
        measured(tmp_path, others, rows([1] * 4))
    assert str(caught.value) == (
        f"{tmp_path / 'gt.txt'}: no row counts, of 5: MOT's rules want class 1 in the 8th column "
        "and a confidence other than 0 in the 7th"
    )


@pytest.mark.parametrize("layout", ["{}.txt", "{}/gt/gt.txt"])
def test_folders(layout: str, tmp_path: Path) -> None:
    (tmp_path / "tracks").mkdir()
    for name, ids in (("a", [1] * 10), ("b", [1] * 5 + [2] * 5)):
        file = tmp_path / "gt" / layout.format(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(rows([1] * 10))
        (tmp_path / "tracks" / f"{name}.txt").write_text(rows(ids))
    found = evaluate_tracks(tmp_path / "gt", tmp_path / "tracks")
    assert list(found) == ["a", "b", "combined"]
    assert [found[name]["IDSW"] for name in found] == [0, 1, 1]
    assert found["combined"]["MOTA"] == pytest.approx(1 - 1 / 20)
    assert found["combined"]["AssA"] == pytest.approx((10 * 1 + 10 * 0.5) / 20)
    (tmp_path / "tracks" / "c.txt").write_text(rows([1]))
    with pytest.raises(DetectorError, match=r"tracks: c\.txt has no ground truth in .*gt$"):
        evaluate_tracks(tmp_path / "gt", tmp_path / "tracks")
    (tmp_path / "tracks" / "c.txt").unlink()
    (tmp_path / "tracks" / "b.txt").unlink()
    with pytest.raises(DetectorError, match=r"b\.txt: no such file, expected boxes in MOT's"):
        evaluate_tracks(tmp_path / "gt", tmp_path / "tracks")


COLUMNS = "expected frame,id,left,top,width,height and up to four more numbers"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,1,0,0,9", f"{COLUMNS}, found '1,1,0,0,9'"),
        ("1 1 0 0 9 9", f"{COLUMNS}, found '1 1 0 0 9 9'"),
        ("1,1,0,0,9,9,1,1,1,1,1", f"{COLUMNS}, found '1,1,0,0,9,9,1,1,1,1,1'"),
        ("1,1,0,0,9,x", f"{COLUMNS}, found '1,1,0,0,9,x'"),
        ("1,1,0,nan,9,9", f"{COLUMNS}, found '1,1,0,nan,9,9'"),
        ("0,1,0,0,9,9", "expected a frame of 1 to 1000000, found '0,1,0,0,9,9'"),
        ("1.5,1,0,0,9,9", "expected a frame of 1 to 1000000, found '1.5,1,0,0,9,9'"),
        ("1e9,1,0,0,9,9", "expected a frame of 1 to 1000000, found '1e9,1,0,0,9,9'"),
        ("1,-1,0,0,9,9", "expected an id of 0 to 2147483647, found '1,-1,0,0,9,9'"),
        ("1,1,0,0,0,9", "expected a width and a height above 0, found '1,1,0,0,0,9'"),
        ("3,1,0,0,9,9,1,1,1", "frame 3 has id 1 twice"),
        ("4,1,0,0,9,9", "expected 9 numbers, as in the lines before, found '4,1,0,0,9,9'"),
    ],
)
@pytest.mark.parametrize("side", ["gt", "found"])
def test_lines_that_say_nothing(line: str, message: str, side: str, tmp_path: Path) -> None:
    """The fifth line, after an empty one."""
    texts = {"gt": rows([1] * 3), "found": rows([1] * 3)}
    texts[side] += f"\n{line}\n"
    with pytest.raises(DetectorError) as caught:
        measured(tmp_path, texts["gt"], texts["found"])
    assert str(caught.value) == f"{tmp_path / side}.txt:5: {message}"


def test_files_that_hold_nothing(tmp_path: Path) -> None:
    for text in ("", "\n\n"):
        with pytest.raises(DetectorError) as caught:
            measured(tmp_path, rows([1]), text)
        assert str(caught.value) == f"{tmp_path / 'found.txt'}: holds no box"
    (tmp_path / "tracks").mkdir()
    with pytest.raises(DetectorError, match=r"tracks: holds no ground truth, expected NAME\.txt"):
        evaluate_tracks(tmp_path / "tracks", tmp_path / "tracks")
    with pytest.raises(DetectorError, match=r"found\.txt: expected a folder of tracks"):
        evaluate_tracks(tmp_path, tmp_path / "found.txt")


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BOXES", 2)
    many = "".join(f"1,{track_id},0,0,9,9\n" for track_id in range(3))
    with pytest.raises(DetectorError, match=r"found\.txt:3: frame 1 has more than 2 boxes$"):
        measured(tmp_path, rows([1]), many)
    monkeypatch.setattr(module, "MAX_ID_PAIRS", 3)
    with pytest.raises(DetectorError) as caught:
        measured(tmp_path, rows([1, 2]), rows([1, 2]))
    assert str(caught.value) == (
        f"{tmp_path}/found.txt: 2 tracks and 2 of the ground truth: at most 3 pairs are compared"
    )
