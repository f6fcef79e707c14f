"""Images without a label file: taken as without objects, but not if most of a split lack one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detector.data.formats.rows import AnnotatedImage
from detector.data.formats.written_paths import contents
from detector.utils.errors import DetectorError

XML, TXT = ".xml", ".txt"
MAX_SHARES = {XML: 0.1, TXT: 0.9}
"""Largest share of images without a label file, by the suffix of such files. Few tools mean an
image without objects by a missing XML file; by a missing txt file most of them do."""

TITLES = {XML: "XML file", TXT: "label file"}


def check_unlabeled(images: Sequence[AnnotatedImage], max_share: float | None = None) -> None:
    """Raise DetectorError if all images of a split lack their label file, or too many of them.

    Args:
        images: all images of a split; those of formats without a file for each image are labeled.
        max_share: largest share without a file; None takes that of the format. XML files are
            missing from the images that should have one, txt files from all images of the split,
            since a place of images without objects has none.
    """
    files = {image.path: image.label_file for image in images}
    missing = {path: file for path, file in files.items() if file and not file.is_file()}
    if missing and len(missing) == len(files):
        raise _none_labeled(missing)
    for suffix, default in MAX_SHARES.items():
        lacking = [path for path, file in missing.items() if file.suffix.lower() == suffix]
        due = sum(file is not None and file.suffix.lower() == suffix for file in files.values())
        total = due if suffix == XML else len(files)
        share = default if max_share is None else max_share
        if len(lacking) > share * total:
            percent = -(-100 * len(lacking) // total)  # rounded up, so that the flag suffices
            raise DetectorError(
                f"{len(lacking)} of {total} images have no {TITLES[suffix]}, the first is "
                f"{lacking[0]}; --max-unlabeled {percent / 100:g} takes them as images without "
                "objects"
            )


def describe_negatives(place: str, images: Sequence[AnnotatedImage]) -> list[str]:
    """Return a line on a place whose images all lack a label file, or nothing."""
    if not images or any(one.label_file is None or one.label_file.is_file() for one in images):
        return []
    return [f"{place}: none of its {len(images)} images has a label file: all are without objects"]


def _none_labeled(missing: dict[Path, Path]) -> DetectorError:
    image, file = next(iter(missing.items()))
    if file.suffix.lower() == XML:
        message = f"has an XML file; the first was looked for as {file.name}"
        held = contents(file.parent)
        return DetectorError(f"none of {len(missing)} images {message}; {held}", file=file.parent)
    message = f"has a label file; the first was looked for at {file}"
    return DetectorError(f"none of {len(missing)} images {message}", file=image.parent)
