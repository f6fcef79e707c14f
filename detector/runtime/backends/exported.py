"""What the backends of exported files share: the card's fields, and the check against the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.runtime.backends.backend import CLASSES, Arrays, KeptBoxes, ModelMetadata
from detector.runtime.backends.outputs import checked
from detector.runtime.nms.nms import best_first, nms
from detector.settings import NmsSettings, TaskName
from detector.structures.preprocess import Preprocess
from detector.utils.errors import DetectorError

INPUT = "images"

MAX_BATCH = 64
"""Images per call that a file may insist on; what is exported here takes one, or any number."""

Shape = tuple[int | None, ...]
"""Of an input or output, None where the file leaves it open; empty where it says nothing."""


class ExportedBackend:
    """A file that was exported here, opened by a runtime; subclasses run it.

    Args:
        path: the file.
        card: what it says about itself.
        inputs: the shapes of its inputs by name.
        outputs: the shapes of its outputs by name.

    Raises:
        DetectorError: inputs and outputs are not what the card says.
    """

    def __init__(
        self,
        path: Path,
        card: ModelMetadata,
        inputs: Mapping[str, Shape],
        outputs: Mapping[str, Shape],
    ) -> None:
        self.path = path
        self.task: TaskName = card.task
        self.names: tuple[str, ...] = card.names
        self.preprocess: Preprocess = card.preprocess
        self.eval_nms: NmsSettings = card.nms or card.eval_nms
        self.stride: int = card.stride
        self.metadata = card
        self.output_names = tuple(card.outputs)
        self.batch_size, *size_hw = self._check_input(inputs)
        self.dynamic_size: bool = None in size_hw
        self._check_outputs(outputs)

    def __call__(self, images: NDArray[np.float32]) -> Arrays:
        """(b, 3, h, w) float32 → the outputs; see :class:`Backend`.

        Raises:
            DetectorError: the runtime cannot run the file on that, or it gives something else than
                it says.
        """
        outputs = self.run(images)
        try:
            return checked(outputs, self.metadata.outputs, len(images), len(self.names))
        except DetectorError as error:
            raise self.error(str(error)) from error

    def run(self, images: NDArray[np.float32]) -> Arrays:
        """The outputs as the runtime gives them."""
        raise NotImplementedError

    def postprocess(self, outputs: Arrays, settings: NmsSettings) -> KeptBoxes:
        """Apply NMS, or select from the boxes of a file that holds it; see :class:`Backend`."""
        if self.metadata.nms is not None:
            boxes_xyxy, scores, class_ids = outputs
            return kept_by_file(boxes_xyxy, scores, class_ids, settings)
        boxes_xyxy, scores = outputs
        return self.apply_nms(boxes_xyxy, scores, settings)

    def apply_nms(
        self, boxes_xyxy: NDArray[np.float32], scores: NDArray[np.float32], settings: NmsSettings
    ) -> KeptBoxes:
        """Apply NMS to (n, 4) boxes and (n, classes) scores."""
        return nms(boxes_xyxy, scores, settings)

    def check_asked(self, settings: NmsSettings) -> None:
        """Whether the boxes that a call asks for can be had of what the file leaves.

        Raises:
            DetectorError: some classes are asked for, but the file lets all suppress each other.
        """
        held = self.metadata.nms
        if settings.classes is not None and held is not None and held.class_agnostic:
            raise self.error(
                "its suppression is class-agnostic, so that boxes of other classes have suppressed "
                "some of those asked for by classes; export it without --class-agnostic"
            )

    def overruled(self, settings: NmsSettings) -> set[str]:
        """Return the names of settings that change nothing, since the file holds its own NMS.

        Fewer boxes can be asked for afterwards: by a higher confidence, by a smaller number, by
        class. Where the file leaves NMS to its caller, nothing is overruled.
        """
        held = self.metadata.nms
        if held is None:
            return set()
        names = NmsSettings.model_fields.keys() - {"confidence", "max_detections", "classes"}
        if settings.confidence < held.confidence:
            names.add("confidence")
        if settings.max_detections > held.max_detections:
            names.add("max_detections")
        return names

    def error(self, message: str) -> DetectorError:
        """An error about the file."""
        return DetectorError(message, file=self.path)

    def _check_input(self, inputs: Mapping[str, Shape]) -> Shape:
        """Batch, height and width, None where they are open."""
        if list(inputs) != [INPUT]:
            raise self.error(f"inputs are {_list(inputs)}, expected {INPUT!r}")
        shape = inputs[INPUT]
        if len(shape) != 4 or shape[1] not in (None, 3):
            raise self.error(f"input has shape {_described(shape)}, expected (batch, 3, h, w)")
        batch, _, *size_hw = shape
        if batch is not None and batch > MAX_BATCH:
            raise self.error(f"takes {batch} images at a time, at most {MAX_BATCH} are given")
        expected = self.preprocess.size_hw
        if any(n not in (None, m) for n, m in zip(size_hw, expected, strict=True)):
            found, stated = ("×".join(map(str, size)) for size in (size_hw, expected))
            raise self.error(f"input is {found}, but its metadata say {stated}")
        return (batch, *size_hw)

    def _check_outputs(self, outputs: Mapping[str, Shape]) -> None:
        if not set(self.output_names) <= outputs.keys():
            raise self.error(f"outputs are {_list(outputs)}, expected {_list(self.output_names)}")
        for name, dimensions in self.metadata.outputs.items():
            shape = outputs[name]
            if shape and len(shape) != len(dimensions):
                raise self.error(
                    f"output {name!r} has shape {_described(shape)}, "
                    f"expected {len(dimensions)} dimensions"
                )
            sizes = dict(zip(dimensions, shape, strict=False))
            if sizes.get(CLASSES) not in (None, len(self.names)):
                found = sizes[CLASSES]
                raise self.error(f"{found} classes, but its metadata name {len(self.names)}")
            if sizes.get("") not in (None, 4):
                raise self.error(f"output {name!r} has {sizes['']} numbers a box, expected 4")


def kept_by_file(
    boxes_xyxy: NDArray[np.float32],
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int64],
    settings: NmsSettings,
) -> KeptBoxes:
    """In place of suppression, for a file that holds it: the rows of one image that are boxes.

    A higher confidence and a smaller number are followed: leaving boxes out afterwards is the same.
    So is a choice of classes where suppression is within each class, but of the boxes that the file
    keeps: its ``max_detections`` counts those of all classes. The rest of the settings are the
    file's own.

    Args:
        boxes_xyxy: (k, 4) pixels of the input.
        scores: (k,).
        class_ids: (k,) −1 where there is no box.
        settings: those of the call.

    Returns:
        The same three, of fewer rows, best first.
    """
    kept = (class_ids >= 0) & (scores >= np.float32(settings.confidence))
    if settings.classes is not None:
        kept &= np.isin(class_ids, settings.classes)
    rows = np.flatnonzero(kept)
    rows = rows[best_first(scores[rows], settings.max_detections)]
    return boxes_xyxy[rows], scores[rows], class_ids[rows]


def _list(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _described(shape: Shape) -> str:
    return f"({', '.join('?' if n is None else str(n) for n in shape)})"
