"""Training transforms of YOLO heads: mosaic, affine transform, flips, color jitter, albumentations.

All geometric transforms (fit, mosaic, rotation, scale, shear, translation, flips) are multiplied
into one 3×3 matrix for each source image, so that its pixels are interpolated once; large images
have been shrunk before, when they were decoded. Matrices act on continuous coordinates, as boxes
do: pixel i covers i … i + 1.
"""

from __future__ import annotations

import inspect
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pydantic
from numpy.typing import NDArray

from detector.settings.heads import AugmentSettings, ColorSettings
from detector.structures.preprocess import Preprocess
from detector.utils.errors import DetectorError, nearest, one_line
from detector.utils.opencv import Image, cv2
from detector.utils.yaml_file import explain

MIN_BOX_PIXELS = 2.0
"""Shortest side of a warped and clipped box that remains a target, pixels; it must exceed this."""

MIN_AREA_LEFT = 0.1
"""Fraction of its area that clipping must leave of a box that remains a target."""

MAX_ASPECT = 100.0
"""Ratio of longer to shorter side below which a box remains a target."""

MOSAIC_IMAGES = 4

TRIES = 10
"""Number of times that a further transform is tried: one may change the size by chance only, as a
random turn by 90° does to images that are not square."""

Matrix = NDArray[np.float64]
Generator = np.random.Generator


@dataclass(frozen=True)
class Example:
    """An image, (h, w, 3) uint8 RGB, with its (n, 4) float32 boxes, pixels, and (n,) class ids."""

    image: Image
    boxes_xyxy: NDArray[np.float32]
    class_ids: NDArray[np.int64]


@dataclass(frozen=True)
class Mixing:
    """Probabilities that an example is made of more than one image.

    Attributes:
        mosaic: probability of a mosaic of four images.
        copy_paste: probability that boxes of another example are pasted.
        mixup: probability that another example is blended in.
        close_epochs: number of last epochs in which each example is made of one image.
    """

    mosaic: float = 0.0
    copy_paste: float = 0.0
    mixup: float = 0.0
    close_epochs: int = 0


class Augment:
    """Augmentation of images with boxes; a call draws all randomness from its generator.

    Args:
        settings: probabilities and ranges.
        preprocess: gives the input's size, and the gray level of pixels that no image covers.
    """

    source_scale = 1

    def __init__(self, settings: AugmentSettings, preprocess: Preprocess) -> None:
        self.settings = settings
        self.mixing = Mixing(
            settings.mosaic, settings.copy_paste, settings.mixup, settings.close_mixing
        )
        self.size_hw = preprocess.size_hw
        self.pad_value = preprocess.pad_value
        self.further = further_transforms(settings.albumentations, self.size_hw)

    def __call__(self, examples: Sequence[Example], rng: Generator) -> Example:
        """Return a training example from one image, or from four as a mosaic."""
        if len(examples) == 1:
            placements = [fit_matrix(examples[0].image.shape, self.size_hw)]
            canvas_hw = self.size_hw
        else:
            canvas_hw = (2 * self.size_hw[0], 2 * self.size_hw[1])
            shapes = [example.image.shape for example in examples]
            placements = mosaic_matrices(shapes, self.size_hw, rng)
        change = random_matrix(self.settings, canvas_hw, self.size_hw, rng)
        matrices = [change @ placement for placement in placements]
        images = [example.image for example in examples]
        image = warp(images, matrices, self.size_hw, self.pad_value)
        boxes_xyxy, class_ids = warp_boxes(examples, matrices, self.size_hw)
        image = jitter_colors(image, self.settings, rng)
        example = Example(image, boxes_xyxy, class_ids)
        return example if self.further is None else self.further(example, rng)


# ---------------------------------------------------------------------------------------- matrices


def fit_matrix(image_shape: Sequence[int], size_hw: tuple[int, int]) -> Matrix:
    """Return the matrix that scales an image to fit a size, aspect ratio kept, and centers it."""
    height, width = image_shape[:2]
    ratio = min(size_hw[0] / height, size_hw[1] / width)
    left, top = (size_hw[1] - width * ratio) / 2, (size_hw[0] - height * ratio) / 2
    return np.array([[ratio, 0, left], [0, ratio, top], [0, 0, 1]])


def mosaic_matrices(
    shapes: Sequence[Sequence[int]], size_hw: tuple[int, int], rng: Generator
) -> list[Matrix]:
    """Return matrices that place four images around a random point of a canvas of twice the size.

    Each image is fitted to ``size_hw`` and touches the point with one corner; the images lie at its
    top left, top right, bottom left and bottom right. The point lies in the canvas's middle half.
    """
    height, width = size_hw
    x, y = rng.uniform(width / 2, 1.5 * width), rng.uniform(height / 2, 1.5 * height)
    matrices: list[Matrix] = []
    for position, shape in enumerate(shapes):
        matrix = fit_matrix(shape, size_hw)
        ratio = matrix[0, 0]
        matrix[0, 2] = x if position % 2 else x - shape[1] * ratio
        matrix[1, 2] = y if position // 2 else y - shape[0] * ratio
        matrices.append(matrix)
    return matrices


