"""No tool opens a socket; an ONNX file needs no torch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from detector.cli import run_tool

ROOT = Path(__file__).resolve().parent.parent

NO_SOCKETS = """
import sys

def refuse(event, arguments):
    if event == "socket.__new__" and arguments[1] == 1:  # AF_UNIX, between processes
        return
    if event.startswith("socket.") and event != "socket.gethostname":
        print("ASKED", event, arguments, file=sys.stderr)
        raise OSError("no network in this test")

sys.addaudithook(refuse)
"""

NO_TORCH = """
for name in ("torch", "torchvision", "accelerate", "albumentations"):
    sys.modules[name] = None  # importing it raises ImportError
"""

TOOLS = """
import json, runpy
for tool, *words in json.loads(sys.argv[1]):
    sys.argv = [f"tools/{tool}.py", *words]
    try:
        runpy.run_path(f"tools/{tool}.py", run_name="__main__")
    except SystemExit as done:
        assert done.code == 0, (tool, done.code)
print("DONE")
"""


QUIETENING = ("NO_ALBUMENTATIONS_UPDATE", "CI")
"""Variables with which libraries ask nobody: albumentations, OpenVINO."""


def run_tools(program: str, *commands: list[object]) -> "subprocess.CompletedProcess[str]":
    """Run tools one after the other in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if k not in QUIETENING}
    words = json.dumps([[str(word) for word in command] for command in commands])
    return subprocess.run(
        [sys.executable, "-c", program + TOOLS, words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_audit_hook_sees_sockets():
    """Otherwise the tests below would prove nothing."""
    program = NO_SOCKETS + "import socket; socket.create_connection(('192.0.2.1', 9))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "no network in this test" in done.stderr


def test_the_whole_way(tiny_cfg: Path, tiny_data: Path, tmp_path: Path):
    """From training to exported files' boxes.

    albumentations would ask for its newest version, OpenVINO would report its use.
    """
    best = tmp_path / "run" / "best.safetensors"
    images = tiny_data.parent / "images" / "val"
    blur = '[{"name": "Blur", "p": 0.5}]'
    done = run_tools(
        NO_SOCKETS,
        [
            *("train", "--cfg", tiny_cfg, "--data", tiny_data, "--albumentations", blur),
            *("--project", tmp_path, "--name", "run", "--epochs", 1, "--batch", 4),
        ],
        ["val", "--weights", best, "--data", tiny_data],
        ["export", "--weights", best],
        ["export", "--weights", best, "--format", "openvino"],
        ["detect", "--weights", best.with_suffix(".onnx"), "--source", images]
        + ["--output", tmp_path / "out"],
        ["val", "--weights", best.with_suffix(".xml"), "--data", tiny_data],
        ["info", "--cfg", tiny_cfg],
    )
    assert done.stdout.endswith("DONE\n"), done.stderr
    assert done.returncode == 0
    assert "ASKED" not in done.stderr
    assert len(list((tmp_path / "out").iterdir())) == 8


def test_in_this_process(
    tiny_cfg: Path, tiny_data: Path, tmp_path: Path, no_network: list[str]
) -> None:
    """The same with the functions that libraries call refused one by one."""
    run = tmp_path / "run"
    images = tiny_data.parent / "images" / "val"
    for tool, words in (
        (
            "train",
            ["--cfg", tiny_cfg, "--data", tiny_data, "--epochs", 1, "--project", tmp_path]
            + ["--name", "run", "--workers", 1],
        ),
        ("val", ["--weights", run / "best.safetensors", "--data", tiny_data]),
        ("export", ["--weights", run / "best.safetensors", "--format", "pt2"]),
        (
            "detect",
            ["--weights", run / "best.pt2", "--source", images, "--output", tmp_path / "out"],
        ),
    ):
        assert run_tool(tool, [str(word) for word in words]) == 0
    assert no_network == []


@pytest.mark.parametrize("exported", ["finder_onnx", "finder_openvino"])
def test_detect_without_torch(
    exported: str, finder_images: Path, tmp_path: Path, request: pytest.FixtureRequest
):
    """The whole command on a file where torch cannot be imported and no socket be made."""
    metrics = tmp_path / "metrics.json"
    done = run_tools(
        NO_SOCKETS + NO_TORCH,
        ["detect", "--weights", request.getfixturevalue(exported), "--source", finder_images]
        + ["--output", tmp_path / "out", "--txt", "--jsonl", "--classes", "red,green"]
        + ["--save-labels", "coco"]
        + ["--json", metrics],
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("5 images: 3 red, 2 green\n")
    assert json.loads(metrics.read_text())["counts"] == {"red": 3, "green": 2}
    out = tmp_path / "out"
    assert len(list(out.glob("*.png"))) == len(list((out / "labels").glob("*.txt"))) == 5
    assert len((out / "detections.jsonl").read_text().splitlines()) == 5
    assert len(json.loads((out / "coco/annotations.json").read_text())["annotations"]) == 5


def test_checks_without_torch(tmp_path: Path):
    """It says that torch is absent and what that means, and opens no socket to find out more."""
    file = tmp_path / "checks.json"
    done = run_tools(NO_SOCKETS + NO_TORCH, ["checks", "--json", file])
    assert (done.returncode, done.stderr) == (0, "")
    assert "\nbase                 complete: numpy " in done.stdout
    assert "\nextra train          missing torch: " in done.stdout
    assert (
        "\ntorch is not installed: detect runs .onnx and .xml files; train and val need "
        "the extra train, export needs the extra export: pip install 'repdet[export]'\n"
    ) in done.stdout
    found = json.loads(file.read_text())
    assert (found["torch"], found["devices"]) == (None, [])
    assert {name: extra["complete"] for name, extra in found["extras"].items()} == {
        "base": True,
        "runtime": True,
        "train": False,
        "export": False,
        "int8": False,
        "serve": True,
        "track": True,
        "timm": False,
        "faster": False,
        "tune": False,
        "wandb": False,
        "mlflow": False,
    }


def test_checks_with_torch():
    done = run_tools(NO_SOCKETS, ["checks"])
    assert "ASKED" not in done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("weights", ["finder", "finder_pt2"])
def test_other_files_say_what_they_need(
    weights: str, finder_images: Path, request: pytest.FixtureRequest
):
    file = request.getfixturevalue(weights)
    program = NO_TORCH.replace("for name", "import sys\nfor name", 1) + TOOLS
    words = json.dumps([["detect", "--weights", str(file), "--source", str(finder_images)]])
    done = subprocess.run(
        [sys.executable, "-c", program, words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.startswith("error: torch is not installed; run: pip install ")


def test_the_package_costs_nothing():
    """``import detector`` and ``--help`` import neither torch nor numpy's users beside it."""
    program = (
        "import sys, detector\n"
        "assert not {'torch', 'numpy', 'cv2', 'pydantic'} & set(sys.modules), sys.modules\n"
        "from detector.cli import main\n"
        "main(['--help'])\n"
        "assert not {'torch', 'cv2', 'onnxruntime', 'tqdm'} & set(sys.modules), sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
