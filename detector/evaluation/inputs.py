"""The network's inputs, written out for another machine; ``returned.py`` scores what comes back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detector.config import atomic, write_text
from detector.opencv import read_image
from detector.runtime.backend import OUTPUTS, Backend
from detector.runtime.exported import INPUT
from detector.structures import Sample

LIST_NAME = "inputs.json"


def dump_inputs(folder: Path, samples: Sequence[Sample], backend: Backend) -> None:
    """Write the input for each image as a (1, 3, h, w) float32 ``.npy``, and their list.

    Outputs for ``7.npy`` are expected as ``7.npz``, with arrays of the names that the list has
    under ``outputs``; or those for all images in one ``.npz``, in the order of the list.
    """
    preprocess = backend.preprocess
    images = []
    for sample in samples:
        image, placement = preprocess.fit(read_image(sample.path))
        name = f"{sample.image_id}.npy"
        with atomic(folder / name) as temporary:
            np.save(temporary, preprocess.normalize(image[None]))
        images.append(
            {
                "image_id": sample.image_id,
                "file": name,
                "image": sample.path.name,
                "size_hw": placement.image_size_hw,
                "scale_xy": placement.scale_xy,
                "offset_xy": placement.offset_xy,
            }
        )
    content = {
        "input": INPUT,
        "outputs": list(OUTPUTS[backend.task]),
        "names": backend.names,
        "preprocess": preprocess.model_dump(mode="json"),
        "images": images,
    }
    write_text(folder / LIST_NAME, json.dumps(content, indent=1) + "\n")
