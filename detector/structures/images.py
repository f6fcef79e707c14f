"""Images in every form that programs hold them in, made the one array that the rest works on.

Neither Pillow nor torch is imported for the sake of an image that is not of theirs, so that both
may be missing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from detector.utils.errors import DetectorError
from detector.utils.opencv import MAX_IMAGE_PIXELS, Image, decode_image, read_image


class PillowImage(Protocol):
    """The part of ``PIL.Image.Image`` that is used here."""

    @property
    def mode(self) -> str:
        """Which channels it has, e.g. ``RGBA``."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        ...

    def convert(self, mode: str, /) -> Any:
        """Return it with other channels."""
        ...


class TorchTensor(Protocol):
    """The part of ``torch.Tensor`` that is used here."""

    @property
    def shape(self) -> Any:
        """Length of each dimension."""
        ...

    def detach(self) -> Any:
        """Return it without a gradient."""
        ...


ImageLike = str | Path | bytes | NDArray[Any] | PillowImage | TorchTensor
"""An image file's path, the bytes of one, a numpy array, a Pillow image, or a torch tensor."""


def to_rgb(image: ImageLike, *, bgr: bool = False) -> Image:
    """Return an image in any of its forms as an (h, w, 3) uint8 RGB array.

    Files and their bytes are decoded as everywhere here, Pillow images as Pillow decoded them; the
    EXIF orientation is applied to both. Transparency is left out, of 16 bits the upper 8 are taken,
    and grey becomes three equal channels, whichever way an image comes in.

    Args:
        image: a path; the bytes of an image file; a Pillow image of any mode but LAB and F;
            a uint8 array, (h, w, 3) or grey (h, w); a torch tensor (3, h, w) in RGB order, uint8
            or floating-point numbers in 0..1.
        bgr: arrays are in OpenCV's order, blue first. Other forms say their order themselves.

    Returns:
        A new array, or the array that was given where that is what is returned.

    Raises:
        DetectorError: it is nothing of these, or cannot be decoded; says what was found.
    """
    if isinstance(image, (str, Path)):
        return read_image(image)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return decode_image(bytes(image), "image bytes")
    if isinstance(image, np.ndarray):
        return _from_array(image, bgr)
    if _is_of(image, "torch", "Tensor"):
        return _from_tensor(image)
    if _is_of(image, "PIL.Image", "Image"):
        return _from_pillow(image)
    raise DetectorError(
        "expected an image as path, bytes of a file, numpy array, Pillow image or torch tensor, "
        f"found {type(image).__name__}"
    )


def _is_of(value: object, module: str, name: str) -> bool:
    """Tell whether a value is of a library's class; a library that is not loaded has no values."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(value, kind)


def _from_array(array: NDArray[Any], bgr: bool) -> Image:
    is_grey = array.ndim == 2
    if array.dtype != np.uint8 or not array.size or not (is_grey or array.shape[2:] == (3,)):
        raise DetectorError(
            f"expected a uint8 array of shape (h, w, 3) or (h, w), found {array.dtype} of shape "
            f"{array.shape}"
        )
    if is_grey:
        return np.repeat(array[..., None], 3, -1)
    return np.ascontiguousarray(array[..., ::-1]) if bgr else array


def _from_tensor(tensor: Any) -> Image:
    values = tensor.detach().cpu()
    shape, is_float = tuple(values.shape), values.is_floating_point()
    is_bytes = str(values.dtype) == "torch.uint8"
    if len(shape) != 3 or shape[0] != 3 or not values.numel() or not (is_bytes or is_float):
        raise DetectorError(
            "expected a tensor of shape (3, h, w), uint8 or floating-point numbers in 0..1, found "
            f"{values.dtype} of shape {shape}"
        )
    if is_float:
        values = values.float()
        least, most = float(values.min()), float(values.max())
        if not 0 <= least <= most <= 1:  # nor NaN
            raise DetectorError(
                f"expected a tensor of numbers in 0..1, found {least:.4g} to {most:.4g}; "
                "normalized images are not taken"
            )
        values = (values * 255).round().byte()
    return np.ascontiguousarray(values.permute(1, 2, 0).numpy())


def _from_pillow(image: Any) -> Image:
    from PIL import ImageOps

    width, height = image.size
    if not 0 < width * height <= MAX_IMAGE_PIXELS:
        raise DetectorError(
            f"a Pillow image of {width}×{height} pixels, expected 1 to {MAX_IMAGE_PIXELS} in all"
        )
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):  # Pillow would clip them to 255
            return _from_wide(np.asarray(upright))
        if upright.mode == "F":
            raise ValueError("its numbers have no known range")
        return np.array(upright.convert("RGB"), np.uint8)
    except (OSError, SyntaxError, ValueError) as error:  # a file that Pillow reads only now
        reason = " ".join(str(error).split())
        raise DetectorError(
            f"a Pillow image of mode {image.mode!r} cannot be made RGB: {reason}"
        ) from error


def _from_wide(grey: NDArray[Any]) -> Image:
    """The upper 8 of 16 bits, as OpenCV takes them of a file."""
    if grey.min() < 0 or grey.max() > 0xFFFF:
        raise ValueError("its numbers are outside 0..65535")
    return np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, -1)
