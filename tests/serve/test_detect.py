"""Detection over HTTP: the same boxes as ``detect``, parameters, several images and models."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detector import Predictor
from detector.cli import run_tool
from detector.utils.opencv import decode_image, read_image
from tests.conftest import FOUND

NAMES = ("red", "green")


def test_boxes_are_those_of_detect(
    client: Callable[..., Any], finder_onnx: Path, finder_images: Path, tmp_path: Path
) -> None:
    """Equal as texts, so that each digit is the same; the words of all five images in one go."""
    flags = ["--weights", finder_onnx, "--source", finder_images, "--output", tmp_path]
    flags += ["--jsonl", "--no-draw", "--confidence", "0.001"]
    assert run_tool("detect", list(map(str, flags))) == 0
    lines = (tmp_path / "detections.jsonl").read_text().splitlines()
    files = sorted(finder_images.iterdir())
    answer = client().post(
        "/v1/detect?confidence=0.001",
        files=[("images", (file.stem, file.read_bytes())) for file in files],
    )
    assert answer.status_code == 200
    expected = []
    for line in lines:
        record = json.loads(line)
        del record["path"]
        expected.append(record)
    text = json.dumps({"model": "finder", "images": expected}, ensure_ascii=False)
    assert answer.text == text
    assert sum(len(record["scores"]) for record in expected) > sum(map(len, FOUND.values()))


@pytest.mark.parametrize("way", ["form", "bare", "octets"])
def test_ways_to_send_an_image(client: Callable[..., Any], image_c: bytes, way: str) -> None:
    http = client()
    if way == "form":
        answer = http.post("/v1/detect", files={"image": ("a/b\\c.png", image_c)})
    else:
        kind = {"bare": "image/png", "octets": "application/octet-stream"}[way]
        answer = http.post("/v1/detect", content=image_c, headers={"content-type": kind})
    (image,) = answer.json()["images"]
    assert image["name"] == ("c.png" if way == "form" else "image")
    assert image["size_hw"] == [64, 64]
    assert image["class_names"] == ["red", "green"]
    assert image["boxes_xyxy"] == [[48, 48, 64, 64], [0, 32, 16, 48]]
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("query", "classes"),
    [
        ("", ["red", "green"]),
        ("confidence=0.99", ["red"]),  # green has 0.987
        ("max_detections=1", ["red"]),
        ("classes=green", ["green"]),
        ("classes=1,red", ["red", "green"]),
        ("model=finder&iou=0.1", ["red", "green"]),
    ],
)
def test_parameters(
    client: Callable[..., Any], image_c: bytes, query: str, classes: list[str]
) -> None:
    answer = client().post(f"/v1/detect?{query}", files={"image": image_c})
    assert answer.json()["images"][0]["class_names"] == classes


@pytest.mark.parametrize(
    ("query", "status", "error"),
    [
        ("confidence=2", 400, "confidence: expected at most 1, found '2'"),
        ("confidence=nan", 400, "confidence: expected a finite number, found 'nan'"),
        ("max_detections=0", 400, "max_detections: expected at least 1, found '0'"),
        ("iou=0.1&iou=0.2", 400, "iou is given twice"),
        ("confidance=0.2", 400, "unknown key 'confidance'; did you mean 'confidence'?"),
        ("classes=gren", 400, "unknown class 'gren'; did you mean 'green'?"),
        ("model=findr", 404, "unknown model 'findr'; did you mean 'finder'?"),
        ("model=", 404, "unknown model ''; there are finder"),
    ],
)
def test_wrong_parameters(
    client: Callable[..., Any], image_c: bytes, query: str, status: int, error: str
) -> None:
    answer = client().post(f"/v1/detect?{query}", files={"image": image_c})
    assert (answer.status_code, answer.json()) == (status, {"error": error})


def test_flags_are_the_defaults_of_requests(client: Callable[..., Any], image_c: bytes) -> None:
    http = client(confidence=0.99)
    ask = {"files": {"image": image_c}}
    assert http.post("/v1/detect", **ask).json()["images"][0]["class_names"] == ["red"]
    answer = http.post("/v1/detect?confidence=0.5", **ask)
    assert answer.json()["images"][0]["class_names"] == ["red", "green"]


def test_a_drawn_image(client: Callable[..., Any], finder_onnx: Path, finder_images: Path) -> None:
    http, file = client(), finder_images / "d.png"
    png = {"accept": "image/png"}
    answer = http.post("/v1/detect", files={"image": file.read_bytes()}, headers=png)
    assert answer.headers["content-type"] == "image/png"
    expected = Predictor(finder_onnx, threads=1).predict(file).draw(file)
    assert (decode_image(answer.content, "answer") == expected).all()
    assert (expected != read_image(file)).any()
    two = [("images", file.read_bytes())] * 2
    answer = http.post("/v1/detect", files=two, headers=png)
    error = "image/png is the answer for one image, found 2"
    assert (answer.status_code, answer.json()) == (406, {"error": error})
    answer = http.post("/v1/detect", files=two, headers={"accept": "application/json, image/png"})
    assert len(answer.json()["images"]) == 2


def test_several_models(
    client: Callable[..., Any], finder_onnx: Path, finder_openvino: Path, image_c: bytes, tmp_path
) -> None:
    other = tmp_path / "other.onnx"
    shutil.copy(finder_onnx, other)
    http = client(finder_openvino, other)
    boxes = {}
    for query, name in (("", "finder"), ("?model=finder", "finder"), ("?model=other", "other")):
        answer = http.post(f"/v1/detect{query}", files={"image": image_c}).json()
        assert answer["model"] == name
        boxes[query] = answer["images"][0]["boxes_xyxy"]
    assert boxes["?model=other"] == boxes[""] == [[48, 48, 64, 64], [0, 32, 16, 48]]
    found = http.get("/v1/model?model=other").json()
    assert (found["model"], found["models"]) == ("other", ["finder", "other"])


def test_description_of_a_model(client: Callable[..., Any], finder_onnx: Path) -> None:
    found = client().get("/v1/model").json()
    beside = json.loads(Path(f"{finder_onnx}.certificate.json").read_text())["metadata"]
    assert found["names"] == ["red", "green"]
    assert found["task"] == "detect"
    assert found["preprocess"] == beside["preprocess"]
    assert found["certificate"] == beside["certificate"]
    assert (found["precision"], found["arithmetic"]) == ("fp32", "fp32")
    assert found["max_batch"] == 1  # the file fixes it
    assert str(finder_onnx.parent) not in json.dumps(found)


def test_requests_become_batches(
    client: Callable[..., Any], finder_openvino: Path, finder_images: Path, monkeypatch
) -> None:
    """Four requests at the same time, each with settings of its own, in one forward pass."""
    from detector.runtime.pipeline import Pipeline

    sizes: list[int] = []
    original = Pipeline.predict_fitted

    def noted(self: Pipeline, images: Any, settings: Any) -> Any:
        sizes.append(len(images))
        return original(self, images, settings)

    http = client(finder_openvino, max_batch=4, max_wait_ms=10_000)
    monkeypatch.setattr(Pipeline, "predict_fitted", noted)
    found: dict[str, list[str]] = {}

    def ask(confidence: str) -> None:
        data = (finder_images / "c.png").read_bytes()
        answer = http.post(f"/v1/detect?confidence={confidence}", files={"image": data})
        found[confidence] = answer.json()["images"][0]["class_names"]

    threads = [threading.Thread(target=ask, args=(each,)) for each in ("0.3", "0.4", "0.5", "0.99")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes == [4]
    both = ["red", "green"]
    assert found == {"0.3": both, "0.4": both, "0.5": both, "0.99": ["red"]}
    text = http.get("/metrics").text
    assert 'detector_batch_images_sum{model="finder"} 4.0' in text
    assert 'detector_batch_images_count{model="finder"} 1.0' in text
    assert 'detector_accepted_images{model="finder"} 0.0' in text
    assert 'detector_requests_total{path="/v1/detect",status="200"} 4.0' in text


def test_a_full_server(client: Callable[..., Any], image_c: bytes, monkeypatch) -> None:
    """Two images are accepted and held in the network; the third request is told to come again."""
    from detector.runtime.pipeline import Pipeline

    http = client(queue=2, max_images=2)
    gate, begun = threading.Event(), threading.Event()
    original = Pipeline.predict_fitted

    def held(self: Pipeline, images: Any, settings: Any) -> Any:
        begun.set()
        assert gate.wait(60)
        return original(self, images, settings)

    monkeypatch.setattr(Pipeline, "predict_fitted", held)
    answers: list[Any] = []
    thread = threading.Thread(
        target=lambda: answers.append(http.post("/v1/detect", files=[("images", image_c)] * 2))
    )
    thread.start()
    assert begun.wait(60)
    refused = http.post("/v1/detect", files={"image": image_c})
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert refused.json() == {"error": "2 images wait, at most 2 may; try again"}
    assert http.get("/healthz").json() == {"status": "ok"}
    gate.set()
    thread.join()
    assert answers[0].status_code == 200
    assert http.post("/v1/detect", files={"image": image_c}).status_code == 200


def test_an_error_of_the_network_is_not_the_clients(
    client: Callable[..., Any], image_c: bytes, monkeypatch, caplog
) -> None:
    from detector.runtime.pipeline import Pipeline
    from detector.utils.errors import DetectorError

    http = client()

    def broken(self: Pipeline, images: Any, settings: Any) -> Any:
        raise DetectorError("refused, it was not run", file="/srv/secret/finder.onnx")

    monkeypatch.setattr(Pipeline, "predict_fitted", broken)
    answer = http.post("/v1/detect", files={"image": image_c})
    expected = {"error": "unexpected error; the server's log says more"}
    assert (answer.status_code, answer.json()) == (500, expected)
    line = "unexpected DetectorError: /srv/secret/finder.onnx: refused, it was not run"
    assert line in caplog.messages
