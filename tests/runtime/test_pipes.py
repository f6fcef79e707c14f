"""Files beside exported ones that are named pipes, which would block or never end."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from detector.evaluation.inputs import LIST_NAME, InputList
from detector.runtime.backends.onnx import OnnxBackend
from detector.runtime.backends.openvino import OpenVinoBackend
from detector.runtime.certified import certificate_path, check_certificate
from detector.utils.errors import DetectorError

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


def pipe_instead_of(path: Path) -> Path:
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return path


def test_a_certificate(finder_onnx: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(finder_onnx, tmp_path))
    path = certificate_path(file)
    shutil.copy(certificate_path(finder_onnx), path)
    assert check_certificate(OnnxBackend(file)).images == 5
    pipe_instead_of(path)
    with pytest.raises(DetectorError) as caught:
        check_certificate(OnnxBackend(file))
    assert str(caught.value) == f"{path}: is not a regular file, expected a certificate"


def test_weights_beside_a_file(finder_openvino: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finder_openvino.parent, folder)
    file = folder / finder_openvino.name
    assert OpenVinoBackend(file).names == ("red", "green")
    path = pipe_instead_of(file.with_suffix(".bin"))
    with pytest.raises(DetectorError) as caught:
        OpenVinoBackend(file)
    assert str(caught.value) == f"{path}: is not a regular file, expected an OpenVINO file"


def test_a_list_of_inputs(tmp_path: Path) -> None:
    path = pipe_instead_of(tmp_path / LIST_NAME)
    with pytest.raises(DetectorError) as caught:
        InputList.read(tmp_path)
    assert str(caught.value) == f"{path}: is not a regular file, expected a list of inputs"
