"""Network inputs written to files for another machine; ``returned.py`` scores its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydantic

from detector.runtime.backends.backend import OUTPUTS, Backend
from detector.runtime.backends.exported import INPUT, ExportedBackend
from detector.runtime.decoding.known import KnownDecoding
from detector.structures.preprocess import Preprocess, PreprocessKeys
from detector.structures.samples import Sample
from detector.utils.errors import DetectorError, MissingFileError
from detector.utils.files import atomic, read_limited, write_text
from detector.utils.yaml_file import Strict, explain

LIST_NAME = "inputs.json"

MAX_PREDICTION_BYTES = 1 << 32
"""Maximum size of a JSON file of inputs or predictions: 4 GiB, some 40 million boxes."""


class ListedImage(Strict):
    """One network input in the list.

    Attributes:
        image_id: id of the image.
        file: name of the input's file.
        image: file name of the image.
        size_hw: size of the image, pixels.
        scale_xy: factors from image to input pixels.
        offset_xy: place of the image's corner in the input, pixels.
    """

    image_id: int
    file: str
    image: str
    size_hw: tuple[int, int]
    scale_xy: tuple[float, float]
    offset_xy: tuple[float, float]


class InputList(Strict):
    """Content of the list beside the inputs.

    Attributes:
        input: name of the network's input.
        outputs: names of the expected outputs.
        decoding: how they encode boxes and scores; None if they are boxes and scores.
        names: class names.
        preprocess: preprocessing that was applied to the images.
        images: the inputs, in the order of the evaluation set.
    """

    input: str
    outputs: tuple[str, ...]
    decoding: KnownDecoding | None = None
    names: tuple[str, ...]
    preprocess: Preprocess
    images: tuple[ListedImage, ...]

    @classmethod
    def read(cls, folder: Path) -> InputList:
        """Read the list in a folder.

        Raises:
            DetectorError: the list is missing or invalid.
        """
        path = folder / LIST_NAME
        try:
            content = read_limited(path, MAX_PREDICTION_BYTES, "a list of inputs")
            return cls.model_validate_json(content)
        except MissingFileError as error:
            raise DetectorError(
                f"{error.message}; outputs are scored beside the list that --dump-inputs wrote",
                file=path,
            ) from error
        except pydantic.ValidationError as error:
            issue = explain(cls, error.errors()[0])
            raise DetectorError(f"not a list of inputs: {issue}", file=path) from error

    def check(self, backend: Backend, samples: Sequence[Sample], file: Path) -> None:
        """Raise unless the inputs are these images, preprocessed for this network.

        The input size may differ, since a network may be run at several sizes.

        Raises:
            DetectorError: class names, preprocessing or images differ.
        """
        if self.names != backend.names:
            raise DetectorError("its class names are not those of the weights", file=file)
        for key in PreprocessKeys.model_fields:
            found, expected = getattr(self.preprocess, key), getattr(backend.preprocess, key)
            if found != expected:
                message = f"{key} is {found!r}, the weights say {expected!r}"
                raise DetectorError(message, file=file)
        if len(self.images) != len(samples):
            message = f"lists {len(self.images)} images, the split has {len(samples)}"
            raise DetectorError(message, file=file)
        for image, sample in zip(self.images, samples, strict=True):
            if (image.image_id, image.image) != (sample.image_id, sample.path.name):
                raise DetectorError(
                    f"lists {image.image!r} with image_id {image.image_id}, where the split has "
                    f"{sample.path.name!r} with {sample.image_id}",
                    file=file,
                )


def dump_inputs(folder: Path, samples: Sequence[Sample], backend: Backend) -> None:
    """Write the input for each image as a (1, 3, h, w) float32 ``.npy``, and a list of them.

    The outputs for ``7.npy`` are expected in ``7.npz``, with the array names under ``outputs`` in
    the list; or the outputs for all images in one ``.npz``, in the order of the list. A copy of the
    list must lie beside them.
    """
    preprocess = backend.preprocess
    images = []
    for sample in samples:
        image, placement = preprocess.fit(sample.read_image())
        name = f"{sample.image_id}.npy"
        with atomic(folder / name) as temporary:
            np.save(temporary, preprocess.normalize(image[None]))
        images.append(
            ListedImage(
                image_id=sample.image_id,
                file=name,
                image=sample.path.name,
                size_hw=placement.image_size_hw,
                scale_xy=placement.scale_xy,
                offset_xy=placement.offset_xy,
            )
        )
    metadata = backend.metadata if isinstance(backend, ExportedBackend) else None
    listed = InputList(
        input=INPUT,
        outputs=tuple(metadata.outputs if metadata else OUTPUTS[backend.task]),
        decoding=metadata.decoding if metadata else None,
        names=backend.names,
        preprocess=preprocess,
        images=tuple(images),
    )
    write_text(folder / LIST_NAME, listed.model_dump_json(indent=1) + "\n")
