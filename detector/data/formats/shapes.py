"""The built-in data set, generated: circles, squares, triangles and stars on textured backgrounds.

Drawn with OpenCV from a seed in seconds, as ordinary images with YOLO txt labels. Each image
depends only on the seed, the split's name and the image's number.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detector.utils.errors import DetectorError
from detector.utils.opencv import Image, cv2
from detector.utils.yaml_file import Strict

CLASSES = ("circle", "square", "triangle", "star")
MIN_SIDE, MAX_SIDE = 0.08, 0.6
"""Range of a box's sides, as fractions of the image's side."""

MIN_VISIBLE = 0.6
"""Fraction of an object's area that later objects must leave visible."""

MAX_OBJECTS = 8

MIN_CONTRAST = 70.0
"""Distance in RGB that an object's color should keep from four fifths of the pixels it covers."""

PLACEMENT_TRIES = 40
COLOR_TRIES = 12

DRAWING_VERSION = 1
"""Version of the drawing, part of the folder's name. Increase it whenever the images change."""

SUBPIXEL_BITS = 4
CACHE_FOLDER = Path("runs/datasets")

Generator = np.random.Generator
Mask = NDArray[np.bool_]
Points = NDArray[np.float64]
Pixels = NDArray[np.float32]


class ShapesSettings(Strict):
    """Parameters of the built-in data set; equal parameters give equal images."""

    name: Literal["shapes"] = "shapes"
    image_size: Annotated[int, Field(ge=64, le=2048)] = Field(
        192, description="side of an image, pixels"
    )
    images: dict[str, Annotated[int, Field(ge=1, le=100_000)]] = Field(
        {"train": 400, "val": 100}, description="number of images per split"
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="seed of every random choice")


