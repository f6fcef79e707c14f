"""Findings as lines and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from detector.data.checks.finding import DataReport, Finding, Place, number_of


def test_a_place():
    full = Place(Path("a.txt"), "IoU 0.95", "val", 3, 1)
    assert str(full) == "val: a.txt:3: IoU 0.95"
    assert full.to_dict() == {
        "file": "a.txt",
        "detail": "IoU 0.95",
        "split": "val",
        "line": 3,
        "group": 1,
    }
    bare = Place(Path("a.txt"))
    assert (str(bare), bare.to_dict()) == ("a.txt", {"file": "a.txt"})
    assert "\n" not in str(Place(Path("a\nb.txt"), "x\x1b[31m"))


def test_lines_show_the_first_places_and_json_has_all():
    places = [Place(Path(f"{n}.jpg")) for n in range(5)]
    one = Finding("dark-images", "note", "5 images darker", 5, "look at them", places)
    assert one.lines() == [
        "note: 5 images darker; look at them",
        "    0.jpg",
        "    1.jpg",
        "    2.jpg",
        "    … and 2 more (--json FILE lists all)",
    ]
    assert len(one.to_dict()["files"]) == 5
    assert Finding("a", "error", "b", 1).lines() == ["error: b"]


def test_a_report_has_the_worst_first():
    report = DataReport("set")
    assert report.passes
    assert report.lines() == ["set: 0 errors, 0 warnings, 0 notes"]
    report.add([Finding("a", "note", "1", 1), Finding("b", "error", "2", 1)])
    report.add([Finding("c", "warning", "3", 1), Finding("d", "error", "4", 1)])
    assert [one.kind for one in report.findings] == ["b", "d", "c", "a"]
    assert not report.passes
    assert report.summary() == "set: 2 errors, 1 warning, 1 note"
    assert json.loads(json.dumps(report.to_dict()))["counts"] == {
        "error": 2,
        "warning": 1,
        "note": 1,
    }


def test_notes_alone_pass():
    report = DataReport("set", notes=("train is images/",))
    report.add([Finding("a", "note", "1", 1)])
    assert report.passes
    assert report.lines()[0] == "train is images/"


def test_plurals():
    assert [number_of(2, noun) for noun in ("image", "box", "class")] == [
        "2 images",
        "2 boxes",
        "2 classes",
    ]
