"""The network's inputs, written out for another machine; ``returned.py`` scores what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydantic

from detector.runtime.backends.backend import OUTPUTS, Backend
from detector.runtime.backends.exported import INPUT, ExportedBackend
from detector.structures.preprocess import Preprocess, PreprocessKeys
from detector.structures.samples import Sample
from detector.utils.errors import DetectorError
from detector.utils.files import atomic, write_text
from detector.utils.opencv import read_image
from detector.utils.yaml_file import Strict, explain

LIST_NAME = "inputs.json"


class ListedImage(Strict):
    """One input: its file, the image's name, and how the image lies in it."""

    image_id: int
    file: str
    image: str
    size_hw: tuple[int, int]
    scale_xy: tuple[float, float]
    offset_xy: tuple[float, float]


class InputList(Strict):
    """What the list beside the inputs says.

    Attributes:
        input: the network's input by name.
        outputs: names of what it is expected to give.
        names: of the classes.
        preprocess: how the images became inputs.
        images: one by one, in their order.
    """

    input: str
    outputs: tuple[str, ...]
    names: tuple[str, ...]
    preprocess: Preprocess
    images: tuple[ListedImage, ...]

    @classmethod
    def read(cls, folder: Path) -> InputList:
        """Read the list of a folder.

        Raises:
            DetectorError: there is none, or it is something else.
        """
        path = folder / LIST_NAME
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise DetectorError(
                f"cannot be read: {error.strerror}; outputs are scored beside the list that "
                "--dump-inputs wrote",
                file=path,
            ) from error
        except pydantic.ValidationError as error:
            problem = explain(cls, error.errors()[0])
            raise DetectorError(f"not a list of inputs: {problem}", file=path) from error

    def check(self, backend: Backend, samples: Sequence[Sample], file: Path) -> None:
        """Whether the inputs were these images, for a network like this one.

        Sizes are the list's own: a network may be run at several.

        Raises:
            DetectorError: says what differs.
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
    """Write the input for each image as a (1, 3, h, w) float32 ``.npy``, and their list.

    Outputs for ``7.npy`` are expected as ``7.npz``, with arrays of the names that the list has
    under ``outputs``; or those for all images in one ``.npz``, in the order of the list. The list
    belongs beside them.
    """
    preprocess = backend.preprocess
    images = []
    for sample in samples:
        image, placement = preprocess.fit(read_image(sample.path))
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
    card = backend.metadata if isinstance(backend, ExportedBackend) else None
    listed = InputList(
        input=INPUT,
        outputs=tuple(card.outputs if card else OUTPUTS[backend.task]),
        names=backend.names,
        preprocess=preprocess,
        images=tuple(images),
    )
    write_text(folder / LIST_NAME, listed.model_dump_json(indent=1) + "\n")
