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


@pytest.mark.skipif(sys.platform != "linux", reason="strace runs on Linux only")
@pytest.mark.parametrize("idle_seconds", [15, pytest.param(60, marks=pytest.mark.slow)])
def test_no_socket_and_no_file_elsewhere(
    idle_seconds: int,
    finder: Path,
    finder_onnx: Path,
    finder_openvino: Path,
    finder_data: Path,
    finder_images: Path,
    tmp_path: Path,
) -> None:
    """ONNX Runtime 1.32 would ask for a host 9 s after its import and write into the home folder.

    The variables with which users silence libraries are removed.
    """
    work, home, temporary = (tmp_path / name for name in ("work", "home", "temporary"))
    for folder in (work, home, temporary):
        folder.mkdir()
    images = ["--source", str(finder_images)]
    commands = [
        ["detect", "--weights", str(finder_onnx), *images, "--output", "onnx", "--txt"],
        ["detect", "--weights", str(finder_openvino), *images, "--output", "openvino", "--jsonl"],
        ["val", "--weights", str(finder), "--data", str(finder_data)],
        ["export", "--weights", str(finder), "--output", "exported"],
    ]
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
    assert (work / "exported.onnx").is_file()
    assert sockets(log) == []
    allowed = (work, temporary, Path("/dev"), Path("/proc"))
    elsewhere = {
        path
        for path in created(log, work)
        if not any(path.is_relative_to(folder) for folder in allowed)
    }
    assert elsewhere == set()
    assert list(home.iterdir()) == []