def random_matrix(
    settings: AugmentSettings, canvas_hw: tuple[int, int], size_hw: tuple[int, int], rng: Generator
) -> Matrix:
    """Return a random matrix canvas → input: rotate, scale, shear about the center, shift, flip."""
    height, width = size_hw
    # Draw every number whatever the settings: changing one must not change the draws of others.
    angle, zoom, shear_x, shear_y, shift_x, shift_y = rng.uniform(-1, 1, 6)
    flip_x, flip_y = rng.random(2) < (settings.fliplr, settings.flipud)
    angle = math.radians(angle * settings.degrees)
    zoom = 1 + zoom * settings.scale
    shear = [math.tan(math.radians(value * settings.shear)) for value in (shear_x, shear_y)]
    centre = _shift(-canvas_hw[1] / 2, -canvas_hw[0] / 2)
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    slant = np.array([[1, shear[0], 0], [shear[1], 1, 0], [0, 0, 1]])
    place = _shift(
        (0.5 + shift_x * settings.translate) * width, (0.5 + shift_y * settings.translate) * height
    )
    flip = np.diag([1.0 - 2 * flip_x, 1.0 - 2 * flip_y, 1.0])
    flip[:2, 2] = width * flip_x, height * flip_y
    return np.asarray(flip @ place @ slant @ turn @ centre, np.float64)


def _shift(x: float, y: float) -> Matrix:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


# ----------------------------------------------------------------------------------------- warping


def warp(
    images: Sequence[Image], matrices: Sequence[Matrix], size_hw: tuple[int, int], pad_value: int
) -> Image:
    """Warp each image by its matrix onto one canvas; later images cover earlier ones."""
    canvas = np.full((*size_hw, 3), pad_value, np.uint8)
    for image, matrix in zip(images, matrices, strict=True):
        height, width = image.shape[:2]
        corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]])
        points = corners @ matrix[:2].T
        x1, y1 = np.maximum(np.floor(points.min(0)).astype(int) - 1, 0)
        x2, y2 = np.minimum(np.ceil(points.max(0)).astype(int) + 1, size_hw[::-1])
        if x2 <= x1 or y2 <= y1:
            continue
        # OpenCV puts pixel centers at whole numbers, half a pixel below ours: shift on both sides.
        local = _shift(-x1 - 0.5, -y1 - 0.5) @ matrix @ _shift(0.5, 0.5)
        cv2.warpAffine(
            image,
            local[:2],
            (int(x2 - x1), int(y2 - y1)),
            dst=canvas[y1:y2, x1:x2],
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_TRANSPARENT,
        )
    return canvas


def warp_boxes(
    examples: Sequence[Example], matrices: Sequence[Matrix], size_hw: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Warp and clip the boxes of all examples; return those worth keeping, with their classes."""
    warped = [
        transform_boxes(example.boxes_xyxy, matrix)
        for example, matrix in zip(examples, matrices, strict=True)
    ]
    whole = np.concatenate(warped)
    clipped = whole.clip(0, np.tile(size_hw[::-1], 2))
    keep = worth_keeping(whole, clipped)
    class_ids = np.concatenate([example.class_ids for example in examples])
    return clipped[keep].astype(np.float32), class_ids[keep]


def transform_boxes(boxes_xyxy: NDArray[np.float32], matrix: Matrix) -> NDArray[np.float64]:
    """Return the boxes around the warped corners of boxes: (n, 4) → (n, 4).

    >>> transform_boxes(np.array([[1, 2, 3, 4]], np.float32), np.diag([2.0, 3.0, 1.0]))
    array([[ 2.,  6.,  6., 12.]])
    """
    corners = boxes_xyxy[:, [0, 1, 2, 1, 0, 3, 2, 3]].reshape(-1, 4, 2)
    points = corners @ matrix[:2, :2].T + matrix[:2, 2]
    return np.concatenate((points.min(1), points.max(1)), 1)


def worth_keeping(whole: NDArray[np.float64], clipped: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which boxes remain targets: (n, 4) before and (n, 4) after clipping → (n,) bool."""
    sizes, before = clipped[:, 2:] - clipped[:, :2], whole[:, 2:] - whole[:, :2]
    shorter, longer = sizes.min(1), sizes.max(1)
    return np.asarray(
        (shorter > MIN_BOX_PIXELS)
        & (sizes.prod(1) > MIN_AREA_LEFT * before.prod(1))
        & (longer < MAX_ASPECT * shorter)
    )


# ----------------------------------------------------------------------------------------- colors


def jitter_colors(image: Image, settings: ColorSettings, rng: Generator) -> Image:
    """Shift the hue and scale saturation and brightness, each at random within its setting."""
    hue, saturation, value = rng.uniform(-1, 1, 3) * (
        settings.hsv_h,
        settings.hsv_s,
        settings.hsv_v,
    )
    if not (hue or saturation or value):
        return image
    levels = np.arange(256)
    table = np.empty((1, 256, 3), np.uint8)
    table[0, :, 0] = (levels + 180 * hue).round() % 180  # OpenCV's hue: half degrees
    table[0, :, 1] = (levels * (1 + saturation)).clip(0, 255)
    table[0, :, 2] = (levels * (1 + value)).clip(0, 255)
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), table)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


