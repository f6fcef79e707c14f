"""Tiles as training images: each window of an image is a sample with the boxes that it shows."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from detector.data.dataset import DetectionDataset
from detector.settings.common import CutSettings
from detector.structures.samples import Sample
from detector.structures.tiles import Window, tile_windows, to_window
from detector.utils.errors import DetectorError


def cut_into_tiles(
    dataset: DetectionDataset, settings: CutSettings
) -> tuple[DetectionDataset, list[str]]:
    """Replace the images of a split that are larger than a tile by their tiles.

    All tiles are used, those without objects, too. With ``tile_whole`` the whole image is one more
    sample where it has an object larger than the overlap, which may be whole in no tile.

    Args:
        dataset: split to train on.
        settings: tiles, and the least visible share of a box.

    Returns:
        The split with more samples, and lines on what was cut and dropped; as it is, without lines,
        if the settings ask for no tiles.

    Raises:
        DetectorError: the labels are classes, or an image has too many tiles.
    """
    if settings.tiles is None:
        return dataset, []
    if dataset.task == "classify":
        raise DetectorError(f"--tiles {settings.tiles}: a classifier has no boxes; omit it")
    counts: Counter[str] = Counter()
    samples = [part for sample in dataset.samples for part in _parts(sample, settings, counts)]
    lines = [
        f"{settings.describe_tiles()}: {len(dataset.samples)} images become {len(samples)} "
        f"images and tiles, {counts['empty']} tiles without objects included"
    ]
    if counts["cut"]:
        lines.append(
            f"boxes cut off at borders of tiles: {counts['cut']}; dropped, with less than "
            f"{settings.tile_visible:g} of them visible: {counts['dropped']}"
        )
    if counts["lost"]:
        lines.append(
            f"objects of which no image or tile shows as much: {counts['lost']}; a larger "
            "--tile-overlap, or --tile-whole, shows them"
        )
    return replace(dataset, samples=tuple(samples)), lines


def _parts(sample: Sample, settings: CutSettings, counts: Counter[str]) -> list[Sample]:
    """Return the samples of one image; count cut, dropped and lost boxes, and empty tiles."""
    assert settings.tiles is not None
    if max(sample.size_hw) <= settings.tiles:
        return [sample]
    try:
        windows = tile_windows(sample.size_hw, settings.tiles, settings.tile_overlap)
    except DetectorError as error:
        raise DetectorError(error.message, file=sample.path) from error
    sides = sample.boxes_xyxy[:, 2:] - sample.boxes_xyxy[:, :2]
    largest = sides[~sample.crowd].max(initial=0)
    with_whole = settings.tile_whole and largest > settings.tiles * settings.tile_overlap
    shown = np.full(len(sample.class_ids), with_whole)
    parts = [_part(sample, window, settings.tile_visible, shown, counts) for window in windows]
    counts["lost"] += int((~shown).sum())
    return [*parts, sample] if with_whole else parts


def _part(
    sample: Sample,
    window: Window,
    least: float,
    shown: np.ndarray[tuple[int], np.dtype[np.bool_]],
    counts: Counter[str],
) -> Sample:
    """Return the sample of one window; mark in ``shown`` the boxes of the image that it has."""
    boxes_xyxy, visible = to_window(sample.boxes_xyxy, window)
    keep = visible >= least
    shown |= keep
    counts["cut"] += int(((visible > 0) & (visible < 1)).sum())
    counts["dropped"] += int(((visible > 0) & ~keep).sum())
    counts["empty"] += not keep.any()
    x1, y1, x2, y2 = window
    return Sample(
        path=sample.path,
        boxes_xyxy=boxes_xyxy[keep],
        class_ids=sample.class_ids[keep],
        size_hw=(y2 - y1, x2 - x1),
        image_id=sample.image_id,
        crowd=sample.crowd[keep],
        difficult=sample.difficult[keep],
        areas=(sample.areas[keep] * visible[keep]).astype(np.float32),
        window_xyxy=window,
    )
