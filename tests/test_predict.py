"""The Python interface: build, load, deploy, and a Predictor that is the same for every file."""

import multiprocessing
import pickle
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import detector
from detector.cli import run_tool
from detector.predict import open_backend
from detector.runtime.sources import Frame
from detector.settings.common import RuntimeSettings
from detector.settings.detect import DetectSettings
from detector.settings.nms import NmsOptions, NmsSettings
from detector.structures.detections import Detections
from detector.structures.preprocess import divisible_size
from detector.utils.errors import DetectorError
from detector.utils.opencv import read_image, write_image
from detector.weights.checkpoint import save_weights

ROOT = Path(__file__).resolve().parents[1]
FILES = ("finder", "finder_onnx", "finder_openvino", "finder_pt2")
EVERYTHING = NmsSettings(confidence=0.001, iou=0.6, multi_label=True)

BOX_TOLERANCE = 1e-3
"""Pixels. Three layers of rounding in float32 at 64 pixels, where a step is 7.6e-6; a box half a
pixel off is 500 times as far."""
SCORE_TOLERANCE = 1e-5
"""The runtimes' sigmoids differ by about 1e-6."""


@pytest.fixture(params=FILES)
def weights(request: pytest.FixtureRequest) -> Path:
    """The same network as trained, and each form that it is exported to."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def noise() -> list[np.ndarray]:
    """Images without two alike cells, so that no two boxes have one score; none is square."""
    rng = np.random.default_rng(3)
    sizes_hw = ((64, 64), (48, 64), (100, 37), (64, 128), (200, 300))
    cells = [rng.integers(0, 256, (8, 8, 3)).astype(np.uint8) for _ in sizes_hw]
    return [
        np.kron(cell, np.ones((-(-h // 8), -(-w // 8), 1), np.uint8))[:h, :w]
        for cell, (h, w) in zip(cells, sizes_hw, strict=True)
    ]


def predict(weights: object, images: list[np.ndarray], **options: object) -> list[Detections]:
    predictor = detector.Predictor(weights, EVERYTHING, **options)
    frames = (Frame(f"image{i}", None, 0, image) for i, image in enumerate(images))
    return [result.detections for result in predictor.frames(frames)]


def assert_equal(found: list[Detections], expected: list[Detections]) -> None:
    """The same boxes in the same order."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.names == other.names
        np.testing.assert_array_equal(one.class_ids, other.class_ids)
        np.testing.assert_allclose(one.scores, other.scores, atol=SCORE_TOLERANCE)
        np.testing.assert_allclose(one.boxes_xyxy, other.boxes_xyxy, atol=BOX_TOLERANCE)


@pytest.fixture(scope="module")
def expected(finder: Path, noise: list[np.ndarray]) -> list[Detections]:
    """What the network as trained finds, one image at a time."""
    found = predict(finder, noise)
    assert [len(detections) > 10 for detections in found] == [True] * len(noise)
    return found


def test_three_names_are_enough(tmp_path: Path):
    """Build, save, load, deploy: what comes back is what went in."""
    model = detector.build("yolov5_repvgg", classes=["cat", "dog"], variant="n")
    assert isinstance(model, torch.nn.Module)
    assert model.names == ("cat", "dog")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fused, report = detector.deploy(model)
    assert report.difference_fp64 <= 1e-10
    assert report.params_after < report.params_before
    assert fused.deployed
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    save_weights(tmp_path / "model.safetensors", model)
    loaded = detector.load(tmp_path / "model.safetensors")
    assert loaded.names == ("cat", "dog")
    assert all(torch.equal(before[k], v) for k, v in loaded.state_dict().items())
    image = np.zeros((64, 64, 3), np.uint8)
    (found,) = detector.Predictor(model, imgsz=64)(image)
    assert found.names == ("cat", "dog")


