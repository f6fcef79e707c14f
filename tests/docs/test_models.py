"""Parameters and multiply-adds in docs/models.md are those of the networks."""

from __future__ import annotations

import re

import pytest
import torch

from detector.model.cost import cost
from detector.model.deploy import fuse_modules
from detector.model.detector import build
from tests.docs.pages import ROOT, table_rows

ROWS = [
    row
    for row in table_rows(ROOT / "docs" / "models.md")
    if len(row) == 4 and row[0].startswith("`cfg/")
]
FIXED_SIZE = re.compile(r"ssd|refinedet|dsod")
"""Model files of the second table: 20 classes, at their own size."""


def test_there_are_such_rows() -> None:
    assert len(ROWS) > 50
    assert len({row[0] for row in ROWS}) == len(ROWS)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_costs_of_a_network(row: list[str]) -> None:
    name, variant = re.fullmatch(r"`cfg/(\w+)\.yaml`(?: --variant (\S+))?", row[0]).groups()  # type: ignore[union-attr]
    has_own_size = FIXED_SIZE.match(name) is not None
    with torch.device("meta"):
        model = build(name, 20 if has_own_size else 80, variant)
        size_hw = model.preprocess.size_hw if has_own_size else (640, 640)
        deployed = cost(fuse_modules(model), size_hw)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert row[1:] == [f"{parameters:,}", f"{deployed.params:,}", f"{deployed.macs / 1e9:.3f}"]
