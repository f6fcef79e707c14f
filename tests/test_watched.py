"""The tools as the operating system sees them: no internet socket, and no file in other places.

Native libraries open sockets and files past Python's audit hooks, some of them seconds after their
import; ``strace`` sees all system calls.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

PROGRAM = """
import json, sys, time
from detector.cli import run_tool
commands, idle_seconds = json.loads(sys.argv[1])
for tool, *words in commands:
    assert run_tool(tool, words) == 0, tool
time.sleep(idle_seconds)
print("DONE")
"""

CALLS = "socket,connect,open,openat,creat,mkdir,mkdirat"

INTERNET = re.compile(r"socket\((AF_INET6?), |sa_family=(AF_INET6?),")
CREATED = re.compile(r'(?:open|openat|creat|mkdir|mkdirat)\((?:AT_FDCWD, )?"([^"]*)"(.*)')
"""A call by path: what follows the path holds the flags and the result."""


def strace(words: list[str], log: Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command under strace; skip the test where that is not possible."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    tracer = ["strace", "-f", "-qq", "-s", "4096", "-e", f"trace={CALLS}", "-o", str(log)]
    probe = subprocess.run([*tracer, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"strace cannot trace processes here: {probe.stderr.strip()}")
    return subprocess.run([*tracer, *words], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


def sockets(log: Path) -> list[str]:
    return [line for line in log.read_text(errors="replace").splitlines() if INTERNET.search(line)]


def created(log: Path, folder: Path) -> set[Path]:
    """The files and folders that were created, or opened to be; relative to ``folder``."""
    found = set()
    for line in log.read_text(errors="replace").splitlines():
        match = CREATED.search(line)
        if match is None or " = -1 " in match[2]:
            continue
        if "mkdir" in line or "creat(" in line or "O_CREAT" in match[2]:
            found.add(Path(os.path.normpath(folder / match[1])))
    return found


def test_what_strace_sees(tmp_path: Path) -> None:
    """Otherwise the test below would prove nothing."""
    program = (
        "import os, socket\n"
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "os.mkdir('folder')\n"
        "open('folder/file', 'w')\n"
        "open('/dev/null', 'w')\n"
    )
    log = tmp_path / "log"
    done = strace([sys.executable, "-c", program], log, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(sockets(log)) == 1
    assert created(log, tmp_path) == {
        tmp_path / "folder",
        tmp_path / "folder" / "file",
        Path("/dev/null"),
    }


Commands = dict[str, list[list[str]]]


@pytest.fixture
def commands(
    finder: Path,
    finder_onnx: Path,
    finder_openvino: Path,
    finder_data: Path,
    finder_images: Path,
    tiny_cfg: Path,
    tiny_data: Path,
) -> Commands:
    """The calls of each tool; together they read and write every format and start processes."""
    images = ["--source", str(finder_images)]
    data = ["--data", str(finder_data)]
    training = ["--data", str(tiny_data), "--cfg", str(tiny_cfg), "--batch", "4"]
    return {
        "train": [["train", *training, "--epochs", "1", "--workers", "1", "--cache", "disk"]],
        "tune": [
            ["tune", *training, "--space", "cfg/tune/finetune.yaml", "--trials", "2"]
            + ["--epochs", "1", "--workers", "0", "--log", "tensorboard"]
        ],
        "val": [["val", "--weights", str(weights), *data] for weights in (finder, finder_onnx)],
        "detect": [
            ["detect", "--weights", str(finder_onnx), *images, "--output", "onnx", "--txt"],
            ["detect", "--weights", str(finder_openvino), *images, "--output", "openvino"],
        ],
        "export": [
            ["export", "--weights", str(finder), "--output", "exported", "--format", form]
            for form in ("onnx", "openvino", "pt2")
        ],
        "int8": [
            ["export", "--weights", str(finder), "--output", "int8", "--format", form, *data]
            + ["--precision", "int8", "--calibrate", str(finder_data), "--max-drop", "1"]
            + ["--calibration-split", "val", "--calibration-images", "4"]
            for form in ("onnx", "openvino")
        ],
        "data": [
            ["check", "--data", str(tiny_data), "--html", "check.html", "--fix", "fixed"],
            ["convert", "--data", str(tiny_data), "--to", "coco", "--images", "copy", "converted"],
            ["analyse", "--weights", str(finder_onnx), *data, "--output", "analysed"],
            ["compare", str(finder), str(finder_onnx), *data],
        ],
        "benchmark": [
            ["benchmark", "train", *training, "--rounds", "1", "--workers", "1"],
            ["benchmark", "detect", "--weights", str(finder), *images, "--rounds", "1"],
        ],
    }


LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="strace runs on Linux only")


@LINUX_ONLY
def test_no_socket_and_no_file_elsewhere(commands: Commands, tmp_path: Path) -> None:
    """The quick half of the tools, in one process; the test below has all of them."""
    chosen = [*commands["detect"], commands["val"][0], commands["export"][0]]
    check_watched(chosen, 15, tmp_path)
    assert (tmp_path / "work" / "exported.onnx").is_file()


@LINUX_ONLY
@pytest.mark.slow
@pytest.mark.parametrize(
    "tool", ["train", "tune", "val", "detect", "export", "int8", "data", "benchmark"]
)
def test_idle_for_a_minute(tool: str, commands: Commands, tmp_path: Path) -> None:
    """Each tool in a process of its own, since libraries wait after their import."""
    if tool == "int8":
        pytest.importorskip("nncf")
    if tool == "tune":
        pytest.importorskip("optuna")
    check_watched(commands[tool], 60, tmp_path)


def check_watched(commands: list[list[str]], idle_seconds: int, tmp_path: Path) -> None:
    """Run commands and wait: no internet socket, and files in documented places only.

    ONNX Runtime 1.32 would ask for a host 9 s after its import and write into the home folder.
    The variables with which users silence libraries are removed.
    """
    work, home, temporary = (tmp_path / name for name in ("work", "home", "temporary"))
    for folder in (work, home, temporary):
        folder.mkdir()
    silencing = ("ORT_DISABLE_TELEMETRY", "CI", "NO_ALBUMENTATIONS_UPDATE")
    environment = {
        **{name: value for name, value in os.environ.items() if name not in silencing},
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment = {k: v for k, v in environment.items() if not k.startswith("XDG_")}
    log = tmp_path / "log"
    words = [sys.executable, "-c", PROGRAM, json.dumps([commands, idle_seconds])]
    done = strace(words, log, cwd=work, env=environment)
    assert done.stdout.endswith("DONE\n"), done.stderr
    assert sockets(log) == []
    allowed = (work, temporary, Path("/dev"), Path("/proc"))
    elsewhere = {
        path
        for path in created(log, work)
        if not any(path.is_relative_to(folder) for folder in allowed)
    }
    assert elsewhere == set()
    assert list(home.iterdir()) == []
    assert list(temporary.iterdir()) == []