def draw_set(settings: ShapesSettings, cache: Path = CACHE_FOLDER) -> Path:
    """Return the folder of the data set, which is drawn first if it does not exist.

    The folder appears complete or not at all.

    Raises:
        DetectorError: the folder cannot be written.
    """
    folder = cache / f"shapes-{_fingerprint(settings)}"
    if folder.is_dir():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=cache))
    except OSError as error:
        raise DetectorError(f"cannot be written: {error.strerror}", file=cache) from error
    try:
        for split, count in settings.images.items():
            _draw_split(settings, split, count, temporary)
        temporary.chmod(0o755)
        _put_in_place(temporary, folder)
    except OSError as error:
        raise DetectorError(f"cannot be written: {error.strerror}", file=folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def draw_image(rng: Generator, size: int) -> tuple[Image, Pixels, NDArray[np.int64], list[Mask]]:
    """Draw one square image.

    Returns:
        The (size, size, 3) image; (n, 4) xyxy boxes, pixels, tight around the pixels of each
        object; (n,) class ids; and the n masks of whole objects, in drawing order.
    """
    image = _background(rng, size)
    owners = np.full((size, size), -1, np.int16)
    masks: list[Mask] = []
    class_ids: list[int] = []
    wanted = int(rng.integers(1, MAX_OBJECTS + 1))
    for _ in range(wanted * PLACEMENT_TRIES):
        if len(masks) == wanted:
            break
        class_id = int(rng.integers(len(CLASSES)))
        coverage = _coverage(_outline(rng, class_id, size), size)
        mask = coverage > 0.5
        if not _sides_fit(mask) or not _leaves_all_visible(mask, owners, masks):
            continue
        _paint(rng, image, coverage, mask)
        owners[mask] = len(masks)
        masks.append(mask)
        class_ids.append(class_id)
    if not masks:  # every try missed: very unlikely, and an image must have an object
        return draw_image(rng, size)
    _finish(rng, image)
    boxes = np.array([tight_box(mask) for mask in masks], np.float32)
    return image.round().clip(0, 255).astype(np.uint8), boxes, np.array(class_ids), masks


def tight_box(mask: Mask) -> tuple[int, int, int, int]:
    """Return the corners of the smallest box around a mask's pixels.

    >>> tight_box(np.array([[0, 0, 0], [0, 1, 1]], bool))
    (1, 1, 3, 2)
    """
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


# ------------------------------------------------------------------------------------- files


def _fingerprint(settings: ShapesSettings) -> str:
    text = f"{DRAWING_VERSION} {settings.model_dump_json()}"
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _draw_split(settings: ShapesSettings, split: str, count: int, folder: Path) -> None:
    images, labels = folder / "images" / split, folder / "labels" / split
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    size = settings.image_size
    for number in range(count):
        rng = np.random.default_rng([settings.seed, zlib.crc32(split.encode()), number])
        image, boxes, class_ids, _ = draw_image(rng, size)
        # The folder is renamed when complete, so its files need no atomic writes.
        _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        (images / f"{number:05}.png").write_bytes(png.tobytes())
        text = yolo_rows(boxes, class_ids, size)
        (labels / f"{number:05}.txt").write_text(text, encoding="utf-8")


def yolo_rows(boxes_xyxy: Pixels, class_ids: NDArray[np.int64], size: int) -> str:
    r"""Return the YOLO label rows of a square image.

    >>> yolo_rows(np.array([[0, 0, 50, 100]], np.float32), np.array([3]), 100)
    '3 0.250000 0.500000 0.500000 1.000000\n'
    """
    return "".join(
        f"{class_id} {(x1 + x2) / 2 / size:.6f} {(y1 + y2) / 2 / size:.6f} "
        f"{(x2 - x1) / size:.6f} {(y2 - y1) / size:.6f}\n"
        for class_id, (x1, y1, x2, y2) in zip(class_ids, boxes_xyxy, strict=True)
    )


def _put_in_place(temporary: Path, folder: Path) -> None:
    try:
        os.replace(temporary, folder)
    except OSError:
        if not folder.is_dir():  # else another process has drawn the same set in the meantime
            raise


# --------------------------------------------------------------------------------- background


def _background(rng: Generator, size: int) -> Pixels:
    """Draw a gradient, a texture and distracting lines; return (size, size, 3) RGB floats."""
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    angle = rng.uniform(0, 2 * math.pi)
    ramp = 0.5 + 0.35 * (x * math.cos(angle) + y * math.sin(angle))
    one, other = (_color(rng, saturation=0.45) for _ in range(2))
    image = np.asarray(one + (other - one) * ramp[..., None], np.float32)
    texture = _TEXTURES[int(rng.integers(len(_TEXTURES)))](rng, x, y)
    strength = rng.uniform(10, 26) * rng.uniform(0.6, 1.4, 3)
    image += texture[..., None] * strength.astype(np.float32)
    image.clip(0, 255, out=image)
    for _ in range(int(rng.integers(0, 7))):
        _distract(rng, image)
    return image


def _stripes(rng: Generator, x: Pixels, y: Pixels) -> Pixels:
    angle, frequency = rng.uniform(0, math.pi), rng.uniform(8, 40)
    wave = np.sin(frequency * (x * math.cos(angle) + y * math.sin(angle)))
    return np.asarray(np.sign(wave) if rng.random() < 0.4 else wave, np.float32)


def _checks(rng: Generator, x: Pixels, y: Pixels) -> Pixels:
    frequency, angle = rng.uniform(6, 20), rng.uniform(0, math.pi)
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    return np.asarray(0.7 * np.sign(np.sin(frequency * u) * np.sin(frequency * v)), np.float32)


def _clouds(rng: Generator, x: Pixels, y: Pixels) -> Pixels:
    total = np.zeros_like(x)
    for cells in (4, 9, 21):
        coarse = rng.standard_normal((cells, cells), np.float32)
        smooth = cv2.resize(coarse, x.shape[::-1], interpolation=cv2.INTER_CUBIC)
        total += smooth * np.float32(5 / (cells + 2))
    return total


def _grain(rng: Generator, x: Pixels, y: Pixels) -> Pixels:
    noise = 2 * rng.standard_normal(x.shape, np.float32)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.6, 1.6)), np.float32)


_TEXTURES: tuple[Callable[[Generator, Pixels, Pixels], Pixels], ...] = (
    _stripes,
    _checks,
    _clouds,
    _grain,
)


def _distract(rng: Generator, image: Pixels) -> None:
    """Draw one thin line or arc that is not an object."""
    size = len(image)
    color, thickness = _color(rng).tolist(), int(rng.integers(1, 3))
    a, b = (tuple(rng.integers(0, size, 2).tolist()) for _ in range(2))
    if rng.random() < 0.6:
        cv2.line(image, a, b, color, thickness, cv2.LINE_AA)
    else:
        axes = tuple(rng.integers(size // 6, size, 2).tolist())
        start = rng.uniform(0, 360)
        cv2.ellipse(image, a, axes, 0, start, start + rng.uniform(30, 110), color, thickness)


def _finish(rng: Generator, image: Pixels) -> None:
    """Blur slightly and add camera noise, over objects and background alike."""
    if rng.random() < 0.5:
        cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.9), dst=image)
    image += rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(2, 9))


