"""Facts about the machine, from Linux's files and on systems that report less."""

import os
import platform
from pathlib import Path

import pytest

from detector.utils import machine
from detector.utils.machine import Folder, cpu_info, cpu_name, folder, instructions, memory

XEON = """\
processor\t: 0
model name\t: Intel(R) Xeon(R) Processor
flags\t\t: fpu avx2 avx512f avx512_vnni amx_bf16 amx_tile amx_int8

processor\t: 1
model name\t: another
"""
GRAVITON = """\
processor\t: 0
BogoMIPS\t: 2100.00
Features\t: fp asimd asimdhp asimddp sve i8mm bf16
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "info"
    path.write_text(text)
    return path


def test_cpu_info(tmp_path: Path):
    assert cpu_info(tmp_path / "nothing") == {}
    assert cpu_info(written(tmp_path, "")) == {}
    info = cpu_info(written(tmp_path, XEON))
    assert info["processor"] == "0"
    assert cpu_name(info) == "Intel(R) Xeon(R) Processor"


def test_cpu_name_where_linux_has_none(monkeypatch):
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert cpu_name({}) == "arm"
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert cpu_name({}) is None


def test_instructions(tmp_path: Path):
    assert instructions({}) is None
    assert instructions({}, {}) is None
    assert instructions({"flags": "fpu"}) == []
    x86, arm = (cpu_info(written(tmp_path, text)) for text in (XEON, GRAVITON))
    assert instructions(x86) == ["AVX2", "AVX-512", "AVX-512 VNNI", "AMX int8", "AMX bf16"]
    assert instructions(arm) == [
        *("NEON", "NEON fp16", "NEON dot product", "SVE", "int8 matrices", "bf16"),
    ]


def test_instructions_that_torch_knows():
    """They are asked for where Linux's file is not there; torch spells some names otherwise."""
    capabilities = {"avx2": True, "avx512_f": True, "amx_int8": False, "num_sockets": 1}
    assert instructions({}, capabilities) == ["AVX2", "AVX-512"]
    assert instructions({"flags": "amx_int8"}, capabilities) == ["AMX int8"]


def test_memory(tmp_path: Path, monkeypatch):
    text = "MemTotal:       1000 kB\nMemFree:    9 kB\nMemAvailable:   400 kB\n"
    monkeypatch.setattr(machine, "MEMORY_INFO", written(tmp_path, text))
    assert memory() == (1_024_000, 409_600)
    monkeypatch.setattr(machine, "MEMORY_INFO", written(tmp_path, "MemTotal: 1000 kB\n"))
    assert memory() == (1_024_000, None)


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="a system that does not say")
def test_memory_elsewhere(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(machine, "MEMORY_INFO", tmp_path / "nothing")
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 3, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert memory() == (12_288, None)


def test_folders(tmp_path: Path, monkeypatch):
    found = folder(tmp_path)
    assert (found.path, found.issue) == (tmp_path, None)
    assert found.free_bytes is not None and found.free_bytes > 0
    below = folder(tmp_path / "a" / "b")
    assert (below.path, below.issue) == (tmp_path / "a" / "b", None)
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"
    monkeypatch.chdir(tmp_path)
    assert folder("runs").path == tmp_path / "runs"


def test_temporary_folder(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(machine.tempfile, "gettempdir", lambda: str(tmp_path))
    assert machine.temporary_folder() == tmp_path

    def refuse() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(machine.tempfile, "gettempdir", refuse)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    assert machine.temporary_folder() == tmp_path / "gone"


def test_folders_that_cannot_be_written(tmp_path: Path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    assert folder(file) == Folder(file, None, f"{file} is not a folder")
    assert folder(file / "below") == Folder(file / "below", None, f"{file} is not a folder")

    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(machine.tempfile, "TemporaryFile", refuse)
    assert folder(tmp_path).issue == "Read-only file system"
