"""What the boxes of a data set measure in the network's input."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.data.dataset import DetectionDataset


def letterboxed_sizes(dataset: DetectionDataset, side: int) -> NDArray[np.float64]:
    """(n, 2) widths and heights of all boxes in pixels of a square input of that side.

    Crowd regions are left out, as they are in training.
    """
    sizes = [
        (sample.boxes_xyxy[:, 2:] - sample.boxes_xyxy[:, :2])[~sample.crowd]
        * (side / max(sample.size_hw))
        for sample in dataset.samples
    ]
    return np.concatenate(sizes).astype(np.float64)
