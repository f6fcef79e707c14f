"""Use every extra that is installed here: ``python smoke.py SAMPLES EXTRA…``, in an empty folder.

It imports the standard library and the installed package alone, so that it runs in an environment
that holds nothing else. The extras that must be complete are named; those that are not complete
must say so in one line.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import urllib.request
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from detector import __version__
from detector.cli import main
from detector.utils.files import packaged_files

FOUND = "5 images: 3 red, 2 green\n"
"""What the samples' network finds on the samples' images."""

TRAINING = ("--epochs", 1, "--batch", 4, "--workers", 0, "--device", "cpu", "--no-pictures")
"""Two steps on eight images."""


def tool(*words: object, code: int = 0) -> str:
    """Run a command in this process; return stdout, or stderr where an error is expected."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        found = main([str(word) for word in words])
    assert found == code, f"{words}: exit code {found}\n{out.getvalue()}{err.getvalue()}"
    return err.getvalue() if code else out.getvalue()


def detects(weights: Path, samples: Path) -> None:
    """Find the five squares."""
    output = Path("detected") / weights.name
    words = ("--weights", weights, "--source", samples / "images", "--output", output)
    printed = tool("detect", *words)
    assert FOUND in printed, printed
    assert len(list(output.glob("*.png"))) == 5


# ---------------------------------------------------------------------------------- extra by extra


def base(samples: Path) -> None:
    """Import without a warning, and find the packaged files."""
    subprocess.run([sys.executable, "-W", "error", "-c", "import detector"], check=True)
    script = Path(sys.executable).with_name("detector")
    version = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout == f"detector {__version__}\n"
    assert "yolov5n" in packaged_files("cfg")
    assert "shapes" in packaged_files("datasets")


def runtime(samples: Path) -> None:
    """Detect with files of both runtimes."""
    detects(samples / "finder.onnx", samples)
    detects(samples / "finder.xml", samples)


def serve(samples: Path) -> None:
    """Answer a request with one process, and with two behind one port."""
    for workers in (1, 2):
        words = [samples / "finder.onnx", "--port", "0", "--workers", str(workers)]
        command = [sys.executable, "-m", "detector", "serve", *words]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            answers(server, (samples / "images" / "c.png").read_bytes())
            server.terminate()
            assert server.wait(60) == 0
        finally:
            server.kill()
            server.communicate()


