"""Plain dictionaries of tensors, as start weights."""

import os
from pathlib import Path

import pytest
import torch

from detector.utils.errors import DetectorError
from detector.weights.checkpoint import read_state
from detector.weights.interop.networks import YOLO
from detector.weights.interop.state_dict import read_state_dict


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "state_dict": state},
        lambda state: {"model": state, "optimizer": {"lr": 0.1}},
    ],
)
def test_a_dictionary_of_tensors(tmp_path: Path, wrap):
    state = {"module.model.3.weight": torch.ones(2).half(), "fc.bias": torch.zeros(1)}
    torch.save(wrap(state), tmp_path / "a.pth")
    found = read_state_dict(tmp_path / "a.pth").tensors
    assert found.keys() == {"rows.3.weight", "fc.bias"}
    assert found["rows.3.weight"].tolist() == [1, 1]
    assert found["rows.3.weight"].dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.24.m.0.weight", "rows.24.m.0.weight"),
        ("module.conv.weight", "conv.weight"),
        ("model.head.weight", "model.head.weight"),
        ("rows.1.conv.weight", "rows.1.conv.weight"),
    ],
)
def test_names(tmp_path: Path, name: str, expected: str):
    torch.save({name: torch.ones(1)}, tmp_path / "a.pth")
    assert list(read_state_dict(tmp_path / "a.pth").tensors) == [expected]


def test_two_tensors_for_one_place(tmp_path: Path):
    path = tmp_path / "a.pth"
    torch.save({"model.3.bias": torch.ones(1), "module.model.3.bias": torch.zeros(1)}, path)
    with pytest.raises(DetectorError) as caught:
        read_state(path)
    assert str(caught.value) == (
        f"{path}: 'model.3.bias' and 'module.model.3.bias' have the same place, 'rows.3.bias'; "
        "expected one of them"
    )


@pytest.mark.parametrize("content", [{}, [1], {"a": 1}, {"model": {1: torch.ones(1)}}, os.getcwd])
def test_without_one(tmp_path: Path, content: object):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(DetectorError, match="neither a network nor a dictionary of weights in it$"):
        read_state_dict(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.24.anchors", True),
        ("module.model.105.anchor_grid", True),
        ("rows.24.anchors_wh", False),  # our own
        ("model.3.conv.weight", False),
    ],
)
def test_licences(name: str, said: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    torch.save({name: torch.ones(1)}, tmp_path / "a.pth")
    with caplog.at_level("INFO", "detector"):
        assert read_state_dict(tmp_path / "a.pth").origin == (YOLO if said else None)
        assert caplog.messages == []
        read_state(tmp_path / "a.pth")
    assert ["AGPL-3.0" in message for message in caplog.messages] == [True] * said
