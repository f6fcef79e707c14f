"""Files that try to run code: each tool refuses them in one line, and nothing runs."""

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file

Fails = Callable[..., str]


@pytest.fixture
def marker(tmp_path: Path):
    """A file that every attack tries to make."""
    path = tmp_path / "it_ran"
    yield path
    assert not path.exists()


class Attack:
    """Pickles as a call that makes the marker."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> object:
        return open, (self.marker, "w")


def test_the_attacks_work_where_files_are_trusted(tmp_path: Path):
    """Otherwise the tests below would prove nothing."""
    for number, attack in enumerate(
        (
            lambda path: pickle.loads(pickle.dumps(Attack(path))),
            lambda path: yaml.unsafe_load(yaml_call(path)),
            lambda path: eval(python_call(path)),
        )
    ):
        marker = tmp_path / str(number)
        attack(marker)
        assert marker.exists()


def yaml_call(marker: Path) -> str:
    return f"!!python/object/apply:builtins.open ['{marker}', 'w']"


def python_call(marker: Path) -> str:
    return f"__import__('pathlib').Path('{marker}').touch()"


MODEL = """
nc: 2
anchors: [[16, 16]]
imgsz: 64
activation: {activation}
backbone:
  - [-1, 1, {module}, [{width}, 3, 2]]
head:
  - [-1, 1, Detect, [{classes}, anchors]]
"""
PLAIN = {"activation": "SiLU", "module": "Conv", "width": 8, "classes": "nc"}


@pytest.mark.parametrize("key", PLAIN)
@pytest.mark.parametrize("form", ["yaml", "python"])
def test_model_files(
    key: str, form: str, fails: Fails, tiny_data: Path, tmp_path: Path, marker: Path
):
    attack = yaml_call(marker) if form == "yaml" else f'"{python_call(marker)}"'
    cfg = tmp_path / "model.yaml"
    cfg.write_text(MODEL.format(**PLAIN))
    line = next(n for n, text in enumerate(MODEL.splitlines(), 1) if f"{{{key}}}" in text)
    cfg.write_text(MODEL.format(**{**PLAIN, key: attack}))
    assert fails("info", "--cfg", cfg).startswith(f"{cfg}:{line}: ")
    words = ("--cfg", cfg, "--data", tiny_data, "--project", tmp_path / "runs")
    assert fails("train", *words).startswith(f"{cfg}:{line}: ")
    assert fails("anchors", "--cfg", cfg, "--data", tiny_data).startswith(f"{cfg}:{line}: ")
    assert not (tmp_path / "runs").exists()


def test_definitions_and_presets(
    fails: Fails, finder: Path, tiny_cfg: Path, tiny_data: Path, tmp_path: Path, marker: Path
):
    data = tmp_path / "data.yaml"
    data.write_text(f"path: .\nnames: [a, b]\nval: images\ndownload: {yaml_call(marker)}\n")
    assert fails("val", "--weights", finder, "--data", data).startswith(f"{data}:4: ")
    data.write_text(f'path: .\nnames: [a, b]\nval: images\ndownload: "{python_call(marker)}"\n')
    fails("val", "--weights", finder, "--data", data)
    preset = tmp_path / "preset.yaml"
    preset.write_text(f"epochs: {yaml_call(marker)}\n")
    words = ("--cfg", tiny_cfg, "--data", tiny_data, "--preset", preset)
    assert fails("train", *words).startswith(f"{preset}:1: ")
    further = f'[{{"name": "{python_call(marker)}"}}]'
    message = fails("train", "--cfg", tiny_cfg, "--data", tiny_data, "--albumentations", further)
    assert "albumentations" in message


def torch_archive(path: Path, attack: Attack) -> None:
    torch.save({"model": attack, "state_dict": {"a": torch.zeros(1)}}, path)


def old_torch_file(path: Path, attack: Attack) -> None:
    torch.save({"model": attack}, path, _use_new_zipfile_serialization=False)


def plain_pickle(path: Path, attack: Attack) -> None:
    path.write_bytes(pickle.dumps({"model": attack}))


@pytest.mark.parametrize("write", [torch_archive, old_torch_file, plain_pickle])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".onnx", ".pt2"])
def test_pickles_as_weights(
    write: Callable[[Path, Attack], None],
    suffix: str,
    fails: Fails,
    finder_images: Path,
    tiny_cfg: Path,
    tiny_data: Path,
    tmp_path: Path,
    marker: Path,
):
    weights = tmp_path / f"weights{suffix}"
    write(weights, Attack(marker))
    assert fails("detect", "--weights", weights, "--source", finder_images).startswith(
        f"{weights}:"
    )
    assert fails("val", "--weights", weights, "--data", tiny_data).startswith(f"{weights}: ")
    assert fails("export", "--weights", weights).startswith(f"{weights}: ")
    words = ("--cfg", tiny_cfg, "--data", tiny_data, "--project", tmp_path / "runs")
    fails("train", *words, "--weights", weights)


def test_a_training_state(
    run: Callable[..., Any],
    fails: Fails,
    tiny_cfg: Path,
    tiny_data: Path,
    tmp_path: Path,
    marker: Path,
):
    words = ("--cfg", tiny_cfg, "--data", tiny_data, "--project", tmp_path, "--name", "run")
    assert run("train", *words, "--epochs", 1).code == 0
    state = tmp_path / "run" / "last.state.pt"
    torch_archive(state, Attack(marker))
    assert fails("train", "--resume", tmp_path / "run").startswith(f"{state}: ")
    settings = tmp_path / "run" / "settings.yaml"
    settings.write_text(f"epochs: {yaml_call(marker)}\n")
    assert fails("train", "--resume", tmp_path / "run").startswith(f"{settings}:1: ")


def test_the_model_file_inside_a_checkpoint(
    fails: Fails, finder: Path, finder_images: Path, tmp_path: Path, marker: Path
):
    """The metadata of a ``.safetensors`` file holds a model file, as untrusted as any other."""
    with safe_open(finder, framework="pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for old, new in (
        ("activation: ReLU", f"activation: {yaml_call(marker)}"),
        ("Conv, [8, 3, 2]", f'Conv, ["{python_call(marker)}", 3, 2]'),
    ):
        metadata = header["detector"].replace(old, json.dumps(new)[1:-1])
        assert metadata != header["detector"]
        weights = tmp_path / "planted.safetensors"
        save_file(tensors, weights, {**header, "detector": metadata})
        words = ("--weights", weights, "--source", finder_images)
        assert fails("detect", *words).startswith(f"{weights}: ")


def test_pickles_inside_a_program(
    fails: Fails, finder_pt2: Path, finder_images: Path, tmp_path: Path, marker: Path
):
    """Members of a ``.pt2`` that torch would unpickle."""
    planted = tmp_path / "planted.pt2"
    with zipfile.ZipFile(finder_pt2) as source, zipfile.ZipFile(planted, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith(".pt") or "sample_inputs" in name:
                data = pickle.dumps(Attack(marker))
            target.writestr(name, data)
        folder = source.namelist()[0].partition("/")[0]
        target.writestr(f"{folder}/data/constants/attack.pt", pickle.dumps(Attack(marker)))
    words = ("--weights", planted, "--source", finder_images)
    assert fails("detect", *words).startswith(f"{planted}: ")
