"""The notebooks: what their cells name, and each run by Jupyter's own client on tiny images.

Run them with ``python -m pytest -m slow -n 0 tests/examples/test_notebooks.py``.
"""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import detector

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
SECONDS = 300
"""Longest time of a cell."""
NO_WIDGETS = "ignore:IProgress not found"
"""A library of progress bars says so where ipywidgets is absent; nothing here draws such bars."""


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def code_cells(path: Path) -> list[dict[str, Any]]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def unknown_names(code: str) -> list[str]:
    """Return the attributes of ``detector`` that the code reads and the package lacks."""
    return [
        node.attr
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "detector"
        and not hasattr(detector, node.attr)
    ]


@each_notebook
def test_outputs_are_not_committed(path: Path):
    code = code_cells(path)
    assert code
    assert [cell["outputs"] for cell in code] == [[]] * len(code)
    assert {cell["execution_count"] for cell in code} == {None}


@each_notebook
def test_the_package_has_what_the_cells_name(path: Path):
    for number, cell in enumerate(code_cells(path), 1):
        source = "".join(cell["source"])
        compile(source, f"{path.name}, code cell {number}", "exec")
        assert unknown_names(source) == []


def test_a_name_that_the_package_lacks_is_found():
    assert unknown_names("detector.train(); detector.trian(detector.lod)") == ["trian", "lod"]
    assert unknown_names("") == []


@pytest.fixture
def execute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a notebook in a folder of its own with other parameters; return what it printed."""
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient (requirements-dev.txt)")
    pytest.importorskip("ipykernel", reason="needs ipykernel (requirements-dev.txt)")
    import nbformat
    from jupyter_client.manager import AsyncKernelManager

    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    monkeypatch.setenv("PYTHONWARNINGS", NO_WIDGETS)

    def execute(name: str, **parameters: Any) -> str:
        notebook = nbformat.read(EXAMPLES / name, as_version=4)
        (place,) = (
            number
            for number, cell in enumerate(notebook.cells)
            if "parameters" in cell.metadata.get("tags", [])
        )
        code = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
        notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(code))
        kernel = AsyncKernelManager(transport="ipc", ip=str(tmp_path / "kernel"))  # no port
        where = {"metadata": {"path": str(tmp_path)}}
        nbclient.NotebookClient(notebook, kernel, timeout=SECONDS, resources=where).execute()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        assert [one.text for one in outputs if one.get("name") == "stderr"] == []
        return "".join(one.text for one in outputs if one.get("name") == "stdout")

    return execute


@pytest.mark.slow
def test_train_and_mistakes(
    execute: Callable[..., str], shared: Path, tiny_data: Path, tmp_path: Path
):
    weights = shutil.copy(shared / "weights" / "yolox_nano_coco.pth", tmp_path / "yolox_nano.pth")
    settings = {"imgsz": 64, "epochs": 1, "device": "cpu", "workers": 0}
    printed = execute(
        "train_and_mistakes.ipynb", data=str(tiny_data), weights=str(weights), settings=settings
    )
    assert "best.safetensors" in printed
    assert "gain" in printed
    assert (tmp_path / "runs" / "analyse" / "analysis.html").is_file()


@pytest.mark.slow
def test_export_int8_serve(
    execute: Callable[..., str],
    finder: Path,
    finder_data: Path,
    finder_images: Path,
    tmp_path: Path,
):
    pytest.importorskip("nncf", reason="needs the extra int8")
    pytest.importorskip("fastapi", reason="needs the extra serve")
    weights = shutil.copy(finder, tmp_path / "best.safetensors")
    printed = execute(
        "export_int8_serve.ipynb",
        weights=str(weights),
        data=str(finder_data),
        image=str(finder_images / "c.png"),
    )
    assert "largest difference in float64" in printed
    assert printed.count(" ms an image") == 3
    assert printed.endswith("]]\n")
    assert (tmp_path / "int8.xml").is_file()


def test_the_readme_names_every_example():
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    files = [path.relative_to(EXAMPLES) for path in EXAMPLES.rglob("*") if path.is_file()]
    missing = {str(file) for file in files if f"({file})" not in text and "pyc" not in file.suffix}
    assert missing == {"README.md", "docker/Dockerfile.dockerignore"}
