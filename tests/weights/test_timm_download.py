"""The download of a timm backbone's weights: what it says, what it asks, when it happens."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import timm
from safetensors.torch import save_file

from detector.engine.head_settings import train_settings
from detector.engine.setup import prepare
from detector.model.detector import Detector, build
from detector.utils.errors import DetectorError
from detector.weights.timm_download import download_timm_weights

URL = "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors"
TEXT = "nc: 2\nimgsz: 64\nanchors: [[8, 8]]\nhead: [[[P4], 1, Detect, [nc, anchors]]]\nbackbone: "


def model_file(folder: Path, backbone: str = "{timm: resnet18, out: [P4]}") -> Path:
    (folder / "model.yaml").write_text(TEXT + backbone)
    return folder / "model.yaml"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_network: list[str]) -> list[Any]:
    """A hub without a network; the value is the list of requests."""
    asked: list[Any] = []

    def metadata(url: str, token: Any) -> Any:
        asked.append((url, token))
        return SimpleNamespace(size=46_807_446, commit_hash="0123abc")

    def download(repository: str, file: str, revision: str, token: Any) -> str:
        asked.append((repository, file, revision, token))
        path = tmp_path / "hub" / file
        path.parent.mkdir(exist_ok=True)
        save_file(timm.create_model("resnet18").state_dict(), path)
        return str(path)

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", metadata)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return asked


def test_it_says_what_it_fetches(
    hub: list[Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        path = download_timm_weights(build(model_file(tmp_path)))
    assert path == tmp_path / "hub" / "model.safetensors"
    assert [record.getMessage() for record in caplog.records] == [
        f"downloading {URL} (46.8 MB, revision 0123abc, licence of the weights according to timm: "
        "apache-2.0)",
        f"weights of resnet18: {path}",
    ]
    assert hub == [
        (URL, False),  # no access token
        ("timm/resnet18.a1_in1k", "model.safetensors", "0123abc", False),
    ]


def test_train(
    hub: list[Any], tmp_path: Path, tiny_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flags: dict[str, Any] = {
        "cfg": str(model_file(tmp_path)),
        "data": str(tiny_data),
        "project": tmp_path,
        "device": "cpu",
    }
    prepare(train_settings(**flags))
    assert hub == []
    with caplog.at_level(logging.INFO):
        prepare(train_settings(**flags, download=True))
    assert len(hub) == 2
    assert "start weights: 90 of 122 tensors loaded" in caplog.text
    with pytest.raises(DetectorError) as caught:
        prepare(
            train_settings(
                **flags, download=True, backbone_weights=tmp_path / "hub" / "model.safetensors"
            )
        )
    assert str(caught.value) == "--download and --backbone-weights: expected one of both"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda _: build("yolov5n"),
            "--download: fetches the weights of a timm backbone, and this model file has none; "
            "expected --backbone-weights FILE",
        ),
        (
            lambda folder: build(model_file(folder, "{timm: repvgg_d2se, out: [P4]}")),
            None,
        ),
    ],
)
def test_errors(model: Any, message: str | None, tmp_path: Path, hub: list[Any]) -> None:
    built: Detector = model(tmp_path)
    if message is None:
        built.rows[0].published = SimpleNamespace(repository=None)  # type: ignore[assignment]
        message = "--download: timm knows no published weights of repvgg_d2se"
    with pytest.raises(DetectorError) as caught:
        download_timm_weights(built)
    assert str(caught.value) == message
    assert hub == []


def test_no_answer(tmp_path: Path, hub: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any, **kwargs: Any) -> Any:
        raise OSError("[Errno -3] Temporary failure in name resolution")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", fails)
    with pytest.raises(DetectorError) as caught:
        download_timm_weights(build(model_file(tmp_path)))
    assert str(caught.value) == (
        f"{URL}: cannot be downloaded: [Errno -3] Temporary failure in name resolution"
    )