def test_a_folder(weights: Path, finder_images: Path):
    found = list(detector.Predictor(weights)(finder_images))
    assert all(isinstance(detections, detector.Detections) for detections in found)
    assert [len(detections) for detections in found] == [1, 1, 2, 1, 0]
    assert {detections.names for detections in found} == {("red", "green")}
    third = found[2]
    expected = [[48, 48, 64, 64], [0, 32, 16, 48]]
    np.testing.assert_allclose(third.boxes_xyxy, expected, atol=BOX_TOLERANCE)
    assert third.class_ids.tolist() == [0, 1]
    np.testing.assert_allclose(third.scores, [0.999973, 0.986776], atol=SCORE_TOLERANCE)
    assert (third.boxes_xyxy.dtype, third.scores.dtype, third.class_ids.dtype) == (
        np.float32,
        np.float32,
        np.int64,
    )


def test_an_image_in_memory(weights: Path, finder_images: Path):
    """An RGB array gives what its file gives; blue and red exchanged, it gives nothing."""
    predictor = detector.Predictor(str(weights))
    path = finder_images / "a.png"
    image = read_image(path)
    copy = image.copy()
    (of_array,), (of_file,) = predictor(image), predictor(str(path))
    assert_equal([of_array], [of_file])
    assert len(of_array) == 1
    np.testing.assert_array_equal(image, copy)
    (exchanged,) = predictor(np.ascontiguousarray(image[..., ::-1]))
    assert len(exchanged) == 0


def test_an_image_that_is_none(weights: Path):
    """Floating-point pixels of 0 to 1 would look black."""
    with pytest.raises(DetectorError) as caught:
        list(detector.Predictor(weights)(np.zeros((64, 64, 3), np.float32)))
    assert str(caught.value) == (
        "expected a uint8 array of shape (h, w, 3) or (h, w), found float32 of shape (64, 64, 3)"
    )


def test_predict_takes_an_image_in_every_form(weights: Path, finder_images: Path):
    """Equal pixels give equal boxes, to the bit."""
    pillow = pytest.importorskip("PIL.Image")
    predictor = detector.Predictor(weights)
    path = finder_images / "c.png"
    image = read_image(path)
    planes = torch.from_numpy(image).permute(2, 0, 1)
    forms = [
        path,
        str(path),
        path.read_bytes(),
        pillow.open(path),
        pillow.fromarray(image).convert("RGBA"),
        image,
        planes,
        planes / 255,
    ]
    one = predictor.predict(path)
    assert isinstance(one, detector.Detections)
    assert one.class_names == ["red", "green"]
    each = [predictor.predict(form) for form in forms]
    each.append(predictor.predict(image[..., ::-1], bgr=True))
    each += [found for form in forms for found in predictor(form)]  # lazily
    for found in each:
        np.testing.assert_array_equal(found.boxes_xyxy, one.boxes_xyxy)
        np.testing.assert_array_equal(found.scores, one.scores)
        np.testing.assert_array_equal(found.class_ids, one.class_ids)
    for listed in (predictor.predict(forms), predictor.predict(tuple(forms))):
        assert isinstance(listed, list)
        assert_equal(listed, [one] * len(forms))


def test_predict_a_list(weights: Path, noise, expected):
    """Of any sizes, in batches; an empty one is one, too."""
    predictor = detector.Predictor(weights, EVERYTHING, batch=2)
    assert predictor.predict([]) == []
    assert_equal(predictor.predict(noise), expected)
    assert_equal(list(predictor(noise)), expected)
    assert predictor.timing.images == 2 * len(noise)


def test_predict_with_a_classifier():
    model = detector.build("repvgg", classes=["cat", "dog"], variant="A0")
    predictor = detector.Predictor(model, imgsz=32)
    image = np.zeros((32, 32, 3), np.uint8)
    found = predictor.predict(image)
    assert sorted(found.class_ids.tolist()) == [0, 1]
    assert [one.class_names for one in predictor.predict([image] * 2)] == [found.class_names] * 2
    with pytest.raises(DetectorError, match=r"^a classifier has no boxes, found iou$"):
        detector.Predictor(model, iou=0.5)


