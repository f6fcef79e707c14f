"""A model file before anything is built: keys, variants, rows with their lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.config import YamlFile
from detector.errors import DetectorError
from detector.files import packaged_files
from detector.model_file import ModelFile, check_model_file, read_model_file

ROWS = """
backbone:
  [[-1, 1, Conv, [64, 6, 2, 2]],  # 0-P1/2
   [-1, 3, C3, {c_out: 128}],
   [[-1, 0], 1, Concat, null],
  ]
head:
  - [-1, 1,
     Detect, [nc, anchors]]
"""


def model_file(keys: str = "", variant: str | None = None, rows: str = ROWS) -> ModelFile:
    return check_model_file(YamlFile(Path("a.yaml"), keys + rows), variant)


def test_defaults() -> None:
    keys = model_file().keys
    assert (keys.nc, keys.depth_multiple, keys.width_multiple, keys.imgsz) == (80, 1, 1, 640)
    assert (keys.anchors, keys.names, keys.activation, keys.variants) == (None, None, None, {})


def test_rows_are_numbered_through() -> None:
    rows = model_file().rows
    assert [row.index for row in rows] == [0, 1, 2, 3]
    assert [row.line for row in rows] == [3, 4, 5, 8]
    assert [row.section for row in rows] == ["backbone"] * 3 + ["head"]
    assert [row.source for row in rows] == [-1, -1, [-1, 0], -1]
    assert rows[1].args == {"c_out": 128}
    assert rows[2].args == []
    assert rows[3].args == ["nc", "anchors"]


def test_yolov5_keys() -> None:
    keys = model_file(
        "nc: 2\nch: 3\ndepth_multiple: 0.33\nwidth_multiple: 1\nanchors:\n  - [10, 13.5]\n"
    ).keys
    assert keys.width_multiple == 1.0
    assert keys.anchors == [[10, 13.5]]
    assert model_file("anchors: 3\n").keys.anchors == 3
    assert model_file("names: [a, b]\n").keys.names == ("a", "b")


TABLE = "variants: {s: {depth_multiple: 0.5}, m: {}}\ndepth_multiple: 2\nwidth_multiple: 3\n"


@pytest.mark.parametrize(
    ("keys", "asked", "name", "depth", "width"),
    [
        ("", None, None, 1, 1),
        ("depth_multiple: 2\nwidth_multiple: 3\n", None, None, 2, 3),
        (TABLE, None, None, 2, 3),
        (TABLE, "s", "s", 0.5, 3),  # what the variant gives takes the place of the file's
        (TABLE + "variant: m\n", None, "m", 2, 3),
        (TABLE + "variant: m\n", "s", "s", 0.5, 3),
    ],
)
def test_variants(keys: str, asked: str | None, name: str, depth: float, width: float) -> None:
    found = model_file(keys, asked)
    assert found.variant == name
    assert (found.depth_multiple, found.width_multiple) == (depth, width)


def test_anchors_of_a_variant() -> None:
    keys = "anchors: [[1, 2]]\nvariants:\n  big: {anchors: [[8, 9]]}\n  same: {}\n"
    assert model_file(keys).anchors == [[1, 2]]
    assert model_file(keys, "same").anchors == [[1, 2]]
    assert model_file(keys, "big").anchors == [[8, 9]]
    with pytest.raises(DetectorError) as caught:
        model_file(keys.replace("[[8, 9]]", "[[8, -9]]"))
    assert str(caught.value) == "a.yaml:3: anchors: expected pixels, more than 0, found -9"


def test_preprocessing_of_a_file() -> None:
    keys = model_file("preprocess: {mode: stretch, mean_rgb: [1, 2, 3]}\n").keys
    assert keys.preprocess.mode == "stretch"
    assert keys.preprocess.mean_rgb == (1, 2, 3)
    assert keys.preprocess.scale_rgb == (255, 255, 255)
    with pytest.raises(DetectorError) as caught:
        model_file("nc: 2\npreprocess: {mode: crop}\n")
    expected = "a.yaml:2: preprocess.mode: expected 'letterbox' or 'stretch', found 'crop'"
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("keys", "asked", "message"),
    [
        (TABLE, "x", "a.yaml:1: unknown variant 'x'; the file has: s, m"),
        ("nc: 1\n" + TABLE, "sm", "a.yaml:2: unknown variant 'sm'; did you mean 's'?"),
        ("", "s", "a.yaml:2: unknown variant 's'; the file has: none"),
    ],
)
def test_unknown_variant(keys: str, asked: str, message: str) -> None:
    with pytest.raises(DetectorError) as caught:
        model_file(keys, asked)
    assert str(caught.value) == message


def test_error_names_file_line_row_and_module() -> None:
    found = model_file()
    assert str(found.error(found.rows[1], "is odd")) == "a.yaml:4: row 1 (C3): is odd"


def test_number_of_rows_is_limited() -> None:
    rows = "backbone:\n" + "  - [-1, 1, Conv, [8]]\n" * 1000 + "head: [[-1, 1, Detect, [nc, 3]]]\n"
    with pytest.raises(DetectorError, match=r"^a\.yaml:1002: 1001 rows, at most 1000 are built$"):
        model_file(rows=rows)


@pytest.mark.parametrize("name", [n for n in packaged_files("cfg") if not n.startswith("train/")])
def test_packaged_files(name: str) -> None:
    found = read_model_file(name)
    assert found.rows[-1].module in ("Classify", "Detect", "IDetect", "SSDHead")
    for variant in found.keys.variants:
        assert read_model_file(name, variant).variant == variant
