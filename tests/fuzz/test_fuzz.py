"""Changed files of all kinds are accepted or refused in one line, within time and memory."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from detector.runtime.backends.seal import UNSEALED, read_sealed
from detector.utils.errors import MAX_ERROR_LINE, DetectorError
from tests.fuzz import worker
from tests.fuzz.campaign import Answer, chosen_inputs, fault, make_templates, run, table
from tests.fuzz.mutations import member, sealed, values, words
from tests.fuzz.readers import READERS, Reader

QUICK = [
    *("model file", "data file", "preset", "YOLO rows", "YOLO polygons", "COCO JSON", "VOC XML"),
    *("VOC lists", "darknet", "class list", "class files", "images", "source list", "image cache"),
    *("results", "returned outputs"),
]
"""Readers whose valid files are made without a network."""

KEPT = {
    "image cache": [6, 276, 333],
    "VOC lists": [55, 60],
    "onnx": [67],
    "darknet": [98, 219, 578, 590, 666],
    "data file": [771],
    "results": [23],
    "class list": [7, 30, 218, 271],
    "certificate": [247],
    "run settings": [89, 198],
}
"""Inputs that were a fault once; all others are new to each change of ``mutations.py``."""


def faults(inputs: list[tuple[str, int]], templates: Path, workers: int = 1) -> list[str]:
    """Read the inputs; return what is wrong, and print a table."""
    names = list(dict.fromkeys(name for name, _ in inputs))
    make_templates(templates, names)
    found: dict[str, list[Answer]] = {name: [] for name in names}
    wrong = []
    for (name, number), answer in run(inputs, templates, workers):
        found[name].append(answer)
        if (what := fault(answer)) is not None:
            wrong.append(f"{name} {number}: {what}\n{answer['message']}")
    print(table(found))
    return wrong


def test_some_inputs(tmp_path: Path) -> None:
    kept = [(name, number) for name in KEPT if name in QUICK for number in KEPT[name]]
    assert (
        faults([*kept, *((name, number) for name in QUICK for number in range(2))], tmp_path) == []
    )


@pytest.mark.slow
def test_valid_files_are_accepted(tmp_path: Path) -> None:
    """Otherwise the fuzz would prove nothing."""
    make_templates(tmp_path, list(READERS))
    inputs = [(name, -number) for name in READERS for number in range(1, 11)]
    refused = {
        (name, answer["file"], answer["message"])
        for (name, _), answer in run(inputs, tmp_path, 2)
        if answer["outcome"] != "accepted"
    }
    assert refused == set()


@pytest.mark.slow
def test_twenty_thousand_inputs(tmp_path: Path) -> None:
    kept = [(name, number) for name, numbers in KEPT.items() for number in numbers]
    assert faults([*kept, *chosen_inputs(20_000, list(READERS))], tmp_path, workers=2) == []


# ---------------------------------------------------------------------------------- the fuzz itself


def outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> str:
    """What comes of a reader that raises an error."""

    def read(folder: Path, file: Path) -> None:
        if error is not None:
            raise error

    reader = Reader(lambda folder: None, ("*",), (words,), read)
    monkeypatch.setitem(READERS, "fake", reader)
    return worker.outcome_of("fake", tmp_path, tmp_path / "file")[0]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, "accepted"),
        (DetectorError("is wrong", file="a", line=3), "refused"),
        (DetectorError("two issues:\n  one\n  two"), "refused"),
        (DetectorError("is\nwrong"), "several lines"),
        (ValueError("is wrong"), "ValueError"),
        (OSError(36, "File name too long"), "OSError"),
        (RecursionError(), "RecursionError"),
        (SystemExit(1), "SystemExit"),
    ],
)
def test_outcomes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException | None, expected: str
) -> None:
    assert outcome(tmp_path, monkeypatch, error) == expected


def test_lines_that_terminals_break() -> None:
    assert not worker.is_unprintable("é" * MAX_ERROR_LINE)
    for line in ("x" * (MAX_ERROR_LINE + 1), "\x1b[31m", "\0", "\x85", "\u2028"):
        assert worker.is_unprintable(line)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"outcome": "refused"}, None),
        ({"outcome": "crash"}, "crash"),
        ({"outcome": "hang"}, "hang"),
        ({"cpu_seconds": 10.6}, "11 s"),
        ({"peak_bytes": 2_200_000_000}, "2.2 GB"),
    ],
)
def test_faults(change: dict[str, object], expected: str | None) -> None:
    good = {"outcome": "accepted", "message": "", "cpu_seconds": 9.9, "peak_bytes": 10**9}
    assert fault({**good, **change}) == expected


def test_inputs_are_shared_out() -> None:
    inputs = chosen_inputs(80, ["model file", "class list"], first=5)  # shares of 3 and 1
    assert [name for name, _ in inputs].count("model file") == 60
    assert [number for name, number in inputs if name == "class list"] == list(range(5, 25))


def test_a_number_names_an_input(tmp_path: Path) -> None:
    make_templates(tmp_path, ["COCO JSON"])
    contents = [worker.changed("COCO JSON", n, tmp_path / "COCO JSON")[1] for n in (0, 0, 1, -1)]
    original = (tmp_path / "COCO JSON" / "annotations.json").read_bytes()
    assert contents[0] == contents[1]
    assert len({*contents}) == 3
    assert contents[3] == original


def test_checksums_and_seals_are_right_afterwards(tmp_path: Path) -> None:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("a.json", json.dumps({"key": [1, 2, 3]}))
        archive.comment = UNSEALED.encode()
    file = tmp_path / "file"
    for number in range(20):
        changed = sealed(member(values))(written.getvalue(), np.random.default_rng(number))
        file.write_bytes(changed)
        read_sealed(file)
        with zipfile.ZipFile(file) as archive:
            assert archive.testzip() is None
            json.loads(archive.read("a.json"))
