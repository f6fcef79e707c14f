"""Fixtures of all tests."""

from __future__ import annotations

import gc
import math
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch starts its threads: one core for each worker
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import numpy as np
import pytest
from filelock import FileLock

from detector.utils.opencv import write_image

ROOT = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}

# Examples take as long as the machine needs, and are the same on each run in CI.
hypothesis.settings.register_profile("repdet", deadline=None, derandomize=IN_CI)
hypothesis.settings.load_profile("repdet")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and reference weights beside the checkout; read only."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        reason = "needs the real data in ../shared, which is not there"
        if IN_CI:
            pytest.fail(f"{reason}; with CI=true that is a failure")
        pytest.skip(reason)
    return folder


Once = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """A function that fills a folder once, for all processes that share the tests, and returns it.

    What takes seconds, such as an export, is not done again in each process.
    """
    base = tmp_path_factory.getbasetemp()
    run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def once(name: str, fill: Callable[[Path], None]) -> Path:
        folder, done = run / "once" / name, run / "once" / f"{name}.done"
        folder.parent.mkdir(exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # what a failed attempt has left
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return once


@pytest.fixture(scope="module", autouse=True)
def only_young_garbage() -> Iterator[None]:
    """Keep what outlives a module, libraries above all, out of later garbage collections.

    They took a tenth of the time of the suite.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same on each run."""
    return np.random.default_rng(0)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Refuse every connection and look-up, and fail at the end if one was tried.

    Failing at the end matters: libraries that ask for their newest version swallow the error.
    Sockets between processes of this machine (AF_UNIX) pass, PyTorch's loader uses them.
    The value is the list of attempts so far.
    """
    attempts: list[str] = []

    def refuse(what: str) -> Any:
        def refused(*args: Any, **kwargs: Any) -> Any:
            attempts.append(f"{what}{args}")
            raise OSError(f"no network in this test: {what}{args}")

        return refused

    def unless_local(what: str) -> Any:
        original = getattr(socket.socket, what)

        def method(self: socket.socket, *args: Any) -> Any:
            if self.family == getattr(socket, "AF_UNIX", None):
                return original(self, *args)
            return refuse(what)(*args)

        return method

    for method in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, method, unless_local(method))
    for function in ("create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, function, refuse(function))
    yield attempts
    assert not attempts, f"the network was asked for: {attempts}"


# ------------------------------------------------------------ a network and images to train it on

TINY_MODEL = """
nc: 2
anchors: [[12, 12, 24, 24], [32, 32, 48, 48]]
imgsz: 64
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, RepVGGBlock, [8, 3, 2]]
  - [-1, 1, RepVGGBlock, [16, 3, 2]]
head:
  - [-1, 1, Conv, [16, 3, 2]]
  - [[2, 3], 1, Detect, [nc, anchors]]
"""


@pytest.fixture(scope="session")
def tiny_cfg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file that trains in seconds."""
    path = tmp_path_factory.mktemp("cfg") / "tiny.yaml"
    path.write_text(TINY_MODEL)
    return path


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight grey images with one red or green square each, in YOLO's layout."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        (root / "labels" / split).mkdir(parents=True)
        for number in range(8):
            image = rng.integers(90, 110, (64, 64, 3)).astype(np.uint8)
            x, y = rng.integers(0, 32, 2)
            kind = number % 2
            image[y : y + 32, x : x + 32] = ((200, 30, 30), (30, 200, 30))[kind]
            write_image(root / "images" / split / f"{number}.png", image)
            cx, cy = (x + 16) / 64, (y + 16) / 64
            label = root / "labels" / split / f"{number}.txt"
            label.write_text(f"{kind} {cx} {cy} 0.5 0.5\n")
    definition = root / "tiny.yaml"
    definition.write_text(
        f"path: {root}\nnames: [red, green]\nsplits: {{train: images/train, val: images/val}}\n"
    )
    return definition


# ------------------------------------------------------------- a network that finds what is there

FINDER_MODEL = """
nc: 2
names: [red, green]
anchors: [[16, 16, 48, 48]]
imgsz: 64
activation: ReLU
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, RepVGGBlock, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
head:
  - [-1, 1, Detect, [nc, anchors]]
"""

FOUND = {
    "a": [(0, (0, 0, 16, 16))],
    "b": [(1, (32, 16, 48, 32))],
    "c": [(0, (48, 48, 64, 64)), (1, (0, 32, 16, 48))],
    "d": [(0, (32, 0, 64, 32))],
    "e": [],
}
"""Squares in the finder's images, best first: class and x1, y1, x2, y2 in pixels."""


