"""A process that computes without the others."""

from __future__ import annotations

import pytest
import torch

from detector.utils import collectives
from detector.utils.collectives import all_reduce_sum, by_itself, from_main, is_distributed


def test_a_process_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks nobody in the block, and takes part again after it, whatever ended it."""
    monkeypatch.setattr(collectives.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(collectives.dist, "get_world_size", lambda: 2)
    assert is_distributed()
    with by_itself():
        assert not is_distributed()
        assert all_reduce_sum(torch.tensor(3.0)) == 3
        assert from_main(lambda: 7) == 7
    assert is_distributed()
    with pytest.raises(ValueError, match="stop"), by_itself():
        raise ValueError("stop")
    assert is_distributed()
