"""Rules from facts to settings; each states where its numbers come from.

They stand on the measurements in ``docs/training.md`` (205 images of BCCD, YOLOv5n and YOLOX-nano),
on the presets in ``cfg/train/``, or on a reason that is written beside the number. The batch is not
among them: it is measured, see :mod:`detector.engine.auto.trial`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from detector.data.checks.finding import number_of
from detector.data.checks.sizes import MAX_INPUT_SIDE
from detector.engine.auto.choice import Choice, Choices
from detector.engine.auto.facts import SMALL_SHARE, Facts, Objects
from detector.settings.heads import AugmentSettings
from detector.structures.preprocess import imgsz_of_size

FINE_TUNING, FROM_RANDOM = "train/finetune", "train/scratch"
"""Presets for hundreds of images, both measured."""

LARGE, FOR_INT8 = "train/large", "train/qat"

MANY_IMAGES = 10_000
"""Images of an epoch from which on ``large.yaml`` is taken: it is for tens of thousands."""

MEASURED_EPOCHS = {True: 30, False: 100}
"""Passes over the images that were measured, from trained weights and from random ones."""

STEPS_AN_EPOCH = 13
"""Optimizer steps of an epoch there: 205 images, 16 a step."""

MIN_STEPS = 8
"""Least number of optimizer steps of an epoch, if fewer images a step can give them: schedule and
averaged weights move by steps."""

MIN_IMAGES = 8
"""Least number of images of a step that is chosen for that: with fewer, gradients and the
statistics of batch norms are mostly noise."""

CELLS = 2
"""Cells of the finest features that a small object spans: half of it, at the smallest zoom of the
measured presets, is one cell."""

SIDE_STEP = 2
"""Steps between input sides that are chosen, in largest strides: 64 pixels for most networks, so
that the sizes that were measured, 320 and 640, are among them."""

LEAST_SIDE = 0.5
"""Smallest input, as a share of that of the start weights: 640 to 320 was measured."""

MIN_SIDE = 32
"""Smallest input that a setting accepts, pixels."""

SMALLER = 0.75
"""Next input to try where the memory is too small, as a share of the last."""

AUGMENTATION = {"mosaic", "close_mixing", "scale"}
"""Settings without effect where images are not augmented."""


@dataclass(frozen=True)
class Recipe:
    """A preset whose settings are taken.

    Attributes:
        name: of the file, as ``--preset`` takes it.
        why: reason.
    """

    name: str
    why: str

    @property
    def file(self) -> str:
        """Name of the file alone, for reasons."""
        return f"{self.name.rpartition('/')[2].removesuffix('.yaml')}.yaml"


def recipe_of(facts: Facts) -> Recipe:
    """Return the preset that fits start weights, head and number of images."""
    if facts.qat:
        return Recipe(FOR_INT8, "training for INT8")
    if facts.recipe is not None:
        return Recipe(facts.recipe, "the one for the network's head")
    if facts.images >= MANY_IMAGES:
        return Recipe(LARGE, f"{facts.images} images, {MANY_IMAGES} or more")
    start, name = ("trained", FINE_TUNING) if facts.has_weights else ("random", FROM_RANDOM)
    return Recipe(name, f"{start} weights, {facts.images} images, fewer than {MANY_IMAGES}")


def choose_size_and_step(facts: Facts, recipe: Recipe, usual: int, chosen: Choices) -> None:
    """Choose the input, and the images of an optimizer step; ``usual`` is the preset's number."""
    chosen.add(input_size(facts))
    chosen.add(images_per_step(facts, recipe, usual))


def choose_the_rest(
    facts: Facts, recipe: Recipe, preset: Mapping[str, Any], chosen: Choices
) -> None:
    """Choose epochs, schedule and augmentation; input and images of a step are chosen.

    Args:
        facts: about data and network.
        recipe: see :func:`recipe_of`.
        preset: its settings.
        chosen: is added to.
    """
    if "batch" in chosen.given:
        chosen.add(Choice("batch", None, ""))
    chosen.add(epochs(facts, recipe, preset, chosen))
    for name, value in preset.items():
        if name not in chosen.made and (facts.augments or name not in AUGMENTATION):
            chosen.add(Choice(name, value, recipe.file))
    if recipe.name in (FINE_TUNING, FROM_RANDOM) and facts.minutes is None:
        stretch_schedule(facts, recipe, preset, chosen)
    if facts.objects is not None and facts.augments:
        chosen.add(zoom(facts.objects, facts.cell, chosen["imgsz"]))


# ------------------------------------------------------------------------------------- input size


def input_size(facts: Facts) -> Choice:
    """Choose the input: the smallest that shows the objects, down to half that of the weights.

    Larger than that of the weights only if half of the objects would be too small there, up to
    ``MAX_INPUT_SIDE``: time and memory grow with its square.
    """
    own = imgsz_of_size(facts.size_hw)
    source = "start weights" if facts.has_weights else "model file"
    if facts.is_fixed:
        return Choice("imgsz", own, "the only size that the network takes")
    if facts.tiles is not None:
        side = _multiple(facts.tiles, facts.max_stride)
        return Choice("imgsz", side, f"tiles of {facts.tiles} px at their own size")
    if facts.qat or facts.objects is None or isinstance(own, tuple):
        return Choice("imgsz", own, f"that of the {source}")
    side, limit = _side(facts, facts.objects, own, source)
    return Choice("imgsz", side, f"{_described(facts, facts.objects, side)}{limit}")