def test_what_predict_refuses(finder: Path, finder_images: Path, tmp_path: Path):
    predictor = detector.Predictor(finder)
    (tmp_path / "clip.mp4").touch()
    lost = finder_images / "a.pgn"
    hint = "expected an image; loop over predictor(source) for folders and videos"
    image = np.zeros((8, 8, 3), np.uint8)
    expected = "expected a uint8 array of shape (h, w, 3) or (h, w)"
    for images, message in (
        (finder_images, f"{finder_images}: is a folder, {hint}"),
        (tmp_path / "clip.mp4", f"{tmp_path / 'clip.mp4'}: is a video, {hint}"),
        (lost, f"{lost}: no such file or folder; did you mean 'a.png'?"),
        ([image, lost], f"{lost}: no such file or folder; did you mean 'a.png'?"),
        (image[..., :2], f"{expected}, found uint8 of shape (8, 8, 2)"),
        ([image, image[0, 0]], f"image 1: {expected}, found uint8 of shape (3,)"),
        ([[image]], "image 0: expected an image as path, bytes of a file, numpy array, Pillow "
         "image or torch tensor, found list"),
    ):  # fmt: skip
        with pytest.raises(DetectorError) as caught:
            predictor.predict(images)
        assert str(caught.value) == message


def test_to_supervision(finder: Path, finder_images: Path):
    supervision = pytest.importorskip("supervision")
    (found,) = detector.Predictor(finder)(finder_images / "c.png")
    theirs = found.to_supervision()
    assert isinstance(theirs, supervision.Detections)
    np.testing.assert_array_equal(theirs.xyxy, found.boxes_xyxy)
    np.testing.assert_array_equal(theirs.confidence, found.scores)
    np.testing.assert_array_equal(theirs.class_id, found.class_ids)
    assert theirs.data["class_name"].tolist() == ["red", "green"]
    (none,) = detector.Predictor(finder)(finder_images / "e.png")
    assert len(none.to_supervision()) == 0


@pytest.mark.parametrize("batch", [1, 4])
def test_files_and_batches_give_the_same(weights: Path, batch: int, noise, expected):
    """Five images: the second batch of four is not full."""
    assert_equal(predict(weights, noise, batch=batch), expected)


def test_a_deployed_network_finds_the_same(finder: Path, noise, expected, tmp_path: Path):
    fused, _ = detector.deploy(detector.load(finder))
    save_weights(tmp_path / "deployed.safetensors", fused)
    assert_equal(predict(fused, noise), expected)
    assert_equal(predict(tmp_path / "deployed.safetensors", noise), expected)


def test_another_size(finder: Path, finder_pt2: Path, noise):
    of_torch, of_pt2 = (predict(file, noise, imgsz=96) for file in (finder, finder_pt2))
    assert_equal(of_pt2, of_torch)


@pytest.mark.parametrize("batch", [1, 2])
def test_throughput_gives_the_same(weights: Path, noise, expected, batch: int):
    before = torch.get_num_threads()
    found = predict(weights, noise * 2, mode="throughput", threads=2, batch=batch)
    assert_equal(found, expected * 2)
    torch.set_num_threads(before)


def test_rectangles(finder: Path, finder_pt2: Path, noise, expected):
    """Less padding gives fewer boxes of nothing; what lies in the image is where it was."""
    of_torch, of_pt2 = (
        predict(file, noise, letterbox="rectangle") for file in (finder, finder_pt2)
    )
    assert_equal(of_pt2, of_torch)
    assert_equal(of_torch[:1], expected[:1])  # square, and of the input's size
    image = np.full((32, 128, 3), 100, np.uint8)
    image[:, :32] = (200, 30, 30)  # a square of 16 pixels in an input of 16×64
    (found,) = detector.Predictor(finder, letterbox="rectangle")(image)
    np.testing.assert_allclose(found.boxes_xyxy, [[0, 0, 32, 32]], atol=BOX_TOLERANCE)


