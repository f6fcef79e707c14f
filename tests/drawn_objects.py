"""Draws large images with small, and with large, objects of three shapes, from a seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from detector.utils.opencv import cv2, write_image

NAMES = ("circle", "square", "triangle")
SIDE = 2000
"""Side of an image, pixels."""


def draw_set(
    root: Path, images: dict[str, int], objects: dict[int, int], seed: int = 0, side: int = SIDE
) -> Path:
    """Draw a data set in YOLO's layout.

    Args:
        root: its folder.
        images: number of images of each split.
        objects: number of objects of each size, pixels, in an image; they do not overlap.
        seed: of everything that is drawn.
        side: of the images, pixels.

    Returns:
        The definition.
    """
    rng = np.random.default_rng(seed)
    for split, count in images.items():
        (root / "labels" / split).mkdir(parents=True)
        for number in range(count):
            image, lines = draw_image(rng, objects, side)
            write_image(root / "images" / split / f"{number:03d}.jpg", image)
            (root / "labels" / split / f"{number:03d}.txt").write_text("".join(lines))
    splits = ", ".join(f"{split}: images/{split}" for split in images)
    definition = root / "drawn.yaml"
    definition.write_text(f"names: [{', '.join(NAMES)}]\nsplits: {{{splits}}}\n")
    return definition


def draw_image(
    rng: np.random.Generator, objects: dict[int, int], side: int
) -> tuple[np.ndarray, list[str]]:
    """Return an image with its YOLO lines; the background is noise of low contrast."""
    coarse = rng.integers(70, 150, (side // 25, side // 25, 3)).astype(np.uint8)
    image = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    image = np.clip(image + rng.integers(-12, 13, image.shape), 0, 255).astype(np.uint8)
    taken = np.zeros((0, 4))
    lines: list[str] = []
    for size, count in sorted(objects.items(), reverse=True):
        for _ in range(count):
            while True:
                x, y = rng.integers(2, side - size - 2, 2)
                box = np.array([x, y, x + size, y + size])
                apart = (box[:2] > taken[:, 2:] + 4) | (box[2:] < taken[:, :2] - 4)
                if apart.any(1).all():
                    break
            taken = np.vstack((taken, box))
            kind = int(rng.integers(len(NAMES)))
            draw_shape(image, kind, box, rng.choice([30, 220], 3).tolist())
            lines.append(
                f"{kind} {(x + size / 2) / side} {(y + size / 2) / side} {size / side} "
                f"{size / side}\n"
            )
    return image, lines


def draw_shape(image: np.ndarray, kind: int, box: np.ndarray, color: list[int]) -> None:
    """Fill a box, pixels, with a shape that touches its borders."""
    x1, y1, x2, y2 = (int(value) for value in box)
    mask = np.zeros(((y2 - y1) * 4, (x2 - x1) * 4), np.uint8)  # at four times the size
    high, wide = mask.shape
    if kind == 0:
        cv2.ellipse(mask, (wide // 2, high // 2), (wide // 2, high // 2), 0, 0, 360, 255, -1)
    elif kind == 1:
        mask[:] = 255
    else:
        cv2.fillPoly(mask, [np.array([[0, high], [wide, high], [wide // 2, 0]])], 255)
    share = cv2.resize(mask, (x2 - x1, y2 - y1), interpolation=cv2.INTER_AREA)[..., None] / 255.0
    part = image[y1:y2, x1:x2]
    part[:] = np.round(part * (1 - share) + np.array(color) * share).astype(np.uint8)
