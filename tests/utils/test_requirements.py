"""Requirements as pip's metadata spells them, and what of them is installed."""

from importlib import metadata
from importlib.metadata import version

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from detector.utils.requirements import Library, in_bounds, libraries

HEAVY = {"mlflow", "wandb"}
"""Extras of more than 100 MB, which the ordinary tests do without."""


def test_a_distribution_that_is_not_installed():
    assert libraries("no-such-distribution") == {}


@pytest.mark.parametrize("lines", [None, []])
def test_no_requirements(monkeypatch, lines):
    monkeypatch.setattr(metadata, "requires", lambda _: lines)
    assert libraries("repdet") == {"base": []}


def test_requirements_by_extra(monkeypatch):
    lines = [
        "numpy<3,>=2.0",
        "no-such-thing",
        "no.such (>=1)",
        'pyyaml==1.0; extra == "train"',
        "repdet[train]; extra == 'export'",
        "tqdm; python_version > '3' and extra == 'export'",
    ]
    monkeypatch.setattr(metadata, "requires", lambda _: lines)
    found = libraries("repdet")
    assert found == {
        "base": [
            Library("numpy", "<3,>=2.0", version("numpy")),
            Library("no-such-thing", "", None),
            Library("no.such", ">=1", None),
        ],
        "train": [Library("pyyaml", "==1.0", version("pyyaml"))],
        "export": [Library("tqdm", "", version("tqdm"))],
    }
    fits = {extra: [library.fits for library in wanted] for extra, wanted in found.items()}
    assert fits == {"base": [True, False, False], "train": [False], "export": [True]}


def test_our_own_requirements():
    """This environment has all of them, and every extra that is declared is found."""
    found = libraries("repdet")
    assert set(found) == {"base", *(metadata.metadata("repdet").get_all("Provides-Extra") or [])}
    assert {library.name for library in found["base"]} >= {"numpy", "pydantic", "tabulate"}
    fitting = {extra for extra, wanted in found.items() if all(one.fits for one in wanted)}
    assert set(found) - fitting <= HEAVY


@pytest.mark.parametrize(
    ("found", "bounds", "fits"),
    [
        ("1", "", True),
        ("2.10.1+cpu", ">=2.10,<3", True),
        ("2.9", ">=2.10,<3", False),
        ("3.0", ">=2.10,<3", False),
        ("2.0.8", "==2.0.8", True),
        ("2.0.8.1", "==2.0.8", False),
        ("3.0.0", "==3", True),
        ("unknown", ">=1", False),
    ],
)
def test_bounds(found: str, bounds: str, fits: bool):
    assert in_bounds(found, bounds) == fits


NUMBERS = st.lists(st.integers(0, 11), min_size=1, max_size=4).map(
    lambda numbers: ".".join(map(str, numbers))
)


@given(NUMBERS, NUMBERS, NUMBERS, st.sampled_from(["", "+cu130"]))
def test_bounds_are_those_of_packaging(found: str, low: str, high: str, local: str):
    for bounds in (f">={low},<{high}", f"=={low}"):
        assert in_bounds(found + local, bounds) == SpecifierSet(bounds).contains(found + local)