def test_a_rectangle_for_a_file_of_one_size(finder_onnx: Path):
    with pytest.raises(DetectorError) as caught:
        detector.Predictor(finder_onnx, letterbox="rectangle")
    assert str(caught.value) == (
        f"{finder_onnx}: takes inputs of 64×64 only, found letterbox rectangle; "
        "export with --dynamic"
    )


def test_a_file_gives_the_same_as_a_picture_on_disk(weights: Path, noise, expected, tmp_path: Path):
    """Through PNG files, which lose nothing, and a glob."""
    for number, image in enumerate(noise):
        write_image(tmp_path / f"{number}.png", image)
    predictor = detector.Predictor(weights, EVERYTHING, batch=2)
    assert_equal(list(predictor(tmp_path / "*.png")), expected)


def test_settings_by_the_names_of_the_classes(finder: Path, finder_images: Path):
    seen = []

    def settings(names: tuple[str, ...]) -> NmsSettings:
        seen.append(names)
        return DetectSettings(weights=finder, source="", classes=("green",)).nms(names)

    found = list(detector.Predictor(finder, settings)(finder_images))
    assert seen == [("red", "green")]
    assert [len(detections) for detections in found] == [0, 1, 1, 0, 0]


def test_settings_as_keywords(weights: Path, finder_images: Path):
    """The third image has a red square of score 0.999973 and a green one of 0.986776."""

    def found(**keywords: Any) -> list[str]:
        return detector.Predictor(weights, **keywords).predict(finder_images / "c.png").class_names

    assert found() == found(classes=None) == found(classes=["green", "red"]) == ["red", "green"]
    assert found(classes="green") == found(classes=1) == found(classes=["1"]) == ["green"]
    assert found(classes=[np.int64(0)], confidence=0.99) == ["red"]
    assert found(settings=NmsSettings(confidence=0.99), classes=("red", "green")) == ["red"]
    assert found(settings=lambda names: NmsSettings(max_detections=1), iou=0.5) == ["red"]
    assert found(max_detections=1, confidence=1.0) == []


def test_keywords_and_settings_are_one(finder: Path):
    predictor = detector.Predictor(finder, NmsSettings(iou=0.6), confidence=0.1, classes=["green"])
    assert predictor.settings == NmsSettings(iou=0.6, confidence=0.1, classes=(1,))
    assert NmsOptions.__annotations__.keys() == NmsSettings.model_fields.keys()
    assert detector.NmsSettings is NmsSettings


def test_a_file_that_holds_its_nms(finder: Path, finder_images: Path, tmp_path: Path):
    file = tmp_path / "finder.onnx"
    words = ["--weights", finder, "--output", file, "--nms", "--confidence", "0.5"]
    assert run_tool("export", list(map(str, words))) == 0
    predictor = detector.Predictor(file, confidence=0.99, classes=["red", "green"])
    assert predictor.predict(finder_images / "c.png").class_names == ["red"]
    for keywords, message in (
        ({"iou": 0.5}, "holds its NMS with iou 0.45, found iou 0.5"),
        ({"confidence": 0.4}, "holds its NMS with confidence 0.5, found confidence 0.4"),
    ):
        with pytest.raises(DetectorError) as caught:
            detector.Predictor(file, **keywords)
        assert str(caught.value) == f"{file}: {message}"


def test_a_predictor_is_pickled_by_its_path(
    weights: Path, finder_images: Path, monkeypatch: pytest.MonkeyPatch
):
    """A relative path, too, for a process that works in another folder."""
    monkeypatch.chdir(weights.parent)
    predictor = detector.Predictor(
        weights.name, NmsSettings(iou=0.6), batch=2, classes=["green"], threads=1, device="cpu"
    )
    data = pickle.dumps(predictor)
    assert len(data) < 2000
    monkeypatch.chdir(finder_images)
    copy = pickle.loads(data)
    assert type(copy.backend) is type(predictor.backend)
    assert copy.settings == predictor.settings
    assert copy._runtime == predictor._runtime
    assert_equal(copy.predict(["a.png", "c.png"]), predictor.predict(["a.png", "c.png"]))