def _color(rng: Generator, saturation: float = 0.9) -> Pixels:
    """Return a random RGB color, 0 … 255."""
    hue = rng.uniform(0, 6) + np.array([5.0, 3.0, 1.0])
    strength, value = rng.uniform(0, saturation), rng.uniform(50, 245)
    k = hue % 6
    color = value * (1 - strength * np.clip(np.minimum(k, 4 - k), 0, 1))
    return color.astype(np.float32)


# ------------------------------------------------------------------------------------ objects


def _outline(rng: Generator, class_id: int, size: int) -> Points:
    """Return the corners of an object at random position, scale and rotation, (k, 2) pixels."""
    points = _UNIT_OUTLINES[CLASSES[class_id]]
    angle, stretch = rng.uniform(0, 2 * math.pi), math.exp(rng.uniform(-0.08, 0.08))
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    points = points * [stretch, 1 / stretch] @ turn
    low, high = points.min(0), points.max(0)
    side = math.exp(rng.uniform(math.log(MIN_SIDE), math.log(MAX_SIDE))) * size
    points = (points - low) * (side / (high - low).max())
    room = size - 1 - points.max(0)
    return np.asarray(points + rng.uniform(0, room), np.float64)


def _polygon(corners: int, inner: float = 1.0) -> Points:
    """Return corners on the unit circle, every second one at an inner radius."""
    angles = np.arange(corners) * (2 * math.pi / corners)
    radii = np.where(np.arange(corners) % 2, inner, 1.0)
    return np.asarray(np.stack((np.cos(angles), np.sin(angles)), 1) * radii[:, None])


_UNIT_OUTLINES = {
    "circle": _polygon(96),
    "square": _polygon(4),
    "triangle": _polygon(3),
    "star": _polygon(10, inner=0.45),
}


def _coverage(outline: Points, size: int) -> Pixels:
    """Return the fraction of each pixel inside an outline, 0 … 1, antialiased at the edges."""
    layer = np.zeros((size, size), np.uint8)
    corners = (outline * 2**SUBPIXEL_BITS).round().astype(np.int32)
    cv2.fillPoly(layer, [corners], 255, cv2.LINE_AA, SUBPIXEL_BITS)
    return np.asarray(layer / 255, np.float32)


def _sides_fit(mask: Mask) -> bool:
    if not mask.any():
        return False
    x1, y1, x2, y2 = tight_box(mask)
    sides = (x2 - x1) / mask.shape[1], (y2 - y1) / mask.shape[0]
    return bool(min(sides) >= MIN_SIDE and max(sides) <= MAX_SIDE)


def _leaves_all_visible(mask: Mask, owners: NDArray[np.int16], masks: list[Mask]) -> bool:
    """Return True if all earlier objects stay visible enough when this one is drawn over them."""
    visible = np.bincount(owners[~mask].ravel() + 1, minlength=len(masks) + 1)[1:]
    return all(
        seen >= MIN_VISIBLE * earlier.sum() for seen, earlier in zip(visible, masks, strict=True)
    )


def _paint(rng: Generator, image: Pixels, coverage: Pixels, mask: Mask) -> None:
    """Fill an object with a contrasting color or gradient, sometimes with a darker edge."""
    x1, y1, x2, y2 = tight_box(mask)
    around = slice(max(y1 - 1, 0), y2 + 1), slice(max(x1 - 1, 0), x2 + 1)
    patch, mask = image[around], mask[around]  # a view: painting it paints the image
    color = _contrasting_color(rng, patch[mask])
    fill = np.tile(color, (*mask.shape, 1))
    if rng.random() < 0.5:
        ramp = np.linspace(-1, 1, len(fill)) * rng.uniform(-30, 30)
        fill += ramp[:, None, None]
    if rng.random() < 0.35:
        inside = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        fill[mask & ~inside] = color * 0.45
    patch += (fill - patch) * coverage[around][..., None]


def _contrasting_color(rng: Generator, beneath: Pixels) -> Pixels:
    """Return a color that differs from most of the (k, 3) pixels that it will cover."""
    pixels = beneath[:: len(beneath) // 200 + 1]
    best, best_distance = _color(rng), 0.0
    for _ in range(COLOR_TRIES):
        color = _color(rng)
        distance = float(np.quantile(np.linalg.norm(pixels - color, axis=1), 0.2))
        if distance > best_distance:
            best, best_distance = color, distance
        if distance >= MIN_CONTRAST:
            break
    return best
