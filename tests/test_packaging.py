"""What is installed, what importing it costs, and what travels in the wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import detector
from detector.cli.flags import flag_of
from detector.cli.tools import TOOLS
from detector.settings.heads import HEAD_SETTINGS
from detector.settings.train import settings_of_heads

ROOT = Path(__file__).resolve().parent.parent

PUBLIC_NAMES = {
    "DataReport": "detector.data.checks.finding",
    "check": "detector.api",
    "Detections": "detector.structures.detections",
    "DetectorError": "detector.utils.errors",
    "ModelInfo": "detector.api",
    "Predictor": "detector.predict",
    "build": "detector.model.detector",
    "deploy": "detector.model.deploy",
    "Callback": "detector.engine.callbacks",
    "NmsSettings": "detector.settings.nms",
    "load": "detector.weights.checkpoint",
    "register": "detector.registry",
    "register_task": "detector.engine.tasks",
    "TrainingResult": "detector.engine.training",
    "train": "detector.api",
    "validate": "detector.api",
    "convert": "detector.api",
    "analyse": "detector.api",
    "compare": "detector.api",
    "cross_validate": "detector.api",
    "features": "detector.weights.features",
    "save": "detector.api",
    "list_models": "detector.api",
}


def run_python(code: str, *, path: Path | None = ROOT, cwd: Path | None = None) -> str:
    """Run code in a new interpreter that finds ``path`` first; return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def heavy_modules_after(statement: str) -> str:
    """Which of the large libraries a statement imports, in a new interpreter."""
    return run_python(
        f"import sys\n{statement}\n"
        "heavy = {'numpy', 'torch', 'torchvision', 'accelerate', 'cv2', 'pydantic', 'yaml'}\n"
        "print(*sorted(heavy & set(sys.modules)))"
    )


def test_import_detector_costs_nothing() -> None:
    assert heavy_modules_after("import detector") == ""


@pytest.mark.parametrize("name", ["Detections", "DetectorError", "NmsSettings", "Predictor"])
def test_torch_free_names_do_not_import_torch(name: str) -> None:
    heavy = heavy_modules_after(f"from detector import {name}")
    assert not {"torch", "torchvision", "accelerate"} & set(heavy.split())


def test_what_detects_with_an_exported_file_imports_without_torch() -> None:
    imported = run_python(
        "import importlib, pkgutil, sys\n"
        "for absent in ('torch', 'torchvision', 'accelerate', 'albumentations', 'pycocotools'):\n"
        "    sys.modules[absent] = None\n"
        "import detector.runtime, detector.settings\n"
        "values = ['classification', 'detections', 'images', 'preprocess']\n"
        "tools = 'drawing errors files image_header keywords opencv system yaml_file'.split()\n"
        "names = [f'detector.structures.{name}' for name in values]\n"
        "names += [f'detector.utils.{name}' for name in tools]\n"
        "for room in (detector.runtime, detector.settings):\n"
        "    walk = pkgutil.walk_packages(room.__path__, room.__name__ + '.')\n"
        "    names += [module.name for module in walk]\n"
        "for name in [*names, 'detector.predict', 'detector.cli']:\n"
        "    importlib.import_module(name)\n"
        "print(len(names))"
    )
    assert int(imported) >= 25  # eleven, and at least 14 files of runtime/


def test_public_names() -> None:
    assert set(detector.__all__) == {*PUBLIC_NAMES, "export"}
    assert callable(detector.export)  # the room of that name
    assert set(PUBLIC_NAMES) <= set(dir(detector))
    for name, home in PUBLIC_NAMES.items():
        assert getattr(detector, name).__module__ == home, name


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'detector' has no attribute 'biuld'"):
        detector.biuld  # noqa: B018


def test_console_script_and_version() -> None:
    distribution = metadata.distribution("repdet")
    assert distribution.version == detector.__version__
    (script,) = distribution.entry_points.select(group="console_scripts", name="detector")
    assert script.value == "detector.cli:main"


# --------------------------------------------------------------------------------- requirements


def requirements(file: str) -> dict[str, Requirement]:
    """The named requirements of a requirements file, by normalised name."""
    lines = (line.split("#")[0].strip() for line in (ROOT / file).read_text().splitlines())
    found = [Requirement(line) for line in lines if line and not line.startswith("-")]
    return {normalised(requirement.name): requirement for requirement in found}


def declared(extra: str = "") -> dict[str, Requirement]:
    """The distribution's requirements, with those of one extra."""
    found = [Requirement(line) for line in metadata.requires("repdet") or []]
    return {
        normalised(requirement.name): requirement
        for requirement in found
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra})
    }


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_base_dependencies_are_torch_free() -> None:
    assert not {"torch", "torchvision", "accelerate", "albumentations", "timm"} & set(declared())
    assert "opencv-python" not in declared(), "the headless build needs no libGL"
    assert set(declared("runtime")) - set(declared()) == {"onnxruntime", "openvino"}