def test_a_predictor_in_another_process(finder_onnx: Path, finder_images: Path):
    predictor = detector.Predictor(finder_onnx, confidence=0.99, threads=1)
    images = [finder_images / "c.png", read_image(finder_images / "a.png")]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        assert_equal(pool.submit(predictor.predict, images).result(), predictor.predict(images))


def test_a_predictor_of_a_model_is_not_pickled(finder: Path):
    predictor = detector.Predictor(detector.load(finder))
    message = (
        "a Predictor of a model in memory cannot be pickled; save the model, and open its file"
    )
    with pytest.raises(DetectorError, match=f"^{message}$"):
        pickle.dumps(predictor)


def test_a_class_that_the_model_lacks(finder: Path):
    with pytest.raises(DetectorError, match="^class 2: the model has classes 0 to 1$"):
        detector.Predictor(finder, NmsSettings(classes=(2,)))
    with pytest.raises(DetectorError, match="^class 2: the model has classes 0 to 1$"):
        detector.Predictor(finder, classes=[0, 2])


def test_timing(finder: Path, finder_images: Path):
    predictor = detector.Predictor(finder, batch=2)
    assert predictor.names == ("red", "green")
    assert predictor.timing.images == 0
    assert len(list(predictor(finder_images))) == predictor.timing.images == 5
    assert min(predictor.timing.ms_per_image().values()) > 0