# ------------------------------------------------------------------------- albumentations, by name


def further_transforms(
    settings: Sequence[Mapping[str, Any]], size_hw: tuple[int, int]
) -> Callable[[Example, Generator], Example] | None:
    """Build transforms of albumentations from a list such as ``[{name: Blur, p: 0.1}]``.

    Each name is a transform's class, and the other keys are arguments of its constructor.

    Returns:
        A function of an example and a generator, or None for an empty list.

    Raises:
        DetectorError: albumentations is missing; an unknown name or argument; a value that the
            transform refuses; a transform that changes the image's size.
    """
    if not settings:
        return None
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else it looks for a newer version online
    try:
        import albumentations
    except ImportError as error:
        raise DetectorError(
            f"albumentations: cannot be imported ({error}); install repdet[train]"
        ) from error
    known = {
        name: kind
        for name, kind in vars(albumentations).items()
        if inspect.isclass(kind)
        and issubclass(kind, albumentations.BasicTransform)
        and not inspect.isabstract(kind)
        and kind.__module__ != "albumentations.core.transforms_interface"
    }
    transforms = [_transform(known, entry, index) for index, entry in enumerate(settings)]
    for index, transform in enumerate(transforms):
        _try(transform, settings[index], index, size_hw)
    return _Further(albumentations, transforms)


class _Further:
    """Albumentations transforms applied to an example."""

    def __init__(self, albumentations: Any, transforms: Sequence[Any]) -> None:
        boxes = albumentations.BboxParams(
            "pascal_voc", label_fields=["class_ids"], clip=True, min_visibility=MIN_AREA_LEFT
        )
        self.moves_boxes = any(isinstance(t, albumentations.DualTransform) for t in transforms)
        self.compose = albumentations.Compose(
            transforms, bbox_params=boxes if self.moves_boxes else None
        )

    def __call__(self, example: Example, rng: Generator) -> Example:
        self.compose.set_random_seed(int(rng.integers(2**31)))
        if not self.moves_boxes:
            return replace(example, image=self.compose(image=example.image)["image"])
        result = self.compose(
            image=example.image, bboxes=example.boxes_xyxy, class_ids=example.class_ids
        )
        boxes = np.asarray(result["bboxes"], np.float64).reshape(-1, 4)
        class_ids = np.asarray(result["class_ids"], np.int64)
        keep = worth_keeping(boxes, boxes)  # albumentations has checked the area that is left
        image = np.ascontiguousarray(result["image"])
        return Example(image, boxes[keep].astype(np.float32), class_ids[keep])


def _transform(known: Mapping[str, Any], entry: Mapping[str, Any], index: int) -> Any:
    where, name = f"albumentations[{index}]", entry.get("name")
    if not isinstance(name, str):
        raise DetectorError(f"{where}: no name, expected e.g. {{name: Blur, p: 0.1}}")
    if name not in known:
        raise DetectorError(f"{where}: unknown transform {name!r}{nearest(name, known)}")
    arguments = {key: value for key, value in entry.items() if key != "name"}
    accepted = list(inspect.signature(known[name]).parameters)
    unknown = next((key for key in arguments if key not in accepted), None)
    if unknown is not None:
        hint = nearest(unknown, accepted) or f"; it has {', '.join(accepted)}"
        raise DetectorError(f"{where}: {name} has no argument {unknown!r}{hint}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            return known[name](**arguments)
    except (ValueError, TypeError, UserWarning) as error:
        raise DetectorError(f"{where}: {name}: {_reason(error)}") from error


def _try(transform: Any, entry: Mapping[str, Any], index: int, size_hw: tuple[int, int]) -> None:
    """Apply a transform some times, so that its errors appear before training."""
    probability, transform.p = transform.p, 1.0
    image = np.zeros((*size_hw, 3), np.uint8)
    try:
        results = [
            transform(image=image, bboxes=np.zeros((0, 6), np.float32))["image"]
            for _ in range(TRIES)
        ]
    except Exception as error:  # any error of albumentations, given arguments from a file
        message = f"albumentations[{index}]: {entry['name']}: {_reason(error)}"
        raise DetectorError(message) from error
    finally:
        transform.p = probability
    for result in results:
        if result.shape != image.shape or result.dtype != np.uint8:
            raise DetectorError(
                f"albumentations[{index}]: {entry['name']} gives {result.shape} {result.dtype} "
                f"images, expected {image.shape} uint8"
            )


def _reason(error: BaseException) -> str:
    """Return one line on why a transform was refused; of pydantic's errors, the first."""
    if isinstance(error.__cause__, pydantic.ValidationError):
        return explain(pydantic.BaseModel, error.__cause__.errors()[0])
    return one_line(error)
