"""Fresh environments: each extra installs, with the newest and with the lowest versions, and works.

``python -m pytest -m installs -n 0 tests/distribution`` prints a table of all of them;
``-k "serve and lowest"`` chooses. Packages are downloaded, several GB where torch comes for CUDA.
uv keeps them in its cache and links them into the environments, each of which is removed after its
test. ``REPDET_TEST_PYTHON=3.13`` names another Python; uv's own variables (``UV_INDEX``,
``UV_CACHE_DIR``, …) say where packages come from and where they are kept.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from detector.utils.requirements import BASE, libraries
from tests.docs.pages import blocks, commands

pytestmark = pytest.mark.installs

ROOT = Path(__file__).resolve().parents[2]
SMOKE = Path(__file__).with_name("smoke.py")
PYTHON = os.environ.get("REPDET_TEST_PYTHON", sys.executable)

RESOLUTIONS = {"newest": "highest", "lowest": "lowest-direct"}
"""Their names for uv. The lowest versions are the bounds of pyproject.toml; what those packages
require in turn is newest, since the bounds of others are their promises."""

LISTED = libraries("repdet")
EVERYTHING = "everything"
EXTRAS = {extra: [extra] for extra in LISTED} | {EVERYTHING: sorted(LISTED)}
"""Extras that an environment has, by its name."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment with nothing in it.

    Attributes:
        folder: where it is.
        variables: what its programs see: neither this checkout nor this process's own environment.
    """

    folder: Path
    variables: dict[str, str]

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def run(self, *command: object, cwd: Path = ROOT) -> str:
        """Run a program and return its stdout; a failure shows the end of what it printed."""
        words = [str(word) for word in command]
        done = subprocess.run(
            words, cwd=cwd, env=self.variables, capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.fail(
                f"{' '.join(words)}\n{done.stdout[-4000:]}{done.stderr[-8000:]}", pytrace=False
            )
        return done.stdout

    def uv(self, *words: object) -> str:
        return self.run(sys.executable, "-m", "uv", *words)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    pytest.importorskip("uv", reason="needs uv (requirements-dev.txt)")
    folder = tmp_path / "environment"
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    made = Environment(folder, variables | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"})
    made.uv("venv", "--quiet", "--seed", "--python", PYTHON, folder)
    yield made
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def samples(
    finder: Path,
    finder_onnx: Path,
    finder_openvino: Path,
    finder_data: Path,
    tiny_cfg: Path,
    tiny_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder of networks and images, made with everything that is installed here."""
    folder = tmp_path_factory.mktemp("samples")
    for source in (finder_data.parent, finder.parent, finder_onnx.parent, finder_openvino.parent):
        shutil.copytree(source, folder, dirs_exist_ok=True)
    shutil.copy(tiny_cfg, folder / "tiny.yaml")
    shutil.copytree(tiny_data.parent, folder / "drawn")
    return folder


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("name", EXTRAS)
def test_extra(
    name: str,
    resolution: str,
    wheel: Path,
    samples: Path,
    environment: Environment,
    tmp_path: Path,
    rows: list[dict[str, str]],
) -> None:
    """The wheel with an extra, at versions chosen from pyproject.toml, passes its smoke test."""
    row = {"extra": name, "versions": resolution, "result": "failed", "installed": ""}
    rows.append(row)
    extras = [extra for extra in EXTRAS[name] if extra != BASE]
    pins = tmp_path / "pins.txt"
    flags = [word for extra in extras for word in ("--extra", extra)]
    flags += ["--resolution", RESOLUTIONS[resolution], "--python", environment.python]
    flags += ["--only-binary", ":all:"]  # the lowest version that needs no compiler
    environment.uv("pip", "compile", "--quiet", "--no-header", "pyproject.toml", *flags, "-o", pins)
    row["installed"] = ", ".join(named_pins(pins, EXTRAS[name]))
    wanted = f"repdet[{','.join(extras)}] @ {wheel.as_uri()}"
    words = ("--quiet", "--python", environment.python, "--constraint", pins)
    environment.uv("pip", "install", *words, wanted)
    work = tmp_path / "work"
    work.mkdir()
    environment.run(environment.python, SMOKE, samples, *EXTRAS[name], cwd=work)
    row["result"] = "passed"


def named_pins(pins: Path, extras: list[str]) -> list[str]:
    """Return name and version of what extras list themselves."""
    lines = [line.split(" ")[0] for line in pins.read_text().splitlines()]
    chosen = dict(line.split("==") for line in lines if "==" in line)
    names = {library.name: None for extra in extras for library in LISTED[extra]}
    return [f"{name} {chosen[name]}" for name in names]


def test_readmes_first_commands(sdist: Path, environment: Environment, tmp_path: Path) -> None:
    """In the unpacked source distribution, as a reader types them, but for one epoch."""
    shutil.unpack_archive(sdist, tmp_path)
    checkout = tmp_path / sdist.name.removesuffix(".tar.gz")
    install, train, *_ = commands(blocks(ROOT / "README.md", "sh")[0].text)
    assert install.startswith("pip install ")
    environment.run("bash", "-c", install, cwd=checkout)
    environment.run("bash", "-c", f"{train} --epochs 1", cwd=checkout)
    assert (checkout / "runs" / "train" / "1" / "best.safetensors").is_file()
