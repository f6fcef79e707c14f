"""Certificates and metadata of this version and of earlier ones."""

from __future__ import annotations

import json

import pydantic
import pytest

from detector.runtime.backends.backend import METADATA_KEY, ModelMetadata
from detector.runtime.backends.certificate import Certificate
from detector.utils.errors import DetectorError

EARLIER = """{
  "weights_sha256": "%s",
  "fusing": {"fp64": 1e-14, "fp32": 2e-06, "worst_block": "rows.3", "blocks": 10},
  "exported": {"boxes_px": 0.001, "scores": 1e-06},
  "whole": {"boxes_px": 0.002, "scores": 2e-06},
  "final": {"boxes_px": 0.002, "scores": 2e-06, "boxes": 12, "unmatched": 0},
  "images": 6, %s"measured": null, "versions": {"python": "3.11.8"}, "command": "tools/export.py"
}"""
METADATA = """{
  "names": ["cat", "dog"], "preprocess": {"size_hw": [320, 640]}, "version": "0.0.9",
  "stride": 32, "task": "detect", "nms": null, "certificate": %s
}"""
HALVES = [('"half": true, ', "fp16"), ('"half": false, ', "fp32"), ("", "fp32")]


def earlier(field: str) -> str:
    return EARLIER % ("0" * 64, field)


def read_metadata(text: str) -> ModelMetadata:
    return ModelMetadata.from_properties({METADATA_KEY: text}, "x.onnx")


@pytest.mark.parametrize(("field", "precision"), HALVES)
def test_a_certificate_of_an_earlier_version(field, precision):
    found = Certificate.model_validate_json(earlier(field))
    assert found.precision == precision
    assert (found.images, found.before_nms.boxes_px) == (6, 0.002)
    assert "half" not in found.model_dump()
    assert Certificate.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(("field", "precision"), HALVES)
def test_metadata_of_an_earlier_version(field, precision):
    metadata = read_metadata(METADATA % earlier(field))
    assert metadata.precision == precision
    assert metadata.certificate == Certificate.model_validate_json(earlier(field))
    assert read_metadata(metadata.to_json()) == metadata


def test_metadata_without_a_certificate():
    assert read_metadata(METADATA % "null").precision == "fp32"


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ('"half": 1, ', "unknown key 'half'"),
        ('"half": null, ', "unknown key 'half'"),
        ('"half": true, "precision": "fp16", ', "unknown key 'half'"),
        (
            '"precision": "fp8", ',
            "precision: expected 'fp32', 'bf16', 'fp16' or 'int8', found 'fp8'",
        ),
    ],
)
def test_a_certificate_that_is_wrong(field, message):
    with pytest.raises(pydantic.ValidationError):
        Certificate.model_validate_json(earlier(field))
    with pytest.raises(DetectorError) as caught:
        read_metadata(METADATA % earlier(field))
    assert message in str(caught.value).replace("certificate.", "")
    assert "\n" not in str(caught.value)


def test_metadata_that_contradicts_its_certificate():
    content = json.loads(read_metadata(METADATA % earlier('"half": true, ')).to_json())
    with pytest.raises(DetectorError) as caught:
        read_metadata(json.dumps({**content, "precision": "fp32"}))
    assert str(caught.value) == (
        "x.onnx: 'detector' metadata: precision is fp32, its certificate's is fp16; "
        "written by version 0.0.9, this is 0.1.0"
    )