@pytest.fixture(scope="session")
def finder(once: Once) -> Path:
    """Weights set by hand: a square of 16 pixels that fills a cell of stride 16 is found exactly.

    Each convolution averages 2×2 pixels of three colours. Grey has blue above ¼, the squares have
    blue below: logit 80 · (¼ − blue) is the objectness, ±20 · (red − green) are the classes.
    Scores: red σ(10.6) · σ(13.3) ≈ 1.000, green σ(4.3) · σ(11) ≈ 0.987. The second anchor gives
    boxes everywhere, whatever the colours make of them, with scores around σ(−3) · σ(0) ≈ 0.024:
    below what detect shows, within what val counts.
    """
    return once("finder", _save_finder) / "finder.safetensors"


def _save_finder(folder: Path) -> None:
    import torch

    from detector.model.detector import build
    from detector.weights.checkpoint import save_weights

    (folder / "finder.yaml").write_text(FINDER_MODEL)
    model = build(folder / "finder.yaml")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for block in model.rows[:4]:
            block.bn.weight.fill_(math.sqrt(1 + block.bn.eps))
            for colour in range(3):
                block.conv.weight[colour, colour, 1:, 1:] = 0.25
        pointwise, norm = model.rows[1].pointwise, model.rows[1].pointwise_bn
        norm.weight.fill_(math.sqrt(1 + norm.eps))
        for colour in range(3):  # half of one of the four pixels comes from the other branch
            model.rows[1].conv.weight[colour, colour, 1, 1] = 0.125
            pointwise.weight[colour, colour] = 0.125
        weight, bias = model.head.m[0].weight[..., 0, 0], model.head.m[0].bias
        weight[4, 2], bias[4] = -80, 20
        weight[5, :2] = torch.tensor([20, -20])
        weight[6, :2] = torch.tensor([-20, 20])
        weight[7:12, :3] = torch.tensor(
            [[1, 0, -1], [0, 1, -1], [-1, 2, 0], [0, -1, 2], [1, 1, -2]]
        )
        bias[11] = -3
    save_weights(folder / "finder.safetensors", model)


@pytest.fixture(scope="session")
def finder_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Definition of five labelled images, see FOUND; ``d`` is twice as large, and wide."""
    root = tmp_path_factory.mktemp("finder_data")
    (root / "labels").mkdir()
    for name, squares in FOUND.items():
        height, width = (64, 128) if name == "d" else (64, 64)
        image = np.full((height, width, 3), 100, np.uint8)
        lines = []
        for kind, (x1, y1, x2, y2) in squares:
            image[y1:y2, x1:x2] = ((200, 30, 30), (40, 180, 50))[kind]
            cx, cy, w, h = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
            lines.append(f"{kind} {cx / width} {cy / height} {w / width} {h / height}\n")
        write_image(root / "images" / f"{name}.png", image)
        (root / "labels" / f"{name}.txt").write_text("".join(lines))
    definition = root / "squares.yaml"
    definition.write_text("names: [red, green]\nsplits: {train: images, val: images}\n")
    return definition


@pytest.fixture(scope="session")
def finder_images(finder_data: Path) -> Path:
    """The folder of those images."""
    return finder_data.parent / "images"


@pytest.fixture(scope="session")
def finder_onnx(finder: Path, once: Once) -> Path:
    """The finder as ONNX, for one image of 64×64; what the tool said of it lies beside it."""
    return _exported(finder, once, "onnx")


@pytest.fixture(scope="session")
def finder_openvino(finder: Path, once: Once) -> Path:
    """The finder for OpenVINO, for any number of images of any size."""
    return _exported(finder, once, "openvino", "--dynamic")


@pytest.fixture(scope="session")
def finder_pt2(finder: Path, once: Once) -> Path:
    """The finder as a torch program, for any number of images of any size."""
    return _exported(finder, once, "pt2", "--dynamic")


def _exported(weights: Path, once: Once, form: str, *flags: str) -> Path:
    from detector.cli import run_tool

    def export(folder: Path) -> None:
        words = ["--weights", weights, "--format", form, "--output", folder / "finder", *flags]
        assert run_tool("export", [*map(str, words), "--json", str(folder / "export.json")]) == 0

    folder = once(form, export)
    return folder / f"finder.{'xml' if form == 'openvino' else form}"
