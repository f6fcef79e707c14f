"""Evaluation of results that another machine computed from the inputs of ``inputs.py``.

Outputs of a network replace the network in the ordinary evaluation, so that nothing else can differ
(:class:`ReturnedOutputs`). Final boxes or classes go to the evaluator directly
(:func:`read_results`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pydantic
from numpy.typing import NDArray

from detector.evaluation.evaluation_set import EvaluationSet, HasTaskAndNames
from detector.evaluation.inputs import LIST_NAME, MAX_PREDICTION_BYTES, InputList
from detector.evaluation.npz import StoredArray, stored_arrays
from detector.evaluation.run import Metrics
from detector.runtime.backends.backend import OUTPUTS, OUTPUTS_AFTER_NMS, Arrays, Backend, KeptBoxes
from detector.runtime.backends.exported import filter_after_nms
from detector.runtime.backends.outputs import validate_outputs
from detector.runtime.decoding.decoding import decode_all
from detector.runtime.nms.nms import Candidates, nms
from detector.settings.nms import NmsSettings
from detector.structures.classification import TOP, Classification
from detector.structures.samples import Sample
from detector.utils.errors import DetectorError, shown
from detector.utils.files import read_limited
from detector.utils.yaml_file import explain


class ReturnedOutputs:
    """A backend that returns stored outputs of another machine, one image after the other.

    Args:
        path: a folder with one ``.npz`` per image, named by its id; or one ``.npz`` for all images.
            The list of the inputs must lie in that folder, or beside that file; it has the
            preprocessing.
        backend: network that the outputs belong to; it is not run.
        samples: the images, in the order of the calls.

    Raises:
        DetectorError: the list is missing or does not match the network and the images. Raised by
            a call: the image's outputs are missing or invalid.
    """

    batch_size: int | None = 1
    dynamic_size = False

    def __init__(self, path: Path, backend: Backend, samples: Sequence[Sample]) -> None:
        folder = path if path.is_dir() else path.parent
        listed = InputList.read(folder)
        listed.check(backend, samples, folder / LIST_NAME)
        self.task = backend.task
        self.names = backend.names
        self.preprocess = listed.preprocess
        self.eval_nms = backend.eval_nms
        self.stride = backend.stride
        self._decoding = listed.decoding
        self._outputs = self._read(path, [sample.image_id for sample in samples])

    def __call__(self, images: NDArray[np.float32]) -> Arrays:
        """Return the outputs for the next image; the input is ignored."""
        return next(self._outputs)

    def postprocess(self, outputs: Arrays, settings: NmsSettings) -> KeptBoxes:
        """Apply NMS, or filter the boxes if the outputs (three arrays) are those after NMS."""
        apply: Any = filter_after_nms if len(outputs) == len(OUTPUTS_AFTER_NMS) else nms
        kept: KeptBoxes = apply(*outputs, settings)
        return kept

    def candidates(self, outputs: Arrays, settings: NmsSettings) -> Candidates:
        """Raise DetectorError: the inputs that were written are whole images, not tiles."""
        raise DetectorError("outputs computed elsewhere are those of whole images, not of tiles")

    def _read(self, path: Path, image_ids: Sequence[int]) -> Iterator[Arrays]:
        if path.is_dir():
            for image_id in image_ids:
                yield from self._read_file(path / f"{image_id}.npz", 1)
        else:
            yield from self._read_file(path, len(image_ids))

    def _read_file(self, file: Path, images: int) -> Iterator[Arrays]:
        """Yield the outputs of each of a file's images, as a batch of one."""
        with stored_arrays(file) as arrays:
            decoding = None if "boxes_xyxy" in arrays else self._decoding
            outputs = OUTPUTS_AFTER_NMS if "class_ids" in arrays else OUTPUTS[self.task]
            if decoding is not None:
                outputs = decoding.outputs(len(self.names))
            shapes = {
                name: _shape_of_one(name, arrays, len(dimensions), images, file)
                for name, dimensions in outputs.items()
            }
            for _ in range(images):
                found = [arrays[name].read((1, *shape)) for name, shape in shapes.items()]
                try:
                    one = validate_outputs(found, outputs, 1, len(self.names))
                except DetectorError as error:
                    raise DetectorError(str(error), file=file) from error
                yield one if decoding is None else decode_all(decoding, one)


