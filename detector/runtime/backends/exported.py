"""Base class of the backends of exported files: metadata, and its check against the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.runtime.backends.backend import CLASSES, Arrays, KeptBoxes, ModelMetadata
from detector.runtime.backends.outputs import validate_outputs
from detector.runtime.decoding.decoding import decode_all
from detector.runtime.nms.nms import Candidates, best_first, find_candidates, nms
from detector.settings.export import MAX_FIXED_BATCH
from detector.settings.nms import NmsSettings
from detector.settings.values import FloatPrecision, TaskName
from detector.structures.preprocess import Preprocess
from detector.utils.errors import DetectorError

INPUT = "images"

_AFTER_NMS = {"confidence", "max_detections", "classes", "clip_boxes"}
"""NMS settings that can be applied to boxes after NMS."""

Shape = tuple[int | None, ...]
"""Shape of an input or output, None for a dynamic dimension; empty if the file declares none."""


class ExportedBackend:
    """An exported file, opened by a runtime; subclasses run it and tell what it would need.

    Args:
        path: the file.
        metadata: metadata stored in the file.
        inputs: shapes of its inputs by name.
        outputs: shapes of its outputs by name.

    Attributes:
        arithmetic: precision of the arithmetic of this run.

    Raises:
        DetectorError: the inputs or outputs contradict the metadata.
    """

    arithmetic: FloatPrecision = "fp32"

    def __init__(
        self,
        path: Path,
        metadata: ModelMetadata,
        inputs: Mapping[str, Shape],
        outputs: Mapping[str, Shape],
    ) -> None:
        self.path = path
        self.task: TaskName = metadata.task
        self.names: tuple[str, ...] = metadata.names
        self.preprocess: Preprocess = metadata.preprocess
        self.eval_nms: NmsSettings = metadata.measured_nms
        self.stride: int = metadata.stride
        self.metadata = metadata
        self.output_names = tuple(metadata.outputs)
        self.batch_size, *size_hw = self._check_input(inputs)
        self.dynamic_size: bool = None in size_hw
        self._check_outputs(outputs)
        self._checked: set[tuple[int, ...]] = set()

    def __call__(self, images: NDArray[np.float32]) -> Arrays:
        """Run the file on (b, 3, h, w) float32 input and validate its outputs.

        Returns:
            The outputs; see :class:`Backend`.

        Raises:
            DetectorError: the runtime cannot run the file on this input, or the outputs contradict
                the metadata.
        """
        outputs = self.run(images)
        try:
            return validate_outputs(outputs, self.metadata.outputs, len(images), len(self.names))
        except DetectorError as error:
            raise self.error(str(error)) from error

    def run(self, images: NDArray[np.float32]) -> Arrays:
        """Return the runtime's outputs for (b, 3, h, w) float32 input, not validated."""
        raise NotImplementedError

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the input that the file states: (b, 3, h, w), one image if the batch is open."""
        return (self.batch_size or 1, 3, *self.preprocess.size_hw)

    def check_sizes(self, image: tuple[int, ...]) -> None:
        """Raise unless the network may run on (b, 3, h, w) input; each shape is checked once.

        Raises:
            DetectorError: it would need too much memory, or that cannot be told.
        """
        if image in self._checked:
            return
        try:
            self._check_run(image)
        except ValueError as error:
            raise self.error(f"refused, it was not run: {error}") from error
        self._checked.add(image)

    def _check_run(self, image: tuple[int, ...]) -> None:
        """Raise ValueError where the network would need too much memory for (b, 3, h, w) input."""
        raise NotImplementedError

    def postprocess(self, outputs: Arrays, settings: NmsSettings) -> KeptBoxes:
        """Apply NMS, or filter the boxes of a file with NMS inside; see :class:`Backend`."""
        if self.metadata.nms is not None:
            boxes_xyxy, scores, class_ids = outputs
            return filter_after_nms(boxes_xyxy, scores, class_ids, settings)
        return self.apply_nms(*self._boxes_and_scores(outputs, settings), settings)

    def candidates(self, outputs: Arrays, settings: NmsSettings) -> Candidates:
        """Decode the candidates of NMS; see :class:`Backend`. No file with NMS inside has any."""
        return find_candidates(*self._boxes_and_scores(outputs, settings), settings)

    def _boxes_and_scores(
        self, outputs: Arrays, settings: NmsSettings
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return (n, 4) boxes and (n, classes) scores of those that may reach the confidence."""
        if self.metadata.decoding is not None:
            outputs = self.metadata.decoding.candidates(outputs, settings.confidence)
        boxes_xyxy, scores = outputs
        return boxes_xyxy, scores

    def decoded(self, images: NDArray[np.float32]) -> Arrays:
        """Run the file on (b, 3, h, w) input and decode all its boxes and scores, if it has not."""
        outputs = self(images)
        decoding = self.metadata.decoding
        return outputs if decoding is None else decode_all(decoding, outputs)

    def apply_nms(
        self, boxes_xyxy: NDArray[np.float32], scores: NDArray[np.float32], settings: NmsSettings
    ) -> KeptBoxes:
        """Apply NMS to (n, 4) boxes and (n, classes) scores."""
        return nms(boxes_xyxy, scores, settings)

    def check_settings(self, settings: NmsSettings) -> None:
        """Raise where the file's own NMS makes the settings impossible to follow.

        Raises:
            DetectorError: ``classes`` is set, but the file's NMS is class-agnostic.
        """
        own = self.metadata.nms
        if settings.classes is not None and own is not None and own.class_agnostic:
            raise self.error(
                "its NMS is class-agnostic, so that boxes of other classes may have removed some "
                "of those selected by classes; export it without --class-agnostic"
            )

    def ignored_settings(self, settings: NmsSettings) -> set[str]:
        """Return the names of settings that have no effect, since the file has its own NMS.

        A higher confidence, fewer detections, a selection of classes and clipping can still be
        applied to its boxes. Without NMS in the file, no setting is ignored.
        """
        own = self.metadata.nms
        if own is None:
            return set()
        names = NmsSettings.model_fields.keys() - _AFTER_NMS
        if settings.confidence < own.confidence:
            names.add("confidence")
        if settings.max_detections > own.max_detections:
            names.add("max_detections")
        return names

    def error(self, message: str) -> DetectorError:
        """Return an error whose message begins with the file's path."""
        return DetectorError(message, file=self.path)

    def _check_input(self, inputs: Mapping[str, Shape]) -> Shape:
        """Return batch size, height and width, each None if dynamic."""
        if list(inputs) != [INPUT]:
            raise self.error(f"inputs are {_quoted(inputs)}, expected {INPUT!r}")
        shape = inputs[INPUT]
        if len(shape) != 4 or shape[1] not in (None, 3):
            raise self.error(f"input has shape {_shape_text(shape)}, expected (batch, 3, h, w)")
        batch, _, *size_hw = shape
        if batch is not None and batch > MAX_FIXED_BATCH:
            raise self.error(f"takes {batch} images at a time, at most {MAX_FIXED_BATCH} are given")
        expected = self.preprocess.size_hw
        if any(n not in (None, m) for n, m in zip(size_hw, expected, strict=True)):
            found, stated = ("×".join(map(str, size)) for size in (size_hw, expected))
            raise self.error(f"input is {found}, but its metadata say {stated}")
        return (batch, *size_hw)

    def _check_outputs(self, outputs: Mapping[str, Shape]) -> None:
        if not set(self.output_names) <= outputs.keys():
            raise self.error(
                f"outputs are {_quoted(outputs)}, expected {_quoted(self.output_names)}"
            )
        for name, dimensions in self.metadata.outputs.items():
            shape = outputs[name]
            if shape and len(shape) != len(dimensions):
                raise self.error(
                    f"output {name!r} has shape {_shape_text(shape)}, "
                    f"expected {len(dimensions)} dimensions"
                )
            sizes = dict(zip(dimensions, shape, strict=False))
            for expected, size in sizes.items():
                if isinstance(expected, int) and size not in (None, expected):
                    raise self.error(
                        f"output {name!r} has {size} channels, its metadata say {expected}"
                    )
            if sizes.get(CLASSES) not in (None, len(self.names)):
                found = sizes[CLASSES]
                raise self.error(f"{found} classes, but its metadata name {len(self.names)}")
            if sizes.get("") not in (None, 4):
                raise self.error(f"output {name!r} has {sizes['']} numbers a box, expected 4")


def filter_after_nms(
    boxes_xyxy: NDArray[np.float32],
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int64],
    settings: NmsSettings,
) -> KeptBoxes:
    """Filter the boxes of one image that come from a file with NMS inside.

    A higher ``confidence`` and a smaller ``max_detections`` have the same effect here as before
    NMS. ``classes`` selects among the boxes that the file keeps, whose ``max_detections`` counts
    all classes; this is valid only if its NMS is not class-agnostic. Other settings are ignored.

    Args:
        boxes_xyxy: (k, 4) pixels of the input.
        scores: (k,).
        class_ids: (k,), −1 where there is no box.
        settings: thresholds and limits.

    Returns:
        boxes_xyxy (m, 4), scores (m,) descending, class_ids (m,), with m ≤ k.
    """
    kept = (class_ids >= 0) & (scores >= np.float32(settings.confidence))
    if settings.classes is not None:
        kept &= np.isin(class_ids, settings.classes)
    rows = np.flatnonzero(kept)
    rows = rows[best_first(scores[rows], settings.max_detections)]
    return boxes_xyxy[rows], scores[rows], class_ids[rows]


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _shape_text(shape: Shape) -> str:
    return f"({', '.join('?' if n is None else str(n) for n in shape)})"
