"""Pickles of arrays, as Paddle saves them: data come out, nothing runs, the rest is one line."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detector.utils.errors import DetectorError
from detector.weights.pickles import machine
from detector.weights.pickles.budget import Budget
from detector.weights.pickles.machine import PickledObject, StoredTensor
from detector.weights.pickles.pickles import open_checkpoint

ARRAYS = {
    "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
    "columns": np.asfortranarray(np.arange(24, dtype=np.float64).reshape(2, 3, 4)),
    "scalar": np.array(7, np.int64),
    "empty": np.zeros((0, 3), np.float32),
    "half": np.array([1.5, -2], np.float16),
    "flags": np.array([True, False]),
    "large": np.linspace(0, 1, 1000, dtype=np.float32),
}


def write(path: Path, content: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def read(path: Path) -> Any:
    with open_checkpoint(path) as content:
        return content


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_come_out_as_they_went_in(tmp_path: Path, protocol: int) -> None:
    table = {"StructuredToParameterName@@": dict.fromkeys(ARRAYS, "conv2d_0.w_0")}
    found = read(write(tmp_path / "a.pdparams", {**ARRAYS, **table, "epoch": 3}, protocol))
    assert found.keys() == {*ARRAYS, "epoch"}
    assert found["epoch"] == 3
    for name, array in ARRAYS.items():
        assert isinstance(found[name], StoredTensor)
        tensor = found[name].read()
        assert tensor.dtype == torch.from_numpy(array).dtype
        assert np.array_equal(tensor.numpy(), array)
    assert read(write(tmp_path / "b.pdparams", [])) == []


def test_arrays_may_be_larger_than_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "MAX_PICKLE_BYTES", 1000)
    path = write(tmp_path / "a.pdparams", {"large": ARRAYS["large"]})
    assert read(path)["large"].size == (1000,)
    with pytest.raises(DetectorError, match="a pickle of more than 1000 bytes"):
        read(write(tmp_path / "b.pdparams", [None] * 1001))
    monkeypatch.setattr("detector.weights.pickles.pickles.MAX_ARRAY_BYTES", 3999)
    with pytest.raises(DetectorError, match="a pickle of more than 1000 bytes"):
        read(path)


def test_an_array_that_many_names_share(tmp_path: Path) -> None:
    """One kilobyte that a hundred names refer to is read at most four times."""
    path = write(tmp_path / "a.pdparams", {str(i): ARRAYS["large"] for i in range(100)})
    budget = Budget(path)
    found = read(path)
    for name in range(4):
        budget.read(found[str(name)])
    with pytest.raises(DetectorError, match="its tensors are larger than the file"):
        any(budget.read(stored) is None for stored in found.values())


class Calls:
    """Pickles as the call of a function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def test_nothing_runs(tmp_path: Path) -> None:
    target = tmp_path / "made"
    found = read(write(tmp_path / "a.pdparams", {"a": Calls(os.mkdir, str(target))}))
    assert isinstance(found["a"], PickledObject)
    assert not target.exists()


def reconstructed(state: tuple[Any, ...]) -> Calls:
    """An array with a state of its own."""
    whole = ARRAYS["matrix"].__reduce__()
    call = Calls(*whole[:1], *whole[1])
    call.call = (whole[0], whole[1], state)
    return call


DTYPE = np.dtype(np.float32)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (ARRAYS["matrix"].astype(">f4"), "array 'a' is big-endian"),
        (np.array(["é"]), "array 'a' has numbers of a type that is not read: 'U1'"),
        (np.array([1j]), "array 'a' has numbers of a type that is not read: 'c16'"),
        (
            reconstructed((1, (2, 3), DTYPE, False, bytes(20))),
            "array 'a' of 2×3 has 20 bytes, expected 24",
        ),
        (
            reconstructed((1, (), DTYPE, False, b"")),
            "array 'a' of one number has 0 bytes, expected 4",
        ),
        (reconstructed((1, (-1,), DTYPE, False, b"")), "array 'a' is damaged"),
        (reconstructed((1, (1,) * 33, DTYPE, False, bytes(4))), "array 'a' is damaged"),
        (reconstructed((1, (1,), "f4", False, bytes(4))), "array 'a' is damaged"),
        (reconstructed((1, (1,), DTYPE, False, [1.0])), "array 'a' is damaged"),
        (reconstructed((2,)), "array 'a' is damaged"),
        (np.rec.array([1.0]), "array 'a' is of a class of its own"),
    ],
)
def test_arrays_that_are_refused(value: Any, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.pdparams", {"a": value})
    with pytest.raises(DetectorError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: not a checkpoint that can be read: {message}"


def test_damage_ends_in_one_line(tmp_path: Path) -> None:
    """Any truncation and any flipped byte gives data or one line, never another exception."""
    rng = np.random.default_rng(0)
    path = write(tmp_path / "a.pdparams", ARRAYS)
    whole = path.read_bytes()
    messages = []
    for _ in range(300):
        damaged = bytearray(whole)
        if rng.random() < 0.3:
            del damaged[rng.integers(1, len(whole)) :]
        else:
            damaged[rng.integers(1, len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            with open_checkpoint(path) as found:
                for value in found.values() if isinstance(found, dict) else ():
                    if isinstance(value, StoredTensor):
                        value.read()
        except DetectorError as error:
            messages.append(str(error))
    assert len(messages) > 50
    assert not any("\n" in message for message in messages)
