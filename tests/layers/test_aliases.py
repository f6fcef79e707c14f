"""Aliases of blocks: the same class and the same contract."""

from __future__ import annotations

import pytest
import torch

from detector.layers.osa import OSAModule
from detector.registry import contract


@pytest.mark.parametrize(("alias", "name"), [("eSE", "ESEBlock"), ("eSEModule", "ESEBlock")])
def test_alias(alias: str, name: str) -> None:
    assert contract(alias).module is contract(name).module
    assert contract(alias).row_parameters.keys() == contract(name).row_parameters.keys()


@pytest.mark.parametrize("name", ["_OSA_module", "OSA_module", "OSAModule"])
def test_osa_module_has_the_widths_in_the_other_order(name: str) -> None:
    known = contract(name)
    arguments = known.bind([8, 24, 3, "OSA2_1", True, "nn.ReLU()"])
    assert known.channels(arguments, [24]) == 24
    assert known.widths == ("stage_ch", "c_out")
    block = known.module(c_in=24, **arguments).eval()
    same = OSAModule(24, 24, 8, 3, identity=True, activation="ReLU").eval()
    same.load_state_dict(block.state_dict())
    x = torch.randn(1, 24, 5, 5)
    assert block(x).equal(same(x))
    with pytest.raises(ValueError, match="^an identity from 16 to 24 channels$"):
        known.module(c_in=16, **arguments)
