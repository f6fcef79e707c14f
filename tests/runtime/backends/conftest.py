"""The network of ``make_onnx`` for OpenVINO."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from detector.runtime.backends.backend import METADATA_KEY
from detector.runtime.backends.openvino import import_openvino, weights_of
from detector.runtime.backends.seal import SEAL_KEY, UNSEALED, seal
from tests.runtime.conftest import METADATA


@pytest.fixture
def make_openvino(make_onnx: Callable[..., Path]) -> Callable[..., Path]:
    """A function that writes the network of ``make_onnx`` for OpenVINO."""
    onnx = pytest.importorskip("onnx")

    def make(metadata: str | None = METADATA.to_json(), **spoilt: object) -> Path:
        openvino = import_openvino()
        path = make_onnx(**spoilt).with_suffix(".xml")
        network = onnx.load(path.with_suffix(".onnx"))
        del network.metadata_props[:]  # OpenVINO would copy them
        model = openvino.Core().read_model(io.BytesIO(network.SerializeToString()))
        if metadata is not None:
            model.set_rt_info(metadata, METADATA_KEY)
            model.set_rt_info(UNSEALED, SEAL_KEY)
        openvino.save_model(model, path, compress_to_fp16=False)
        if metadata is not None:
            seal(path, weights_of(path))
        return path

    return make
