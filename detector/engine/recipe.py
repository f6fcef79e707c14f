"""Settings of a run: defaults, quick-start block, preset and flags, put together.

Defaults < quick-start block of the data set < preset file < flags. The preset ``auto`` has no file:
what it chooses follows from images and network, and :mod:`detector.engine.auto` puts it in place of
a file's settings once they are open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from detector.data.formats.definition import load_definition
from detector.engine.head_settings import head_of, settings_class
from detector.engine.presets import NOT_IN_PRESETS, preset_of, read_preset
from detector.model.model_file import read_model_file
from detector.registry import contract
from detector.settings.common import BUILT_IN_DATA
from detector.settings.train import TrainSettings
from detector.settings.values import typed_text
from detector.utils import synonyms
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import YamlFile, validate

START_WEIGHTS = {"weights", "backbone_weights", "download"}
"""Settings that name trained weights, which nobody wants to go on with the drawn images unasked."""

RUN_SETTINGS = "settings.yaml"
"""Name of the file that a run keeps its settings in; one of an earlier version holds those of every
head."""


def resolve(flags: TrainSettings) -> tuple[TrainSettings, list[str]]:
    """Complete the settings that were given.

    Returns:
        The settings of the run, and lines that say where they come from.

    Raises:
        DetectorError: neither a model file nor weights, trained weights without data, a bad
            preset, a setting of another head.
    """
    given = given_values(flags)
    if given.get("minutes") is not None and "epochs" in given:
        raise DetectorError("--minutes and --epochs: expected one of both")
    head = head_of(given)
    if head is None:
        raise DetectorError("nothing to train: give --cfg FILE or --weights FILE")
    kind = settings_class(head)
    preset, notes_of_preset = _preset(preset_of(given), kind)
    chosen = {**preset, **given, "preset": preset_of(given)}
    notes = []
    if chosen.get("data") is None:
        if chosen.keys() & START_WEIGHTS:
            flags.named_data("train on")
        chosen["data"] = BUILT_IN_DATA
        notes.append(f"no --data given: the built-in set {BUILT_IN_DATA} is used")
    data = chosen["data"]
    quickstart, notes_of_data = _quickstart(data, chosen, kind)
    settings = _validated(kind, {**quickstart, **chosen})
    return settings, [*notes, *notes_of_data, *notes_of_preset]


def _validated(kind: type[TrainSettings], values: Mapping[str, Any]) -> TrainSettings:
    for name in values:
        elsewhere = "" if name in kind.model_fields else kind.elsewhere(name)
        if elsewhere:
            raise DetectorError(f"{name} {elsewhere}")
    return kind(**values)


def given_values(flags: TrainSettings) -> dict[str, Any]:
    """Return the values that were given, as opposed to defaults, in the order of the fields."""
    given = flags.model_fields_set
    return {name: getattr(flags, name) for name in type(flags).model_fields if name in given}


def _quickstart(
    data: str, chosen: Mapping[str, Any], kind: type[TrainSettings]
) -> tuple[dict[str, Any], list[str]]:
    """Return the data set's quick-start settings that the model has, with notes to log."""
    values = dict(load_definition(data, chosen.get("data_root")).quickstart)
    cfg = chosen.get("cfg")
    model_file = read_model_file(cfg) if cfg else None
    left_out = [name for name in values if name not in kind.model_fields and kind.elsewhere(name)]
    if model_file is None or values.get("variant") not in model_file.keys.variants:
        left_out += ["variant"] if "variant" in values else []
    if model_file and contract(model_file.rows[-1].module).fixes_size:
        left_out += ["imgsz"] if "imgsz" in values else []
    taken = {name: value for name, value in values.items() if name not in left_out}
    notes = []
    if taken:
        shown = ", ".join(f"{key} {typed_text(value)}" for key, value in taken.items())
        notes.append(f"quick-start settings of {data} (flags override them): {shown}")
    if left_out:
        notes.append(f"quick-start settings that this model does not have: {', '.join(left_out)}")
    return taken, notes


def _preset(path: str, kind: type[TrainSettings]) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of a preset file, with notes to log; none of a word for no file."""
    file = read_preset(path)
    if file is None:
        return {}, []
    settings, left_out = _read(file, kind)
    values = given_values(settings)
    for name in NOT_IN_PRESETS:
        if values.pop(name, None):
            key = TrainSettings.model_fields[name].alias or name
            raise file.error(f"{key}: is a flag and not for a preset", key)
    shown = ", ".join(f"{name} {typed_text(value)}" for name, value in values.items())
    return values, [*([f"preset {path}: {shown}"] if values else []), *_noted(left_out, path, kind)]


def read_run_settings(file: YamlFile, head: type[nn.Module]) -> tuple[TrainSettings, list[str]]:
    """Read the settings that a run of this head was started with, with notes to log.

    Raises:
        DetectorError: the file holds something else.
    """
    kind = settings_class(head)
    settings, left_out = _read(file, kind)
    return settings, _noted(left_out, file.path, kind)


def _read(file: YamlFile, kind: type[TrainSettings]) -> tuple[TrainSettings, list[str]]:
    """Return a file's settings, and the keys of other heads in a run's older file."""
    content = file.value
    left_out = list(_of_other_heads(content, kind)) if file.path.name == RUN_SETTINGS else []
    if left_out:
        content = {key: value for key, value in content.items() if key not in left_out}
    suggest = partial(synonyms.key_hint, "train")
    return validate(kind, file, content, suggest=suggest), left_out


def _of_other_heads(content: Any, kind: type[TrainSettings]) -> Iterator[str]:
    for key in content if isinstance(content, dict) else ():
        if key not in kind.model_fields and kind.elsewhere(str(key)):
            yield key


def _noted(left_out: Sequence[str], path: str | Path, kind: type[TrainSettings]) -> list[str]:
    if not left_out:
        return []
    return [f"{path}: left out, since {kind.of_head} has no such setting: {', '.join(left_out)}"]