def test_both_opencv_builds_have_one_version() -> None:
    pins = requirements("requirements.txt")
    assert str(pins["opencv-python"].specifier).startswith("==")
    assert pins["opencv-python"].specifier == pins["opencv-python-headless"].specifier
    assert metadata.version("opencv-python") == metadata.version("opencv-python-headless")


def test_requirements_files_agree_with_the_distribution() -> None:
    """What stands in both places has one range; OpenCV's exact version lies in the range."""
    ours = {**declared("train"), **declared("export")}
    for name, requirement in requirements("requirements.txt").items():
        if name == "opencv-python":
            continue
        if name == "opencv-python-headless":
            (pin,) = requirement.specifier
            assert pin.version in ours[name].specifier
            continue
        assert requirement.specifier == ours[name].specifier, name


def test_no_dependency_is_unbounded() -> None:
    files = requirements("requirements.txt") | requirements("requirements-dev.txt")
    stubs = re.compile(r"^types-|-stubs$")
    extras = ("export", "train", "int8", "serve", "wandb", "mlflow", "tune", "faster")
    ours = {name: found for extra in extras for name, found in declared(extra).items()}
    for name, requirement in {**ours, **files}.items():
        if requirement.extras or stubs.search(name):
            continue
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators in ({"=="}, {">=", "<"}), str(requirement)


# ---------------------------------------------------------------------- files beside the package


def test_versions_agree() -> None:
    """It is that of detector/__init__.py; the newest of the changelog may have none yet."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == detector.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.findall(r"^## \[(.*)\]", changelog, re.M)[0]
    assert newest in ("Unreleased", detector.__version__)


def test_flags_of_the_changelog_exist() -> None:
    """Commands of the lines since the last release are those of the tools."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.findall(r"`(?:detector )?([a-z]+)(?: (--[a-z-]+))?[^`]*`", changelog)
    pairs = [(tool, flag) for tool, flag in found if tool in TOOLS]
    assert len(pairs) > 10
    for tool, flag in pairs:
        kind = settings_of_heads(HEAD_SETTINGS) if tool == "train" else TOOLS[tool].settings
        assert not flag or flag in {flag_of(kind, name) for name in kind.model_fields}, (tool, flag)


@pytest.mark.parametrize("file", ["bug", "request", "weights"])
def test_issue_templates(file: str) -> None:
    """GitHub's form: a name, a description, and fields with ids of their own."""
    path = ROOT / ".github" / "ISSUE_TEMPLATE" / f"{file}.yml"
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert form.keys() == {"name", "description", "body"}
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids))
    assert {field["type"] for field in form["body"]} <= {"input", "textarea"}
    assert all(field["attributes"]["label"] for field in form["body"])


# ---------------------------------------------------------------------------------------- wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    pytest.importorskip("hatchling", reason="needs hatchling (requirements-dev.txt)")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*command, "--quiet", "--wheel-dir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
        text=True,
    )
    (file,) = folder.glob("*.whl")
    return file


def files_under(folder: str, suffix: str) -> set[str]:
    return {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / folder).rglob(f"*{suffix}")
        if "__pycache__" not in file.parts
    }


def test_wheel_holds_the_package_and_its_yaml_files(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    yaml_files = files_under("cfg", ".yaml") | files_under("datasets", ".yaml")
    assert {f"detector/{name}" for name in yaml_files} <= names
    assert files_under("detector", ".py") | {"detector/py.typed"} <= names
    assert "detector/report/page.html" in names
    page = {f"detector/serve/page/page.{suffix}" for suffix in ("html", "js", "css")}
    assert page <= names
    assert "cfg/yolov5_repvgg.yaml" in yaml_files
    assert "datasets/shapes.yaml" in yaml_files


def test_wheel_holds_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"detector", f"repdet-{detector.__version__}.dist-info"}
    for name in ("LICENSE", "NOTICE"):
        assert f"repdet-{detector.__version__}.dist-info/licenses/{name}" in names


def test_installed_package_finds_its_own_yaml_files(wheel: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    zipfile.ZipFile(wheel).extractall(site)
    found = run_python(
        "from detector.utils.files import find_file\n"
        "print(find_file('yolov5_repvgg.yaml', 'cfg'), find_file('shapes', 'datasets'), sep='\\n')",
        path=site,
        cwd=elsewhere,
    )
    assert found.splitlines() == [
        str(site / "detector" / "cfg" / "yolov5_repvgg.yaml"),
        str(site / "detector" / "datasets" / "shapes.yaml"),
    ]


def test_editable_install_finds_the_checkouts_yaml_files(tmp_path: Path) -> None:
    found = run_python(
        "from detector.utils.files import find_file; print(find_file('shapes', 'datasets'))",
        path=None,
        cwd=tmp_path,
    )
    assert found == str(ROOT / "datasets" / "shapes.yaml")
    assert not (ROOT / "detector" / "cfg").exists(), "a copy would hide the checkout's files"
