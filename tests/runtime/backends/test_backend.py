"""Metadata of exported files."""

from __future__ import annotations

import json

import pytest

from detector import __version__
from detector.runtime.backends.backend import METADATA_KEY, ModelMetadata
from detector.structures.preprocess import Preprocess
from detector.utils.errors import DetectorError

METADATA = ModelMetadata(
    names=("cat", "dog"), preprocess=Preprocess(size_hw=(320, 640)), version=__version__
)


def read(text: str) -> ModelMetadata:
    return ModelMetadata.from_properties({METADATA_KEY: text}, "x.onnx")


def test_metadata_comes_back_from_its_text():
    assert read(METADATA.to_json()) == METADATA
    assert json.loads(METADATA.to_json())["names"] == ["cat", "dog"]
    assert json.loads(METADATA.to_json())["task"] == "detect"


def test_a_foreign_file_has_none():
    with pytest.raises(DetectorError) as caught:
        ModelMetadata.from_properties({"author": "someone"}, "x.onnx")
    assert str(caught.value) == (
        "x.onnx: no 'detector' metadata (class names, preprocessing): "
        "not a file that tools/export.py wrote"
    )


def spoilt(**changes: object) -> str:
    content = json.loads(METADATA.to_json())
    for key, value in changes.items():
        if value is None:
            del content[key]
        else:
            content[key] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (spoilt(names=None), "key 'names' is missing"),
        (spoilt(names=[]), "names: expected 1 or more values, found []"),
        (spoilt(nams=["a"]), "unknown key 'nams'; did you mean 'names'?"),
        (spoilt(task="segment"), "task: expected 'detect' or 'classify', found 'segment'"),
        (spoilt(preprocess={"size_hw": [320, "wide"]}), "preprocess.size_hw.1: expected a whole "
         "number, found 'wide'"),
        (spoilt(preprocess={"size_hw": [8, 8], "mode": "pad"}), "preprocess.mode: expected "
         "'letterbox', 'stretch' or 'crop', found 'pad'"),
        ("{", "invalid JSON: EOF while parsing an object at line 1 column 1"),
        ("[]", "expected a mapping"),
    ],
)  # fmt: skip
def test_metadata_that_is_wrong(text, message):
    with pytest.raises(DetectorError) as caught:
        read(text)
    assert str(caught.value) == f"x.onnx: 'detector' metadata: {message}"
