"""Images of the data set that is written: links or copies of those that were read, and tiles."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from detector.settings.values import ImageTransfer
from detector.structures.samples import Sample
from detector.structures.tiles import cut_out
from detector.utils.errors import DetectorError
from detector.utils.opencv import read_image, write_image

TILE_SUFFIX = ".png"
"""Suffix of tiles: pixels are kept as they are decoded."""

_read_image = lru_cache(maxsize=1)(read_image)  # the tiles of an image follow each other


def source_names(samples: Sequence[Sample]) -> list[Path]:
    """Return the path of each sample's image; that of a tile ends with its left upper corner.

    ``map.jpg`` at x 512, y 0 is ``map_512_0.png``.
    """
    return [
        sample.path
        if sample.window_xyxy is None
        else sample.path.with_name(
            "_".join([sample.path.stem, *map(str, sample.window_xyxy[:2])]) + TILE_SUFFIX
        )
        for sample in samples
    ]


def write_image_of(sample: Sample, target: Path, transfer: ImageTransfer) -> None:
    """Link or copy the image of a sample; write a tile as a file of its own.

    Raises:
        DetectorError: the file system cannot do that, or the image cannot be read.
    """
    if sample.window_xyxy is None:
        place_image(sample.path, target, transfer)
    else:
        write_image(target, cut_out(_read_image(sample.path), sample.window_xyxy))


def place_image(source: Path, target: Path, transfer: ImageTransfer) -> None:
    """Link or copy an image.

    Args:
        source: the image file.
        target: its new path, whose folder exists.
        transfer: see :class:`detector.settings.datasets.ConvertSettings`.

    Raises:
        DetectorError: the file system cannot do that; says which transfer always works.
    """
    try:
        if transfer == "symlink":
            os.symlink(os.path.abspath(source), target)
        elif transfer == "link":
            os.link(os.path.realpath(source), target)
        else:
            shutil.copyfile(source, target)
    except OSError as error:
        done = {"symlink": "linked to", "link": "hard-linked", "copy": "copied"}[transfer]
        hint = "" if transfer == "copy" else "; --images copy copies the images"
        raise DetectorError(
            f"cannot be {done}: {error.strerror or error}{hint}", file=source
        ) from error