def _side(facts: Facts, objects: Objects, own: int, source: str) -> tuple[int, str]:
    """Return the side for some objects, and what limits it."""
    step = SIDE_STEP * facts.max_stride
    # The rounding of a share must not cost a step.
    for_most, for_half = (
        _multiple(CELLS * facts.cell / share - 1e-6, step)
        for share in (objects.small, objects.median)
    )
    share = LEAST_SIDE if facts.has_weights else 0.0
    least = min(_multiple(max(share * own, MIN_SIDE), step), own)
    largest = max(_multiple(MAX_INPUT_SIDE, facts.max_stride, math.floor), own)
    if for_half > largest:
        return largest, f"; {for_half} would show half of them, {largest} is the most: see --tiles"
    if for_half > own:
        return for_half, f"; half of them would be smaller at the {own} px of the {source}"
    if for_most > own:
        return own, f"; that of the {source}, {for_most} would show {1 - SMALL_SHARE:.0%}"
    if for_most < least and facts.has_weights:
        return least, f"; no less than half of the {own} px of the {source}"
    return max(for_most, least), ""


def _multiple(value: float, step: int, rounding: Callable[[float], int] = math.ceil) -> int:
    return max(rounding(value / step), 1) * step


def _described(facts: Facts, objects: Objects, side: int) -> str:
    width, height = objects.image_wh
    return (
        f"the median object has {objects.median_px:.0f} px in images of {width}×{height}, here "
        f"{objects.median * side:.0f}; {1 - SMALL_SHARE:.0%} have {objects.small * side:.0f} or "
        f"more, wanted {CELLS * facts.cell}: {CELLS} cells of {facts.cell}"
    )


def smaller_sides(side: int, stride: int) -> list[int]:
    """Return smaller inputs to try where the memory is too small.

    >>> smaller_sides(96, 32)
    [64, 32]
    """
    sides = []
    while (side := math.floor(SMALLER * side / stride) * stride) >= max(MIN_SIDE, stride):
        sides.append(side)
    return sides


# --------------------------------------------------------------------------------- steps, schedule


def images_per_step(facts: Facts, recipe: Recipe, usual: int) -> Choice:
    """Choose how many images an optimizer step has: the preset's, fewer for very small sets."""
    images = usual
    while images > MIN_IMAGES and math.ceil(facts.images / images) < MIN_STEPS:
        images = max(images // 2, MIN_IMAGES)
    steps, before = (math.ceil(facts.images / number) for number in (images, usual))
    if images == usual:
        why = f"{recipe.file}; {number_of(steps, 'step')} an epoch"
        return Choice("nominal_batch", usual, why)
    fewer = f"{usual} of {recipe.file} would make {before}, fewer than {MIN_STEPS}"
    return Choice("nominal_batch", images, f"{number_of(steps, 'step')} an epoch; {fewer}")


def steps_per_epoch(facts: Facts, chosen: Choices) -> int:
    """Return the optimizer steps of an epoch; a batch that was given may be larger than a step."""
    nominal, batch = int(chosen["nominal_batch"]), int(chosen.given.get("batch") or 1)
    return math.ceil(facts.images / (max(round(nominal / batch), 1) * batch))


def epochs(facts: Facts, recipe: Recipe, preset: Mapping[str, Any], chosen: Choices) -> Choice:
    """Choose the epochs: as many passes, and at least as many steps, as were measured."""
    if facts.minutes is not None:
        return Choice("epochs", None, f"as many as fit into {facts.minutes:g} minutes")
    if "epochs" in preset:
        return Choice("epochs", preset["epochs"], recipe.file)
    passes, steps = MEASURED_EPOCHS[facts.has_weights], steps_per_epoch(facts, chosen)
    wanted = passes * STEPS_AN_EPOCH
    start = "trained" if facts.has_weights else "random"
    measured = f"measured from {start} weights: {passes} epochs, {wanted} steps"
    number = max(passes, math.ceil(wanted / steps))
    return Choice("epochs", number, f"{number_of(steps, 'step')} each; {measured}")


def stretch_schedule(
    facts: Facts, recipe: Recipe, preset: Mapping[str, Any], chosen: Choices
) -> None:
    """Choose warm-up and last epochs without mixing in proportion to the measured schedule.

    The warm-up has at least as many steps as there, and the same share of the epochs is without
    mixing.
    """
    warmup, steps = preset["warmup_epochs"] * STEPS_AN_EPOCH, steps_per_epoch(facts, chosen)
    if steps < STEPS_AN_EPOCH:
        why = f"{warmup:g} steps, as measured with {recipe.file}"
        chosen.add(Choice("warmup_epochs", round(warmup / steps, 1), why))
    total, passes, closed = chosen["epochs"], MEASURED_EPOCHS[facts.has_weights], "close_mixing"
    if closed in chosen.made and total != passes:
        why = f"as {preset[closed]} of {passes} epochs in {recipe.file}"
        chosen.add(Choice(closed, round(preset[closed] * total / passes), why))


# ------------------------------------------------------------------------------------ augmentation


def zoom(objects: Objects, cell: int, imgsz: int | tuple[int, int]) -> Choice:
    """Choose how far images are zoomed out: the median object keeps a cell of the finest features.

    Args:
        objects: their sizes.
        cell: side of such a cell, pixels.
        imgsz: the input, one side or two.
    """
    usual = float(AugmentSettings.model_fields["scale"].default)
    median = objects.median * (min(imgsz) if isinstance(imgsz, tuple) else imgsz)
    value = min(usual, max(math.floor((1 - cell / median) * 100) / 100, 0.0))
    why = f"the median object, {median:.0f} px here, keeps {median * (1 - value):.0f}"
    if value < usual:
        why += f"; with {usual:g} less than a cell of {cell}"
    return Choice("scale", value, why)
