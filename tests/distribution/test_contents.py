"""What travels in the wheel and in the source distribution, and that an index would take both."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path, PurePosixPath

import pytest

import detector
from detector.utils.requirements import BASE, libraries
from tests.distribution.smoke import SMOKE

ROOT = Path(__file__).resolve().parents[2]
NAME = f"repdet-{detector.__version__}"
INFO = f"{NAME}.dist-info"

MOST_BYTES_IN_WHEEL = 100_000
"""Size of a file; the package is text."""
MOST_BYTES_IN_SDIST = 250_000
"""Size of a file; the largest are pictures of the documentation."""

TEXT = {".py", ".json", ".txt"}
"""Suffixes of tests and of the small tables that they compare with: neither images nor weights."""


def test_every_extra_has_a_smoke_test() -> None:
    """Those that ``-m installs`` runs in environments of their own."""
    assert {use.__name__ for use in SMOKE} == libraries("repdet").keys()


def wheel_sizes(wheel: Path) -> dict[str, int]:
    """Return the size of each file by its path."""
    return {entry.filename: entry.file_size for entry in zipfile.ZipFile(wheel).infolist()}


def sdist_sizes(sdist: Path) -> dict[str, int]:
    """Return the size of each file by its path below the distribution's only folder."""
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    assert all(member.isfile() and member.name.startswith(f"{NAME}/") for member in members)
    return {member.name.removeprefix(f"{NAME}/"): member.size for member in members}


def files_under(folder: str, suffix: str) -> set[str]:
    """Return paths of the checkout's files."""
    return {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / folder).rglob(f"*{suffix}")
        if "__pycache__" not in file.parts
    }


def run_in(site: Path, code: str, cwd: Path) -> str:
    """Run code in a new interpreter that finds a folder's packages first; return its output."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(site)},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


# ---------------------------------------------------------------------------------------- wheel


def test_wheel_holds_the_package_and_its_files(wheel: Path) -> None:
    names = wheel_sizes(wheel).keys()
    yaml_files = files_under("cfg", ".yaml") | files_under("datasets", ".yaml")
    assert {f"detector/{name}" for name in yaml_files} <= names
    assert files_under("detector", ".py") | {"detector/py.typed"} <= names
    page = {f"detector/serve/page/page.{suffix}" for suffix in ("html", "js", "css")}
    assert page | {"detector/report/page.html"} <= names
    assert {"cfg/yolov5_repvgg.yaml", "datasets/shapes.yaml"} <= yaml_files


def test_wheel_holds_nothing_else(wheel: Path) -> None:
    sizes = wheel_sizes(wheel)
    assert {name.split("/")[0] for name in sizes} == {"detector", INFO}
    assert {f"{INFO}/licenses/{name}" for name in ("LICENSE", "NOTICE")} <= sizes.keys()
    suffixes = {PurePosixPath(name).suffix for name in sizes if not name.startswith(INFO)}
    assert suffixes == {".py", ".yaml", ".typed", ".html", ".js", ".css"}
    assert {name: size for name, size in sizes.items() if size > MOST_BYTES_IN_WHEEL} == {}


def test_installed_package_finds_its_own_yaml_files(wheel: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "from detector.utils.files import find_file\n"
        "print(find_file('yolov5_repvgg.yaml', 'cfg'), find_file('shapes', 'datasets'), sep='\\n')"
    )
    assert run_in(site, code, elsewhere).splitlines() == [
        str(site / "detector" / "cfg" / "yolov5_repvgg.yaml"),
        str(site / "detector" / "datasets" / "shapes.yaml"),
    ]


# --------------------------------------------------------------------------- source distribution


def test_source_distribution_holds_what_a_developer_needs(sdist: Path) -> None:
    names = sdist_sizes(sdist).keys()
    assert {"LICENSE", "NOTICE", "README.md", "CHANGELOG.md", "pyproject.toml"} <= names
    assert {"requirements.txt", "requirements-dev.txt", "PKG-INFO", "detector/py.typed"} <= names
    for folder in ("cfg", "datasets", "detector", "docs", "examples", "tests", "tools"):
        wanted = files_under(folder, ".py") | files_under(folder, ".yaml")
        assert wanted
        assert wanted <= names, folder


def test_source_distribution_holds_no_data(sdist: Path) -> None:
    sizes = sdist_sizes(sdist)
    tests = {name for name in sizes if name.startswith("tests/")}
    assert {PurePosixPath(name).suffix for name in tests} <= TEXT
    assert {name: size for name, size in sizes.items() if size > MOST_BYTES_IN_SDIST} == {}


def test_source_distribution_holds_only_what_git_would_keep(sdist: Path) -> None:
    """No results of runs, caches, or files of an editor."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a checkout of git")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert sdist_sizes(sdist).keys() - set(done.stdout.splitlines()) == {"PKG-INFO"}


# ------------------------------------------------------------------------------------------ both


def descriptions(wheel: Path, sdist: Path) -> list[Message]:
    """Return the metadata of both."""
    with tarfile.open(sdist) as archive:
        member = archive.extractfile(f"{NAME}/PKG-INFO")
        assert member is not None
        text = member.read()
    return [
        message_from_bytes(zipfile.ZipFile(wheel).read(f"{INFO}/METADATA")),
        message_from_bytes(text),
    ]


def test_both_say_the_same_of_themselves(wheel: Path, sdist: Path) -> None:
    """The version is that of ``detector/__init__.py``, which names it for all others."""
    ours, theirs = descriptions(wheel, sdist)
    assert ours.items() == theirs.items()
    assert (ours["Name"], ours["Version"]) == ("repdet", detector.__version__)
    assert ours["License-Expression"] == "Apache-2.0"
    assert ours.get_all("License-File") == ["LICENSE", "NOTICE"]
    assert ours["Description-Content-Type"] == "text/markdown"
    assert set(ours.get_all("Provides-Extra") or []) == libraries("repdet").keys() - {BASE}


def test_version_stands_in_one_place() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'dynamic = ["version"]' in project
    assert not re.search(r"^version\s*=", project, re.M)
    named = [
        file
        for file in files_under("detector", ".py")
        if f'"{detector.__version__}"' in (ROOT / file).read_text(encoding="utf-8")
    ]
    assert named == ["detector/__init__.py"]


def test_an_index_would_take_both(wheel: Path, sdist: Path) -> None:
    pytest.importorskip("twine", reason="needs twine (requirements-dev.txt)")
    command = [
        sys.executable,
        "-m",
        "twine",
        "--no-color",
        "check",
        "--strict",
        str(wheel),
        str(sdist),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2
