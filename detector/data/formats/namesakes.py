"""Images of two splits that lie in different folders but have one label file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from detector.data.formats import voc, yolo
from detector.data.formats.issues import Issue
from detector.data.formats.pairing import shared_files
from detector.data.formats.rows import AnnotatedImage, image_files
from detector.data.formats.splits import DatasetDefinition, Split
from detector.utils.errors import DetectorError


def images_sharing_labels(
    images: Sequence[AnnotatedImage], definition: DatasetDefinition, split: str
) -> dict[Path, Issue]:
    """Return an issue for each image whose label file is that of an image of another split, too.

    An image that the other split has, too, is left to that split, whose own images are compared
    with each other. Of several other splits, the first one of the definition is named.

    Args:
        images: images of a split.
        definition: the data set; places of other splits that cannot be read have no images here.
        split: name of the split.
    """
    pairs = [(image.path, image.label_file) for image in images]
    own = [(path, file) for path, file in pairs if file is not None and file.is_file()]
    stems = {path.stem for path, _ in own}
    issues: dict[Path, Issue] = {}
    for name in (name for name in definition.splits if own and name != split):
        theirs: dict[Path, Path] = {}
        for place in definition.places(name):
            with suppress(DetectorError):
                theirs.update(_labels_of(place, definition.root, stems))
        alone = [pair for pair in own if pair[0] not in theirs]
        shared = shared_files([*alone, *theirs.items()])
        for path in (path for path, _ in alone if path in shared):
            issues.setdefault(path, shared[path])
    return issues


def _labels_of(place: Split, root: Path, stems: Collection[str]) -> Iterator[tuple[Path, Path]]:
    """Yield the images of a place that have one of the names, with the paths of their labels."""
    if place.format == "YOLO txt":
        labels = None if place.labels is None else root / place.labels
        folder = None if place.list_file is not None else root / str(place.images)
        for image in _images(place, root):
            if image.stem in stems:
                yield image, yolo.label_path(image, folder, labels)
    elif place.format == "Pascal VOC XML":
        images = _images(place, root)
        yield from voc.label_files(
            images, root / (place.images or ""), root / str(place.annotations)
        )


def _images(place: Split, root: Path) -> list[Path]:
    if place.list_file is not None:
        return yolo.listed_images(root / place.list_file, root)[0]
    folder = root / (place.images or "")
    if place.image_set is not None:
        return voc.listed_images(root / place.image_set, folder)[0]
    return image_files(folder)
