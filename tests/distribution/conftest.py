"""The wheel and the source distribution of this checkout, and the table of what was installed.

``build`` makes the source distribution first and the wheel from it, so that what users of either
get is tested.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[2]

ROWS = pytest.StashKey[list[dict[str, str]]]()
"""Rows of the table of environments that were made."""


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds both."""
    for package in ("build", "hatchling"):
        pytest.importorskip(package, reason=f"needs {package} (requirements-dev.txt)")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def wheel(distributions: Path) -> Path:
    (file,) = distributions.glob("*.whl")
    return file


@pytest.fixture(scope="session")
def sdist(distributions: Path) -> Path:
    (file,) = distributions.glob("*.tar.gz")
    return file


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> list[dict[str, str]]:
    """Rows to print at the end."""
    return request.config.stash.setdefault(ROWS, [])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if rows := config.stash.get(ROWS, []):
        terminalreporter.section("fresh environments")
        terminalreporter.write_line(tabulate(rows, headers="keys", tablefmt="github"))
