"""Other names of blocks mean the same class and the same contract."""

from __future__ import annotations

import pytest

import detector.layers  # noqa: F401  (registers)
from detector.registry import contract


@pytest.mark.parametrize(("alias", "name"), [("eSE", "ESEBlock"), ("eSEModule", "ESEBlock")])
def test_alias(alias: str, name: str) -> None:
    assert contract(alias).module is contract(name).module
    assert contract(alias).row_parameters.keys() == contract(name).row_parameters.keys()
