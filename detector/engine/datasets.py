"""The images of a training: its split, less what a fold holds out, in tiles; and those of val."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from detector.data.dataset import DetectionDataset, open_dataset
from detector.data.folds import split_fold
from detector.data.formats.definition import load_definition
from detector.data.known_sizes import KnownSizes
from detector.data.tiles import cut_into_tiles
from detector.settings.train import TrainSettings
from detector.utils.errors import DetectorError


def open_datasets(settings: TrainSettings) -> tuple[DetectionDataset, DetectionDataset, list[str]]:
    """Read and check the images to train on, and those that choose the best epoch.

    Returns:
        Both splits, and lines on what was read, repaired, held out and cut.

    Raises:
        DetectorError: see :func:`open_dataset`; what is wrong with both splits is listed at once.
    """
    definition = load_definition(settings.named_data("train on"), settings.data_root)
    definition.places(settings.train_split, "--train-split")
    definition.places(settings.val_split, "--val-split")
    known = KnownSizes(settings.cache_dir)
    open_split = partial(
        open_dataset,
        definition,
        skip_bad=settings.skip_bad,
        max_unlabeled=settings.max_unlabeled,
        limit=settings.limit,
        known=known,
    )
    train_set, val_set = _both(
        lambda: open_split(settings.train_split),
        lambda: open_split(settings.val_split, names=definition.names),
    )
    lines = [
        *train_set.report,
        *(line for line in val_set.report if line not in definition.notes),
        *known.lines(),
    ]
    if settings.folds is not None and settings.fold is not None:
        train_set, held_out = split_fold(train_set, settings.folds, settings.fold, settings.seed)
        lines.append(
            f"fold {settings.fold} of {settings.folds}: {len(held_out)} of "
            f"{len(train_set) + len(held_out)} training images are held out"
        )
    train_set, tile_lines = cut_into_tiles(train_set, settings)
    return train_set, val_set, [*lines, *tile_lines]


def open_training_images(settings: TrainSettings) -> DetectionDataset:
    """Read and check all images of the split to train on, whatever a fold holds out.

    Raises:
        DetectorError: see :func:`open_dataset`.
    """
    return open_dataset(
        settings.named_data("train on"),
        settings.train_split,
        settings.data_root,
        skip_bad=settings.skip_bad,
        max_unlabeled=settings.max_unlabeled,
        limit=settings.limit,
        known=KnownSizes(settings.cache_dir),
    )


def _both(
    open_train: Callable[[], DetectionDataset], open_val: Callable[[], DetectionDataset]
) -> tuple[DetectionDataset, DetectionDataset]:
    """Open both splits.

    Raises:
        DetectorError: one cannot be opened; with both reasons if the other cannot, either.
    """
    try:
        train_set = open_train()
    except DetectorError as error:
        try:
            open_val()
        except DetectorError as other:
            if str(other) != str(error):
                raise DetectorError(f"{error}\n{other}") from error
        raise
    return train_set, open_val()
