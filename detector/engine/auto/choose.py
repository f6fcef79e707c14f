"""``--preset auto``: from images, network and machine to the settings of a training."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from accelerate import Accelerator

from detector.data.dataset import DetectionDataset
from detector.engine.auto.batch import BatchChoice, batches
from detector.engine.auto.choice import Choice, Choices
from detector.engine.auto.facts import Facts, facts_of
from detector.engine.auto.rules import (
    choose_size_and_step,
    choose_the_rest,
    recipe_of,
    smaller_sides,
)
from detector.engine.auto.trial import MEMORY_SHARE, measure_batch
from detector.engine.presets import read_preset
from detector.model.detector import Detector
from detector.settings.train import TrainSettings
from detector.settings.values import typed_text
from detector.utils.collectives import from_main
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import validate


@dataclass(frozen=True)
class Start:
    """What a training starts from.

    Attributes:
        settings: those that were given, and defaults.
        model: with start weights, at the input size that was given, or its own; it stays as it is.
        dataset: images to train on.
        accelerator: device and precision.
        prepare: prepares a copy of the network for trial steps: precision, frozen rows.
    """

    settings: TrainSettings
    model: Detector
    dataset: DetectionDataset
    accelerator: Accelerator
    prepare: Callable[[Detector], Detector]


def choose_settings(start: Start, given: Mapping[str, Any]) -> tuple[TrainSettings, list[str]]:
    """Return the settings with all that is chosen, and the lines of a table that says why.

    The main process decides for all. Network and generators of random numbers stay as they are.

    Args:
        start: of the training.
        given: settings that the user gave, by name; they stay.

    Raises:
        DetectorError: not even one image fits into the memory.
    """
    settings, kind = start.settings, type(start.settings)
    facts = facts_of(settings, start.model, start.dataset)
    recipe = recipe_of(facts)
    preset, chosen = preset_values(recipe.name, kind), Choices(given, kind.model_fields)
    choose_size_and_step(facts, recipe, preset.get("nominal_batch", settings.nominal_batch), chosen)
    if "batch" not in given:
        for choice in from_main(lambda: _measured(start, facts, chosen)):
            chosen.add(choice)
    choose_the_rest(facts, recipe, preset, chosen)
    title = f"preset auto: {recipe.name}, {recipe.why}"
    return settings.model_copy(update=chosen.values()), [title, *chosen.table()]


def preset_values(name: str, kind: type[TrainSettings]) -> dict[str, Any]:
    """Return those settings of a preset file that a head has."""
    file = read_preset(name)
    assert file is not None
    content = {key: value for key, value in file.value.items() if key in kind.model_fields}
    settings = validate(kind, file, content)
    return {key: getattr(settings, key) for key in content}


def _measured(start: Start, facts: Facts, chosen: Choices) -> tuple[Choice, Choice]:
    """Return the input and the batch: of the inputs from the one chosen down, the first that fits.

    Raises:
        DetectorError: none does.
    """
    first, inputs = chosen.made["imgsz"], [chosen["imgsz"]]
    if "imgsz" not in chosen.given and not facts.is_fixed and isinstance(first.value, int):
        inputs += smaller_sides(first.value, facts.max_stride)
    per_process = max(chosen["nominal_batch"] // facts.processes, 1)
    sizes = batches(per_process, facts.images // facts.processes)
    device, budget = start.accelerator.device.type, 0
    for imgsz in inputs:
        make_model = partial(_prepared_copy, start, imgsz)
        found, budget = measure_batch(
            start.settings, make_model, start.dataset, start.accelerator, sizes
        )
        if found is not None:
            why = first.why if imgsz == first.value else f"{first.value} does not fit into memory"
            batch = _batch(found, budget, facts.processes, device)
            if start.settings.teacher is not None:
                batch = replace(batch, why=f"{batch.why}; without the teacher")
            return Choice("imgsz", imgsz, why), batch
    raise DetectorError(
        f"--preset auto: a step with one image of {typed_text(inputs[-1])} px does not fit into "
        f"{_share(budget, device)}; give a smaller --imgsz, or --batch, which is not measured"
    )


def _prepared_copy(start: Start, imgsz: Any) -> Detector:
    """Return a copy at an input size, or at that of the last epochs, if it is the larger one."""
    model = copy.deepcopy(start.model)
    final = start.settings.final_imgsz
    sizes = [model.size_of(size) for size in (imgsz, final) if size is not None]
    model.preprocess = model.preprocess.with_size(max(sizes, key=math.prod))
    return start.prepare(model)


def _batch(found: BatchChoice, budget: int, processes: int, device: str) -> Choice:
    step = found.step
    why = (
        f"measured: {step.rate:.1f} images/s, {step.bytes / 1e9:.1f} GB of "
        f"{_share(budget, device)}; {found.end}"
    )
    if processes > 1:
        why += f"; {processes} processes with {step.images} each"
    return Choice("batch", step.images * processes, why)


def _share(budget: int, device: str) -> str:
    share = MEMORY_SHARE.get(device, MEMORY_SHARE["cpu"])
    return f"{budget / 1e9:.1f} GB, {share:.0%} of the free memory"
