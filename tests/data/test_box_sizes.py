"""Sizes of boxes in the network's input."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from detector.data.dataset import letterboxed_sizes, open_dataset


def test_letterboxed_sizes(yolo_folder: Callable[..., Path]) -> None:
    """Images of 40×20 in a square of 80: twice as large."""
    definition = yolo_folder({"a": "0 0.5 0.5 0.5 0.5\n1 0.5 0.5 0.1 0.4\n", "b": ""})
    sizes_wh = letterboxed_sizes(open_dataset(definition, "train"), (80, 80))
    np.testing.assert_allclose(sizes_wh, [[40, 20], [8, 16]], atol=1e-3)
    assert sizes_wh.dtype == np.float64


def test_letterboxed_sizes_of_an_input_that_is_not_square(yolo_folder: Callable[..., Path]) -> None:
    """Images 40 px wide and 20 high in an input 80 wide and 30 high: min(30/20, 80/40) = 1.5."""
    definition = yolo_folder({"a": "0 0.5 0.5 0.5 0.5\n", "b": ""})
    sizes_wh = letterboxed_sizes(open_dataset(definition, "train"), (30, 80))
    np.testing.assert_allclose(sizes_wh, [[30, 15]], atol=1e-3)
