"""``checks``: its table, what it says of what is missing, and its JSON."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import detector
from detector.cli import checks as module
from detector.cli import main
from detector.cli.checks import Device, Torch, ask_torch
from detector.utils import machine
from detector.utils.requirements import Library

EXTRAS = {
    "base": [Library("numpy", ">=2.0,<3", "2.4.0"), Library("tqdm", "", "4.70")],
    "export": [
        Library("onnxruntime", ">=1", "1.30"),
        Library("torch", "<3,>=2.10", "x"),
        Library("onnx", "", "1.20"),
    ],
    "train": [Library("torch", "<3,>=2.10", "x"), Library("scipy", "", None)],
    "runtime": [Library("onnxruntime", ">=1", "1.30")],
}
TORCH = Torch("2.14.1+cpu", (Device("cuda:0", "NVIDIA H200", 3 * 2**29),), {"avx2": True})


@pytest.fixture
def rows(monkeypatch, tmp_path, capsys) -> Callable[..., dict[str, str]]:
    """Rows of the table on a machine that says little, and what follows it as ``note``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, "cpu_info", dict)
    monkeypatch.setattr(machine, "cpu_name", lambda _: None)
    monkeypatch.setattr(machine, "memory", lambda: (2**31, None))
    monkeypatch.setattr(module, "libraries", lambda _: EXTRAS)

    def run(torch: Torch, *words: str) -> dict[str, str]:
        monkeypatch.setattr(module, "ask_torch", lambda: torch)
        assert main(["checks", *words]) == 0
        *lines, note = capsys.readouterr().out.splitlines()
        lines += [] if note.startswith("torch ") else [note]
        found = {line[:21].rstrip(): line[21:] for line in lines}
        return found | ({"note": note} if note.startswith("torch ") else {})

    return run


def test_rows(rows, tmp_path: Path):
    found = rows(TORCH)
    assert found["detector"] == f"{detector.__version__}, distribution repdet"
    assert found["Python"].endswith(f", {sys.executable}")
    assert found["CPU"] == "–"
    assert found["memory"] == "2.0 GiB, – available"
    assert found["matrix instructions"] == "AVX2"
    assert found["devices"] == "cpu, cuda:0 NVIDIA H200 1.5 GiB"
    assert found["runs"].startswith(f"{tmp_path / 'runs'}, writable, ")
    assert found["cache"].startswith(f"{tmp_path / 'runs' / 'cache'}, writable, ")
    assert "note" not in found
    assert not (tmp_path / "runs").exists()


def test_libraries(rows):
    """Each version once, in the smallest extra that has it."""
    found = rows(TORCH)
    assert {name: text for name, text in found.items() if name.split()[0] in ("base", "extra")} == {
        "base": "complete: numpy 2.4.0, tqdm 4.70",
        "extra runtime": "complete: onnxruntime 1.30",
        "extra train": "missing scipy: torch 2.14.1+cpu",
        "extra export": "complete: onnx 1.20",
    }
    assert list(found).index("extra runtime") < list(found).index("extra train")


def test_a_library_that_is_too_old(rows):
    old = Torch("2.9.0", cpu_capabilities={"fpu": True})
    found = rows(old)
    assert found["extra train"] == "missing torch 2.9.0 (<3,>=2.10), scipy"
    assert found["matrix instructions"] == "none"
    assert found["devices"] == "cpu"


def test_without_torch(rows):
    found = rows(Torch())
    assert found["matrix instructions"] == "–"
    assert found["extra train"] == "missing torch, scipy"
    assert found["extra export"] == "missing torch: onnx 1.20"
    assert found["note"] == (
        "torch is not installed: detect runs .onnx and .xml files; train and val need "
        "the extra train, export needs the extra export: pip install 'repdet[export]'"
    )


def test_a_torch_that_does_not_load(rows):
    found = rows(Torch(issue="libcudart.so.13: cannot open shared object file"))
    assert found["note"].startswith(
        "torch cannot be imported (libcudart.so.13: cannot open shared object file): detect runs "
    )


def test_a_checkout_that_is_not_installed(rows, monkeypatch):
    monkeypatch.setattr(module, "libraries", lambda _: {})
    assert rows(TORCH)["libraries"] == "–, repdet is not installed by pip"


def test_json(rows, tmp_path: Path):
    rows(TORCH, "--json", "checks.json")
    found = json.loads((tmp_path / "checks.json").read_text())
    assert found["detector"] == detector.__version__
    assert (found["cpu"], found["memory_bytes"], found["available_bytes"]) == (None, 2**31, None)
    assert found["devices"] == [
        {"name": "cuda:0", "model": "NVIDIA H200", "memory_bytes": 3 * 2**29}
    ]
    assert found["extras"]["train"] == {
        "complete": False,
        "versions": {"torch": "2.14.1+cpu", "scipy": None},
    }
    assert found["folders"]["runs"]["path"] == str(tmp_path / "runs")
    assert found["folders"]["runs"]["writable"] is True


def test_a_base_that_does_not_work(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "detector.utils.opencv", None)
    assert main(["checks"]) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith("detector ")
    assert printed.err.startswith("error: the base cannot be imported: ")
    assert printed.err.count("\n") == 1


def test_devices_of_torch(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", ["first", "second"].__getitem__)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda number: SimpleNamespace(total_memory=number + 5)
    )
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 7)
    assert ask_torch().devices == (
        Device("cuda:0", "first", 5),
        Device("cuda:1", "second", 6),
        Device("mps", "Apple GPU", 7),
    )
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)  # torch 2.10
    assert ask_torch().cpu_capabilities is None


def test_torch_is_asked(monkeypatch):
    torch = pytest.importorskip("torch")
    found = ask_torch()
    assert found.version == torch.__version__
    assert len([device for device in found.devices if device.name != "mps"]) == (
        torch.cuda.device_count()
    )
    monkeypatch.setitem(sys.modules, "torch", None)
    assert ask_torch() == Torch()