@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (3, 1), (1, 2)])
def test_few_batches_are_in_memory(finder_pt2: Path, batch: int, threads: int):
    """Neither images that are long to come nor those that are done."""
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def frames() -> Iterator[Frame]:
        for index in range(20):
            image = np.full((64, 64, 3), index, np.uint8)
            alive.append(weakref.ref(image))
            yield Frame(str(index), None, 0, image)
            del image

    mode = "throughput" if threads > 1 else "latency"
    predictor = detector.Predictor(finder_pt2, batch=batch, threads=threads, mode=mode)
    for number, result in enumerate(predictor.frames(frames())):
        time.sleep(0.002)  # enough to read on, if anything did
        # In hand, in each lane, and being read; of the next one the first image may be there.
        assert len(alive) <= (number // batch + 1 + threads + 1) * batch + 1
        del result
        most = max(most, sum(reference() is not None for reference in alive))
    assert len(alive) == 20
    assert most <= (threads + 2) * batch + 1


def test_results_come_one_by_one(finder: Path, finder_images: Path):
    """A generator: what nobody asks for is not computed."""
    predictor = detector.Predictor(finder)
    found = predictor(finder_images)
    assert predictor.timing.images == 0
    next(found)
    assert predictor.timing.images == 1


def test_what_runs_a_file(finder: Path, finder_onnx: Path, finder_pt2: Path, tmp_path: Path):
    kinds = [type(open_backend(path)).__name__ for path in (finder, finder_onnx, finder_pt2)]
    assert kinds == ["TorchBackend", "OnnxBackend", "Pt2Backend"]
    model = detector.load(finder)
    assert open_backend(model).model is model


OPENING = """
import sys
from detector.predict import open_backend
open_backend(sys.argv[1])
rooms = ("assigners", "data", "engine", "evaluation", "losses")
loaded = [name for name in sys.modules if name.startswith(tuple(f"detector.{r}" for r in rooms))]
libraries = {"pycocotools", "albumentations", "scipy", "accelerate", "matplotlib"}
print(sorted(loaded), sorted(libraries & sys.modules.keys()))
"""


def test_runtimes_of_one_precision(finder_onnx: Path, finder_pt2: Path):
    for path, what in ((finder_onnx, "ONNX Runtime"), (finder_pt2, "a pt2 file")):
        open_backend(path, RuntimeSettings(precision="fp32"))
        with pytest.raises(DetectorError) as caught:
            open_backend(path, RuntimeSettings(precision="bf16"))
        assert str(caught.value) == (
            f"{path}: --precision bf16: {what} computes in fp32; export with --format openvino, "
            "or run the weights themselves"
        )


@pytest.mark.parametrize(
    "file", ["finder", pytest.param("finder_pt2", marks=pytest.mark.slow), "finder_onnx"]
)
def test_opening_imports_nothing_of_training(file: str, request: pytest.FixtureRequest):
    """No loss, assigner, label reader, evaluator, and none of their libraries."""
    command = [sys.executable, "-c", OPENING, str(request.getfixturevalue(file))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("[] []\n", "")


@pytest.mark.parametrize(
    ("imgsz", "message"),
    [
        (40, "imgsz 40 is not a multiple of the network's stride 16; the nearest is 32"),
        (1001, "imgsz 1001 is not a multiple of the network's stride 16; the nearest is 1008"),
    ],
)
def test_sizes_that_do_not_fit(imgsz: int, message: str, finder: Path):
    model = detector.load(finder)
    with pytest.raises(DetectorError) as caught:
        divisible_size(imgsz, model.max_stride)
    assert str(caught.value) == message
    with pytest.raises(DetectorError, match=f"^imgsz {imgsz} is not a multiple"):
        detector.Predictor(model, imgsz=imgsz)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"imgsz": 8}, "imgsz: expected at least 32, found 8"),
        ({"threads": 0}, "threads: expected at least 1, found 0"),
        ({"threads": 1025}, "threads: expected at most 1024, found 1025"),
        ({"mode": "fast"}, "mode: expected 'latency' or 'throughput', found 'fast'"),
        ({"batch": 0}, "batch: expected at least 1, found 0"),
        ({"confidence": 40}, "confidence: expected at most 1, found 40"),
        ({"confidence": None}, "confidence: expected a number, found None"),
        ({"conf": 0.4}, "unknown keyword 'conf'; did you mean 'confidence'?"),
        ({"devise": "cpu"}, "unknown keyword 'devise'; did you mean 'device'?"),
        (
            {"half": True},
            "unknown keyword 'half'; known: imgsz, letterbox, device, threads, precision, mode, "
            "tiles, tile_overlap, tile_whole, tta, tta_scales, tta_flip, "
            "batch, confidence, iou, max_detections, "
            "class_agnostic, nms_method, sigma, multi_label, classes, candidates, "
            "class_candidates, clip_boxes, settings",
        ),
        ({"classes": ["gren"]}, "unknown class 'gren'; did you mean 'green'?"),
        ({"classes": ["dog"]}, "unknown class 'dog'; the model has 2 classes: red, green"),
        ({"classes": [0.5]}, "classes: expected names or numbers, found 0.5"),
        ({"settings": 0.4}, "settings: expected NmsSettings, found 0.4"),
        (
            {"settings": NmsSettings(iou=0.6), "iou": 0.5},
            "iou is given twice: 0.6 in settings, 0.5 as a keyword",
        ),
    ],
)
def test_keywords_that_do_not_fit(keywords: dict[str, Any], message: str, finder: Path):
    with pytest.raises(DetectorError) as caught:
        detector.Predictor(finder, **keywords)
    assert str(caught.value) == message


@pytest.mark.parametrize("weights", [None, 3, torch.nn.ReLU()])
def test_what_are_no_weights(weights: Any):
    found = type(weights).__name__
    with pytest.raises(DetectorError) as caught:
        detector.Predictor(weights)
    assert str(caught.value) == f"weights: expected a file or a built Detector, found {found}"


def test_the_model_stays_what_it_was(finder: Path, noise):
    """A network that is given is put into eval mode and otherwise left alone."""
    model = detector.load(finder).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    predict(model, noise, imgsz=96)
    assert model.preprocess.size_hw == (64, 64)
    assert not model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
