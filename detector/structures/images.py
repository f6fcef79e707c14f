"""Conversion of images in any common form to one: an (h, w, 3) uint8 RGB array.

Pillow and torch are used only for images of their own types, so either may be missing.
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
    """The interface of ``PIL.Image.Image`` that is used here."""

    @property
    def mode(self) -> str:
        """Pillow's name for the image's channels, e.g. ``RGBA``."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        ...

    def convert(self, mode: str, /) -> Any:
        """Return the image in another mode."""
        ...


class TorchTensor(Protocol):
    """The interface of ``torch.Tensor`` that is used here."""

    @property
    def shape(self) -> Any:
        """Length of each dimension."""
        ...

    def detach(self) -> Any:
        """Return the tensor without its gradient."""
        ...


ImageLike = str | Path | bytes | NDArray[Any] | PillowImage | TorchTensor
"""Path or bytes of an image file, numpy array, Pillow image, or torch tensor."""


def to_rgb(image: ImageLike, *, bgr: bool = False) -> Image:
    """Convert an image in any supported form to an (h, w, 3) uint8 RGB array.

    Files and bytes are decoded by ``detector/utils/opencv.py``; Pillow images are taken as Pillow
    decoded them. The EXIF orientation is applied to both. In every form, transparency is dropped,
    16-bit values keep their upper 8 bits, and gray becomes three equal channels.

    Args:
        image: a path; the bytes of an image file; a Pillow image of any mode but LAB and F;
            a uint8 array, (h, w, 3) or gray (h, w); a torch tensor (3, h, w) in RGB order, uint8
            or floating-point numbers in 0..1.
        bgr: True if arrays are in OpenCV's channel order, BGR; does not affect other forms.

    Returns:
        A new array, or the argument itself if it is such an array already.

    Raises:
        DetectorError: an unsupported type, shape or value range, or a file that cannot be decoded.
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
    """Return True if a value is an instance of a library's class, without importing the library."""
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
        if not 0 <= least <= most <= 1:  # False for NaN too
            raise DetectorError(
                f"expected a tensor of numbers in 0..1, found {least:.4g} to {most:.4g}; "
                "normalized images are not accepted"
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
        if upright.mode.startswith("I"):  # Pillow would clip values at 255
            return _from_wide(np.asarray(upright))
        if upright.mode == "F":
            raise ValueError("its values have no known range")
        return np.array(upright.convert("RGB"), np.uint8)
    except (OSError, SyntaxError, ValueError) as error:  # Pillow may read the file only now
        reason = " ".join(str(error).split())
        raise DetectorError(
            f"a Pillow image of mode {image.mode!r} cannot be converted to RGB: {reason}"
        ) from error


def _from_wide(grey: NDArray[Any]) -> Image:
    """Convert 16-bit gray to RGB by its upper 8 bits, as OpenCV does for files."""
    if grey.min() < 0 or grey.max() > 0xFFFF:
        raise ValueError("its values are outside 0..65535")
    return np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, -1)
