"""A cleaned copy of a data set: without broken images, equal boxes, and train's copies of others.

The copy is COCO JSON, which keeps ids, areas, crowd regions and difficult objects; its images are
hard links where the disk allows them, else copies.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detector.data.check import CLIPPED, DROPPED
from detector.data.checks.duplicates import Group
from detector.data.checks.finding import number_of
from detector.data.checks.run import CheckedData
from detector.data.checks.scan import SplitScan
from detector.data.conversion.image_files import place_image
from detector.data.conversion.image_names import image_names, renamed
from detector.data.conversion.new_folder import check_new, new_folder
from detector.data.dataset import GroundTruth
from detector.data.formats.definition import SPLIT_KEY
from detector.label_files.definition import FILE_NAME, definition_text
from detector.utils.errors import DetectorError
from detector.utils.files import write_text

TRAIN_PREFIX = "train"
"""Beginning of the names of splits that images of others are dropped from."""

CHANGES = "changes.txt"


@dataclass
class CleanCopy:
    """A copy that was written.

    Attributes:
        folder: its folder.
        changes: a line for each thing that is not in it.
    """

    folder: Path
    changes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the lines to print."""
        changes = [f"  {change}" for change in self.changes[:MAX_PRINTED]]
        more = len(self.changes) - len(changes)
        changes += [f"  … and {more} more, all in {self.folder / CHANGES}"] if more else []
        return [
            f"cleaned copy in {self.folder}, boxes only, as COCO JSON: "
            f"{number_of(len(self.changes), 'change')}",
            *changes,
        ]


MAX_PRINTED = 20
"""Largest number of changes that are printed; the copy has a file of all."""


def write_clean_copy(checked: CheckedData, folder: Path) -> CleanCopy:
    """Write a cleaned copy of the splits that were checked.

    Raises:
        DetectorError: the folder is not empty or cannot be written; a split has one class for each
            image and no boxes, or cannot be read at all.
    """
    check_new(folder, ())
    _check_splits(checked)
    copy = CleanCopy(folder)
    leave_out = _copies_in_train(checked.groups, copy.changes)
    with new_folder(folder) as temporary:
        for scan in checked.chosen:
            _write_split(checked, scan, leave_out, temporary, copy.changes)
        write_text(temporary / FILE_NAME, _definition(checked))
        write_text(temporary / CHANGES, "".join(f"{change}\n" for change in copy.changes))
    return copy


def _check_splits(checked: CheckedData) -> None:
    for scan in checked.chosen:
        if scan.found is None and scan.error is not None:
            raise scan.error
        if all(place.task == "classify" for place in checked.definition.places(scan.name)):
            raise DetectorError(
                f"--fix writes boxes, and split {scan.name!r} has one class for each image",
                file=checked.definition.source,
            )


def _copies_in_train(groups: Iterable[Group], changes: list[str]) -> set[int]:
    """Return the ids of images of train splits that other splits have, too, byte for byte."""
    found: set[int] = set()
    for group in groups:
        others = [image for image in group.images if not image.split.startswith(TRAIN_PREFIX)]
        if not group.is_exact or not others:
            continue
        for image in group.images:
            if image.split.startswith(TRAIN_PREFIX):
                found.add(id(image))
                changes.append(
                    f"{image.split}: {image.path} left out: the picture of {others[0].split}: "
                    f"{others[0].path}"
                )
    return found


def _write_split(
    checked: CheckedData, scan: SplitScan, leave_out: set[int], folder: Path, changes: list[str]
) -> None:
    kept = [i for i in scan.images if i.sample is not None and id(i) not in leave_out]
    changes += _changes(scan)
    paths = image_names(sources := [image.path for image in kept])
    changes += [f"{scan.name}: {line}" for line in renamed(sources, paths)]
    for image, path in zip(kept, paths, strict=True):
        _link(image.path, folder / "images" / scan.name / path)
    assert scan.found is not None
    ids = scan.found.category_ids(checked.definition, scan.name)
    samples = tuple(image.sample for image in kept if image.sample is not None)
    content: dict[str, Any] = GroundTruth(checked.definition.names, samples, ids).to_coco()
    for record, path in zip(content["images"], paths, strict=True):
        record["file_name"] = path
    write_text(folder / "annotations" / f"{scan.name}.json", json.dumps(content))


def _changes(scan: SplitScan) -> list[str]:
    """Return a line for each image and each box that a split of the copy does not have."""
    found = scan.found.issues if scan.found is not None else []
    issues = [*found, *(issue for image in scan.images for issue in image.issues)]
    lines = [
        f"{scan.name}: {'image' if issue.drops_image else 'label'} left out: {issue}"
        for issue in issues
    ]
    for image in scan.images:
        file = image.label_file or image.path
        repairs = (reason for reason in (*DROPPED, CLIPPED) if image.counts[reason])
        lines += [f"{scan.name}: {file}: {reason}: {image.counts[reason]}" for reason in repairs]
    return lines


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        place_image(source, target, "link")
    except DetectorError:  # another disk, or one without links
        place_image(source, target, "copy")


def _definition(checked: CheckedData) -> str:
    splits = {
        scan.name: {"annotations": f"annotations/{scan.name}.json", "images": f"images/{scan.name}"}
        for scan in checked.chosen
    }
    top = [name for name in splits if SPLIT_KEY.fullmatch(name)]
    return definition_text(checked.definition.names, splits, top)