def _shape_of_one(
    name: str, arrays: Mapping[str, StoredArray], dimensions: int, images: int, file: Path
) -> tuple[int, ...]:
    """Return an array's shape for one image; a file of one image may omit the batch dimension."""
    if name not in arrays:
        raise DetectorError(f"has no array {name!r}", file=file)
    shape = arrays[name].shape
    if images == 1 and len(shape) == dimensions - 1:
        return shape
    if shape[:1] != (images,):
        found = "×".join(map(str, shape))
        message = f"{name!r} is {found}, expected {images} image{'s' * (images != 1)}"
        raise DetectorError(message, file=file)
    return shape[1:]


class _ImageResult(pydantic.BaseModel):
    """Base of results for one image; additional keys, written by other tools, are ignored."""

    model_config = pydantic.ConfigDict(extra="ignore", allow_inf_nan=False)

    image_id: int
    file_name: str | None = None


class BoxResult(_ImageResult):
    """One box in COCO's format: x, y, width, height in pixels of the image."""

    category_id: int
    bbox: tuple[float, float, float, float]
    score: float


class ClassResult(_ImageResult):
    """One image's best classes, best first, or the scores of all classes in the model's order."""

    category_ids: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()


def score_results(path: Path, evaluation_set: EvaluationSet) -> Metrics:
    """Return the metrics of a JSON list of predictions, which become those of the evaluation set.

    Raises:
        DetectorError: as :func:`read_results`.
    """
    dataset, evaluator = evaluation_set.dataset, evaluation_set.evaluator
    names = {sample.image_id: sample.path.name for sample in dataset.samples}
    evaluator.results = read_results(path, dataset, names, dataset.category_ids)
    metrics: Metrics = evaluator.compute()
    return metrics


def read_results(
    path: Path,
    network: HasTaskAndNames,
    images: Collection[int] | Mapping[int, str],
    category_ids: Sequence[int],
) -> list[dict[str, Any]]:
    """Read a JSON list of predictions, boxes or classes, for an evaluator.

    Args:
        path: a file in the format of ``--save-predictions``.
        network: network, or data, that decide the task and the class names.
        images: ids of the evaluation set's images; with their file names if a result that names
            another file is to be refused.
        category_ids: category id of each class.

    Raises:
        DetectorError: not such a list, or it has results for unknown images or categories.
    """
    kind: Any = BoxResult if network.task == "detect" else ClassResult
    try:
        content = read_limited(path, MAX_PREDICTION_BYTES, "a list of results")
        results = pydantic.TypeAdapter(list[kind]).validate_json(content)
    except pydantic.ValidationError as error:
        issue = explain(kind, error.errors()[0])
        raise DetectorError(f"not a list of results: {issue}", file=path) from error
    known_images, known_categories = set(images), set(category_ids)
    for result in results:
        own = [result.category_id] if kind is BoxResult else result.category_ids
        if result.image_id not in known_images:
            raise DetectorError(f"image_id {result.image_id} is not in the split", file=path)
        _check_file_name(result, images, path)
        if not known_categories.issuperset(own):
            unknown = next(number for number in own if number not in known_categories)
            raise DetectorError(f"category_id {unknown} is not in the data", file=path)
    if kind is BoxResult:
        return [
            {**result.model_dump(exclude={"file_name"}), "bbox": list(result.bbox)}
            for result in results
        ]
    return [_best_classes(result, network.names, category_ids, path) for result in results]


def _check_file_name(
    result: _ImageResult, images: Collection[int] | Mapping[int, str], path: Path
) -> None:
    """Raise DetectorError if a result names another file than that of its image."""
    if result.file_name is None or not isinstance(images, Mapping):
        return
    expected = images[result.image_id]
    if PurePath(result.file_name.replace("\\", "/")).name != expected:
        raise DetectorError(
            f"image_id {result.image_id} has file_name {shown(result.file_name)}, in the split it "
            f"is {shown(expected)}",
            file=path,
        )


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
