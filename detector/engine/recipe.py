"""Where the settings of a run come from.

Defaults < quick-start block of the data set < preset file < flags.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from detector.data.formats.definition import load_definition
from detector.model.model_file import read_model_file
from detector.registry import contract
from detector.settings import BUILT_IN_DATA, TrainSettings
from detector.utils import synonyms
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import find_file, read_yaml, validate

NOT_IN_PRESETS = ("preset", "resume", "json_file", "debug")


def resolve(flags: TrainSettings) -> tuple[TrainSettings, list[str]]:
    """Complete the flags that a person gave.

    Returns:
        The settings of the run, and lines that say where they come from.

    Raises:
        DetectorError: neither a model file nor weights, or a bad preset.
    """
    preset = _preset(flags.preset) if flags.preset else {}
    chosen = {**preset, **given_values(flags)}
    if chosen.get("cfg") is None and chosen.get("weights") is None:
        raise DetectorError("nothing to train: give --cfg FILE or --weights FILE")
    notes = []
    if chosen.get("data") is None:
        chosen["data"] = BUILT_IN_DATA
        notes.append(f"no --data given: the built-in set {BUILT_IN_DATA} is used")
    data = chosen["data"]
    quickstart = _quickstart(data, chosen.get("data_root"), chosen.get("cfg"))
    if quickstart:
        shown = ", ".join(f"{key} {value}" for key, value in quickstart.items())
        notes.append(f"quick-start settings of {data} (flags override them): {shown}")
    if preset:
        notes.append(f"preset {flags.preset}: {', '.join(f'{k} {v}' for k, v in preset.items())}")
    return TrainSettings(**{**quickstart, **chosen}), notes


def given_values(flags: TrainSettings) -> dict[str, Any]:
    """The values that were given, as opposed to defaults, in the order of the fields."""
    given = flags.model_fields_set
    return {name: getattr(flags, name) for name in TrainSettings.model_fields if name in given}


def _quickstart(data: str, data_root: Path | None, cfg: str | None) -> dict[str, Any]:
    """The data set's own settings; variant and input size only where the model has them."""
    values = dict(load_definition(data, data_root).quickstart)
    model_file = read_model_file(cfg) if cfg else None
    if model_file is None or values.get("variant") not in model_file.keys.variants:
        values.pop("variant", None)
    if model_file and contract(model_file.rows[-1].module).fixes_size:
        values.pop("imgsz", None)
    return values


def _preset(path: str) -> dict[str, Any]:
    file = read_yaml(find_file(path, "cfg"))
    values = given_values(
        validate(TrainSettings, file, suggest=partial(synonyms.key_hint, "train"))
    )
    for name in NOT_IN_PRESETS:
        if values.pop(name, None):
            key = TrainSettings.model_fields[name].alias or name
            raise file.error(f"{key}: is a flag and not for a preset", key)
    return values
