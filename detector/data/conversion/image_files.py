"""Images of the data set that is written: links or copies of those that were read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from detector.settings.values import ImageTransfer
from detector.utils.errors import DetectorError


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
