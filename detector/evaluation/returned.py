"""Scoring what another machine computed for the inputs that ``inputs.py`` wrote.

A network's outputs take the network's place in the ordinary evaluation, so that nothing else can
differ (:class:`ReturnedOutputs`); boxes or classes go to the evaluator as they are
(:func:`read_results`).
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
from numpy.typing import NDArray

from detector.classification import TOP, Classification
from detector.config import Strict, explain
from detector.errors import DetectorError
from detector.runtime.backend import CLASSES, OUTPUTS, SUPPRESSED, Arrays, Backend
from detector.runtime.exported import kept_by_file
from detector.runtime.nms import nms

Named = Mapping[str, NDArray[Any]]


class ReturnedOutputs:
    """In place of a network: what another machine's gave, one image after the other.

    Args:
        path: a folder of ``.npz``, one an image, named by its id; or one ``.npz`` for all.
        backend: says what the outputs mean; it is not run.
        image_ids: in the order in which the images will come.

    Raises:
        DetectorError: here or when an image comes: its outputs are missing or have other shapes.
    """

    batch_size: int | None = 1
    dynamic_size = False

    def __init__(self, path: Path, backend: Backend, image_ids: Sequence[int]) -> None:
        self.task = backend.task
        self.names = backend.names
        self.preprocess = backend.preprocess
        self.measuring = backend.measuring
        self._outputs = (
            self._checked(file, arrays) for file, arrays in _each_image(path, image_ids)
        )

    def __call__(self, images: NDArray[np.float32]) -> Arrays:
        """The next image's outputs; the input is not looked at."""
        return next(self._outputs)

    def _checked(self, file: Path, arrays: Named) -> Arrays:
        expected = SUPPRESSED if "class_ids" in arrays else OUTPUTS[self.task]
        sizes: dict[str, int] = {"": 4, CLASSES: len(self.names)}
        for name, dimensions in expected.items():
            if name not in arrays:
                raise DetectorError(f"has no array {name!r}", file=file)
            shape, wanted = arrays[name].shape, dimensions[1:]
            known = dict(zip(wanted, shape, strict=False)) | sizes
            if shape != tuple(known.get(one) for one in wanted):
                form = ", ".join(str(sizes.get(one, one)) for one in wanted)
                message = f"{name!r} of an image has shape {shape}, expected ({form})"
                raise DetectorError(message, file=file)
            sizes = known
        return tuple(arrays[name][None] for name in expected)


def suppress_returned(*outputs_and_settings: Any) -> Any:
    """Suppression for outputs that came back; those of three arrays have been through one."""
    suppress = kept_by_file if len(outputs_and_settings) > len(SUPPRESSED) else nms
    return suppress(*outputs_and_settings)


def _each_image(path: Path, image_ids: Sequence[int]) -> Iterator[tuple[Path, Named]]:
    if path.is_dir():
        for image_id in image_ids:
            file = path / f"{image_id}.npz"
            arrays = _read(file)
            yield file, {name: _one_of_one(array) for name, array in arrays.items()}
        return
    arrays = _read(path)
    for name, array in arrays.items():
        if array.shape[:1] != (len(image_ids),):
            found = "×".join(map(str, array.shape))
            message = f"{name!r} is {found}, expected {len(image_ids)} images"
            raise DetectorError(message, file=path)
    for index in range(len(image_ids)):
        yield path, {name: array[index] for name, array in arrays.items()}


def _one_of_one(array: NDArray[Any]) -> NDArray[Any]:
    """An image's array without the dimension of a batch of one."""
    return array[0] if array.shape[:1] == (1,) else array


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an ``.npz``; nothing in it is unpickled."""
    try:
        opened = np.load(path, allow_pickle=False)
        if not isinstance(opened, np.lib.npyio.NpzFile):
            raise DetectorError("holds one array without a name, expected .npz", file=path)
        with opened:
            return {name: opened[name] for name in opened.files}
    except OSError as error:
        raise DetectorError(f"cannot be read: {error.strerror or error}", file=path) from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DetectorError("not an .npz file of plain arrays", file=path) from error


class BoxResult(Strict):
    """One box as COCO writes it: x, y, width, height in pixels of the image."""

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float


class ClassResult(pydantic.BaseModel):
    """One image's best classes, best first; or the scores of all, in the order of the names."""

    image_id: int
    category_ids: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()


def read_results(
    path: Path, backend: Backend, image_ids: Sequence[int], category_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Read a JSON list of boxes, or of what a classifier says of each image, for an evaluator.

    Args:
        path: what ``--save-predictions`` writes, or the same from elsewhere.
        backend: says whether there are boxes, and has the class names.
        image_ids: that may occur.
        category_ids: by class.

    Raises:
        DetectorError: not such a list, or about other images or categories.
    """
    kind: Any = BoxResult if backend.task == "detect" else ClassResult
    try:
        results = pydantic.TypeAdapter(list[kind]).validate_json(path.read_bytes())
    except OSError as error:
        raise DetectorError(f"cannot be read: {error.strerror}", file=path) from error
    except pydantic.ValidationError as error:
        problem = explain(kind, error.errors()[0])
        raise DetectorError(f"not a list of results: {problem}", file=path) from error
    known_images, known_categories = set(image_ids), set(category_ids)
    for result in results:
        own = [result.category_id] if kind is BoxResult else result.category_ids
        if result.image_id not in known_images:
            raise DetectorError(f"image_id {result.image_id} is not in the split", file=path)
        if not known_categories.issuperset(own):
            unknown = next(number for number in own if number not in known_categories)
            raise DetectorError(f"category_id {unknown} is none of the data's", file=path)
    if kind is BoxResult:
        return [{**result.model_dump(), "bbox": list(result.bbox)} for result in results]
    return [_best_classes(result, backend.names, category_ids, path) for result in results]


def _best_classes(
    result: ClassResult, names: tuple[str, ...], category_ids: Sequence[int], path: Path
) -> dict[str, Any]:
    best = result.category_ids[:TOP]
    if not best:
        if len(result.scores) != len(names):
            raise DetectorError(
                f"image_id {result.image_id} has {len(result.scores)} scores, "
                f"expected {len(names)}, or category_ids",
                file=path,
            )
        found = Classification.of(np.array(result.scores, np.float32), names)
        best = tuple(category_ids[number] for number in found.class_ids)
    return {"image_id": result.image_id, "category_ids": list(best)}