def answers(server: subprocess.Popen[str], image: bytes) -> None:
    """Post an image once the server listens; both squares are in the answer."""
    assert server.stdout is not None
    lines = iter(server.stdout.readline, "")
    listens = (re.match(r"listens on (http\S+);", line) for line in lines)
    url = next((found[1] for found in listens if found), None)
    assert url is not None, "it ended"
    request = urllib.request.Request(f"{url}/v1/detect", image, {"Content-Type": "image/png"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        (found,) = json.load(answer)["images"]
    assert found["class_names"] == ["red", "green"]


def track(samples: Path) -> None:
    """Follow two squares that stand still, and measure the tracks."""
    frames = Path("frames")
    frames.mkdir()
    for number in range(5):
        shutil.copy(samples / "images" / "c.png", frames / f"{number}.png")
    words = ("--source", frames, "--fps", 30, "--track", "bytetrack", "--mot", "--output", "tracks")
    printed = tool("detect", "--weights", samples / "finder.onnx", *words)
    assert printed.splitlines()[-1] == "tracks in 1 video: 1 red, 1 green"
    boxes = {1: "48,48,16,16", 2: "0,32,16,16"}  # left, top, width, height
    rows = [f"{frame},{id_},{box},1,1,1\n" for frame in range(1, 6) for id_, box in boxes.items()]
    Path("gt.txt").write_text("".join(rows))
    words = ("--ground-truth", "gt.txt", "--tracks", "tracks/mot/frames.txt")
    tool("tracks", *words, "--json", "tracks.json")
    assert json.loads(Path("tracks.json").read_text())["gt"]["IDF1"] > 0.5


def train(samples: Path) -> None:
    """Take two steps on drawn images, with plots and events; measure and detect."""
    words = ("--cfg", samples / "tiny.yaml", "--data", samples / "drawn" / "tiny.yaml", *TRAINING)
    blur = '[{"name": "Blur", "p": 0.5}]'
    tool("train", *words, "--name", "train", "--log", "tensorboard,csv", "--albumentations", blur)
    assert Path("runs/train/train/best.safetensors").is_file()
    words = ("--weights", samples / "finder.safetensors", "--data", samples / "squares.yaml")
    tool("val", *words, "--json", "val.json")
    assert json.loads(Path("val.json").read_text())["AP"] > 0.99
    detects(samples / "finder.safetensors", samples)


def logs(service: str, samples: Path, record: str) -> None:
    """Train with a logger, offline; its record is there."""
    words = ("--cfg", samples / "tiny.yaml", "--data", samples / "drawn" / "tiny.yaml", *TRAINING)
    tool("train", *words, "--name", service, "--log", service)
    assert list(Path("runs/train").rglob(record)), record


def wandb(samples: Path) -> None:
    """Write an offline record."""
    logs("wandb", samples, "*.wandb")


def mlflow(samples: Path) -> None:
    """Write into a file."""
    logs("mlflow", samples, "mlflow.db")


def tune(samples: Path) -> None:
    """Try two learning rates."""
    Path("space.yaml").write_text("learning_rate: {kind: log, low: 0.001, high: 0.05}\n")
    words = ("--cfg", samples / "tiny.yaml", "--data", samples / "drawn" / "tiny.yaml", *TRAINING)
    tool("tune", "--space", "space.yaml", "--trials", 2, *words, "--name", "tune")
    assert Path("runs/tune/tune/best.yaml").is_file()


def faster(samples: Path) -> None:
    """Measure with the other evaluator."""
    words = ("--weights", samples / "finder.safetensors", "--data", samples / "squares.yaml")
    tool("val", *words, "--evaluator", "faster-coco-eval", "--json", "faster.json")
    assert json.loads(Path("faster.json").read_text())["AP"] > 0.99


def timm(samples: Path) -> None:
    """Build a network on one of timm's backbones."""
    tool("info", "--cfg", "yolov5_timm.yaml", "--variant", "mobilenetv4", "--imgsz", 64)


def export(samples: Path) -> None:
    """Write each format, and detect with it."""
    for form, suffix in (("onnx", ".onnx"), ("openvino", ".xml"), ("pt2", ".pt2")):
        output = Path("exported") / form
        words = ("--weights", samples / "finder.safetensors", "--output", output)
        tool("export", *words, "--format", form)
        detects(output.with_suffix(suffix), samples)


def int8(samples: Path) -> None:
    """Quantise for both runtimes; AP holds."""
    data = samples / "squares.yaml"
    for form, suffix in (("onnx", ".onnx"), ("openvino", ".xml")):
        output = Path("quantised") / form
        words = ("--weights", samples / "finder.safetensors", "--output", output, "--format", form)
        words += ("--precision", "int8", "--calibrate", data, "--data", data, "--max-drop", 0.02)
        tool("export", *words)
        assert output.with_suffix(suffix).is_file()


def without_runtime(samples: Path) -> None:
    """Say what an ONNX file needs."""
    words = ("--weights", samples / "finder.onnx", "--source", samples / "images")
    error = tool("detect", *words, code=2)
    assert re.fullmatch(r"error: \S+: needs ONNX Runtime \(.*\); run: pip install \S+\n", error), (
        error
    )


def without_train(samples: Path) -> None:
    """Say what a checkpoint and a training need."""
    message = 'error: torch is not installed; run: pip install "repdet[train]"\n'
    words = ("--weights", samples / "finder.safetensors", "--source", samples / "images")
    assert tool("detect", *words, code=2) == message
    assert "torch" not in sys.modules


TORCH_FREE = (base, runtime, serve, track)
SMOKE = (*TORCH_FREE, train, faster, timm, tune, wandb, mlflow, export, int8)
WITHOUT = {"runtime": without_runtime, "train": without_train}


def smoke(samples: Path, wanted: set[str]) -> None:
    """Run the smoke tests of all complete extras, and the errors of the others."""
    tool("checks", "--json", "checks.json")
    extras = json.loads(Path("checks.json").read_text())["extras"]
    assert extras.keys() == {use.__name__ for use in SMOKE}, "an extra has no smoke test"
    complete = {extra for extra, found in extras.items() if found["complete"]}
    assert wanted <= complete, {extra: extras[extra] for extra in wanted - complete}
    for use in SMOKE:
        if use.__name__ in complete:
            use(samples)
    for extra in WITHOUT.keys() - complete:
        WITHOUT[extra](samples)


if __name__ == "__main__":
    smoke(Path(sys.argv[1]).resolve(), set(sys.argv[2:]))
