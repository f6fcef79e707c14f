"""Weights and training states on disk: what comes back, and what is refused in one line."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from detector import __version__
from detector.layers.repvgg import randomise_batch_norms
from detector.model.deploy import fuse_modules
from detector.model.detector import Detector, build_model_file
from detector.model.model_file import check_model_file
from detector.structures.preprocess import Preprocess
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import YamlFile
from detector.weights.checkpoint import (
    MAX_HEADER_BYTES,
    load,
    load_training_state,
    read_metadata,
    read_state,
    save_training_state,
    save_weights,
)

TINY = """
variant: wide
variants:
  narrow: {width_multiple: 0.5}
  wide: {width_multiple: 1.0}
anchors: ANCHORS
backbone:
  - [-1, 1, RepVGGBlock, [16, 3, 2]]
  - [-1, 1, RepVGGBlock, [16, 3, 1]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [-1, 1, C3, [16]]
  - [[1, 3], 1, Detect, [nc, anchors]]
"""
ANCHORS = "[[10, 13, 16, 30], [30, 61, 62, 45]]"
NAMES = ("cat", "dog é", "a, b: c")


def tiny(names=NAMES, variant: str | None = "narrow", anchors: str = ANCHORS) -> Detector:
    file = YamlFile(Path("tiny.yaml"), TINY.replace("ANCHORS", anchors))
    model = build_model_file(check_model_file(file, variant), names)
    randomise_batch_norms(model)
    return model


@pytest.fixture
def model() -> Detector:
    return tiny()


@pytest.fixture
def saved(model: Detector, tmp_path: Path) -> Path:
    path = tmp_path / "best.safetensors"
    save_weights(path, model)
    return path


def equal(a: Detector, b: Detector) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_what_is_saved_comes_back(model: Detector, tmp_path: Path):
    model.preprocess = Preprocess(size_hw=(96, 128), mode="stretch", mean_rgb=(1, 2, 3))
    path = tmp_path / "best.safetensors"
    save_weights(path, model, {"epoch": 7, "metrics": {"AP": 0.5}})
    found = load(path)
    assert equal(found, model)
    assert found.definition == model.definition
    assert found.names == NAMES
    assert found.preprocess == model.preprocess
    assert not found.training
    assert not found.deployed
    images = torch.rand(1, 3, 32, 64)
    for a, b in zip(found(images), model.eval()(images), strict=True):
        assert torch.equal(a, b)
    metadata = read_metadata(path)
    assert (metadata.version, metadata.task, metadata.variant) == (__version__, "detect", "narrow")
    assert metadata.training == {"epoch": 7, "metrics": {"AP": 0.5}}


def test_saving_leaves_the_network_as_it_is_and_writes_float32(tmp_path: Path):
    model = tiny().train().half()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_weights(tmp_path / "a.safetensors", model)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    state = read_state(tmp_path / "a.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.float32, torch.int64}
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_deployed_network(model: Detector, tmp_path: Path):
    fused = fuse_modules(model)
    save_weights(tmp_path / "a.safetensors", fused)
    found = load(tmp_path / "a.safetensors")
    assert found.deployed
    assert equal(found, fused)
    assert read_metadata(tmp_path / "a.safetensors").deployed


def test_anchors_that_were_fitted_need_no_second_fitting(tmp_path: Path):
    model = tiny(anchors="2")
    assert not model.head.fitted
    model.head.anchors_wh.fill_(5)
    save_weights(tmp_path / "a.safetensors", model)
    found = load(tmp_path / "a.safetensors")
    assert found.head.fitted
    assert found.head.anchors_wh.unique().tolist() == [5]


def spoil(path: Path, tensors: dict | None = None, **changes: object) -> None:
    """Write a file again with a valid checksum but other metadata or tensors."""
    from detector.weights.checkpoint import _checksum

    with safetensors.safe_open(path, "pt") as opened:
        metadata = {**json.loads(opened.metadata()["detector"]), **changes}
        found = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    found = {k: v for k, v in {**found, **(tensors or {})}.items() if v is not None}
    text = json.dumps(metadata)
    header = {"detector": text, "crc32": _checksum(text, found)}
    safetensors.torch.save_file(found, path, header)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "'detector' metadata: format: .*found 2"),
        ({"names": []}, "'detector' metadata: names: "),
        ({"nmaes": 1}, "'detector' metadata: unknown key 'nmaes'; did you mean 'names'"),
        ({"preprocess": {"size_hw": [1, 1]}}, "'detector' metadata: preprocess.size_hw.0: "),
        ({"variant": "huge"}, "its network cannot be built: tiny.yaml:3: unknown variant 'huge'"),
        ({"model": "backbone: ["}, "its network cannot be built: tiny.yaml:1: YAML syntax: "),
        ({"model": "!!python/object/apply:os.getcwd []"}, "its network cannot be built: .*tag"),
        ({"model_path": "a\nb", "variant": "x"}, "its network cannot be built: a b:3: unknown"),
        ({"variant": "wide"}, r"weight 'rows.0.conv.weight' is 8×3×3×3, expected 16×3×3×3"),
        ({"names": ["a"]}, "weight 'rows.4.m.0.weight' is 16×8×1×1, expected 12×8×1×1"),
        ({"tensors": {"rows.0.bn.bias": None}}, "weight 'rows.0.bn.bias' is missing"),
        (
            {"tensors": {"rows.0.bn.bais": torch.ones(1)}},
            "weight 'rows.0.bn.bais' has no place in the network; did you mean 'rows.0.bn.bias'",
        ),
    ],
)
def test_metadata_and_weights_that_do_not_fit(saved: Path, changes: dict, message: str):
    spoil(saved, **changes)
    with pytest.raises(DetectorError, match=rf"best\.safetensors: {message}") as caught:
        load(saved)
    assert "\n" not in str(caught.value)


def test_damage_is_noticed(saved: Path, rng: np.random.Generator):
    whole = saved.read_bytes()
    for _ in range(100):
        damaged = bytearray(whole)
        if rng.random() < 0.2:
            del damaged[rng.integers(len(whole)) :]
        else:
            damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        saved.write_bytes(damaged)
        with pytest.raises(DetectorError) as caught:
            load(saved)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "damaged or not a .safetensors file"),
        (b"hello world, hello world", "damaged or not a .safetensors file"),
        ((5).to_bytes(8, "little") + b"nojso", "damaged or not a .safetensors file: "),
    ],
)
def test_files_of_another_kind(tmp_path: Path, data: bytes, message: str):
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    with pytest.raises(DetectorError, match=rf"a\.safetensors: {message}"):
        load(path)


def test_a_huge_header(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    size = MAX_HEADER_BYTES + 1
    path.write_bytes(size.to_bytes(8, "little") + bytes(size))
    with pytest.raises(DetectorError, match=f"its header has {size} bytes, at most"):
        load(path)


def test_weights_of_another_project_without_metadata(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file({"a": torch.ones(2)}, path)
    with pytest.raises(DetectorError, match="no 'detector' metadata .*: not saved by this"):
        load(path)
    assert read_state(path)["a"].tolist() == [1, 1]


@pytest.mark.parametrize("suffix", [".onnx", ".pt2", ".ONNX"])
@pytest.mark.parametrize("read", [load, read_state])
def test_exported_files(tmp_path: Path, suffix: str, read):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"")
    message = r"an exported file, for detect and val only; expected \.safetensors or \.pt$"
    with pytest.raises(DetectorError, match=message):
        read(path)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.pth"])
@pytest.mark.parametrize("read", [load, read_state])
def test_a_missing_file(tmp_path: Path, name: str, read):
    with pytest.raises(DetectorError, match=rf"{name}: no such file; expected weights$"):
        read(tmp_path / name)


@pytest.mark.parametrize("read", [load, read_state])
def test_a_misspelt_file(tmp_path: Path, read):
    (tmp_path / "yolox_nano.pth").touch()
    (tmp_path / "yolox_nanno.txt").touch()  # nearer, but no weights
    with pytest.raises(DetectorError) as caught:
        read(tmp_path / "yolox_nanno.pth")
    path = tmp_path / "yolox_nanno.pth"
    assert str(caught.value) == f"{path}: no such file; did you mean 'yolox_nano.pth'?"


def test_a_foreign_checkpoint(shared: Path, tmp_path: Path):
    model = load(shared / "weights/yolov5n_coco.pt")
    assert len(model.names) == 80
    save_weights(tmp_path / "a.safetensors", model)
    assert equal(load(tmp_path / "a.safetensors"), model)


def test_start_weights_from_a_plain_dictionary(model: Detector, tmp_path: Path):
    torch.save(model.state_dict(), tmp_path / "a.pth")
    state = read_state(tmp_path / "a.pth")
    assert state.keys() == model.state_dict().keys()
    message = "no YOLOv5 network with its YAML in this checkpoint$"
    with pytest.raises(DetectorError, match=message):
        load(tmp_path / "a.pth")


def test_a_training_state_comes_back(tmp_path: Path):
    state = {"epoch": 3, "random": torch.get_rng_state(), "groups": [{"lr": 0.1, "params": [0]}]}
    save_training_state(tmp_path / "last.state.pt", state)
    found = load_training_state(tmp_path / "last.state.pt")
    assert found["groups"] == state["groups"]
    assert torch.equal(found["random"], state["random"])
    assert [file.name for file in tmp_path.iterdir()] == ["last.state.pt"]


class Calls:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> object:
        return os.system, (self.command,)


def test_a_training_state_is_no_weights(tmp_path: Path):
    save_training_state(tmp_path / "last.state.pt", {"a": 1})
    message = "the state of a training run; its weights are in the .safetensors file beside it$"
    with pytest.raises(DetectorError, match=message):
        load(tmp_path / "last.state.pt")


def test_a_training_state_runs_nothing(tmp_path: Path):
    target = tmp_path / "target"
    torch.save({"a": Calls(f"touch {target}")}, tmp_path / "a.pt")
    with pytest.raises(DetectorError, match="not the state of a training run: ") as caught:
        load_training_state(tmp_path / "a.pt")
    assert "\n" not in str(caught.value)
    assert not target.exists()


def test_a_training_state_of_another_kind(tmp_path: Path):
    torch.save([1], tmp_path / "a.pt")
    with pytest.raises(DetectorError, match=r"a\.pt: not the state of a training run$"):
        load_training_state(tmp_path / "a.pt")
    with pytest.raises(DetectorError, match=r"b\.pt: no such file$"):
        load_training_state(tmp_path / "b.pt")


def test_a_damaged_training_state(tmp_path: Path):
    path = tmp_path / "a.pt"
    save_training_state(path, {"a": torch.ones(1000)})
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 4
    for damaged in (whole[:-100], bytes(flipped), b""):
        path.write_bytes(damaged)
        with pytest.raises(DetectorError, match="damaged or not an archive of PyTorch"):
            load_training_state(path)


def test_a_failed_write_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch):
    before = saved.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DetectorError, match="cannot be written: No space left on device$"):
        save_weights(saved, tiny())
    assert saved.read_bytes() == before
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize(
    ("content", "found"),
    [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
            "is a pointer of Git LFS (`git lfs pull` fetches the file itself), expected weights",
        ),
        (
            "\n<!DOCTYPE html><html>",
            "is a web page (the download did not give the file itself), expected weights",
        ),
    ],
)
def test_files_in_place_of_weights(tmp_path: Path, suffix: str, content: str, found: str):
    path = tmp_path / f"a.{suffix}"
    path.write_text(content)
    with pytest.raises(DetectorError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: {found}"
