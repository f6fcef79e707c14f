"""Settings of a run: defaults, quick-start block, preset, flags, and the head they are for.

Defaults < quick-start block of the data set < preset file < flags. The head of the model file, or
of the start weights, says which settings there are beside those of every training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import pydantic
from torch import nn

from detector.data.formats.definition import load_definition
from detector.engine.tasks import task_of, trainable_heads
from detector.model.builder import row_contracts
from detector.model.model_file import check_model_file, read_model_file
from detector.registry import contract
from detector.settings import BUILT_IN_DATA, TrainSettings
from detector.utils import synonyms
from detector.utils.errors import DetectorError, nearest
from detector.utils.files import find_file
from detector.utils.yaml_file import Strict, YamlFile, explain, first_issue, read_yaml, validate
from detector.weights.checkpoint import load
from detector.weights.transfer import trainable_metadata

NOT_IN_PRESETS = ("preset", "resume", "json_file", "debug")

RUN_SETTINGS = "settings.yaml"
"""Name of the file that a run keeps its settings in; one of an earlier version holds those of every
head."""


# ------------------------------------------------------------------------- settings of a head


def settings_class(head: type[nn.Module]) -> type[TrainSettings]:
    """Return the settings class of a head: the common settings and its own.

    Raises:
        DetectorError: the head has no task.
    """
    return _settings_class(head.__name__, task_of(head).settings)


@cache
def _settings_class(head: str, part: type[Strict]) -> type[TrainSettings]:
    class HeadSettings(TrainSettings, part):  # type: ignore[misc, valid-type]
        of_head: ClassVar[str] = head

        @classmethod
        def elsewhere(cls, name: str, spell: Callable[[str], str] = str) -> str:
            """Say whose setting an unknown one is, and the nearest one that this head has."""
            return _whose(name, cls, spell)

    HeadSettings.__doc__ = TrainSettings.__doc__
    HeadSettings.__name__ = HeadSettings.__qualname__ = part.__name__
    return HeadSettings


def any_settings_class() -> type[TrainSettings]:
    """Return a settings class with the settings of all heads, for use while the head is unknown.

    A setting that several heads have is the first one's; :func:`resolve` checks it once more.
    """
    heads: dict[str, list[str]] = {}
    for head, task in trainable_heads().items():
        for name in task.settings.model_fields:
            heads.setdefault(name, []).append(head)
    return _any_settings_class(tuple((name, tuple(owners)) for name, owners in heads.items()))


@cache
def _any_settings_class(owners: tuple[tuple[str, tuple[str, ...]], ...]) -> type[TrainSettings]:
    tasks = trainable_heads()
    groups: dict[tuple[str, ...], dict[str, Any]] = {}
    for name, heads in owners:
        field = tasks[heads[0]].settings.model_fields[name]
        groups.setdefault(heads, {})[name] = (field.annotation, field)
    bases: list[Any] = [
        pydantic.create_model(
            f"Of{''.join(heads)}", __base__=Strict, __doc__=f"For {_list(heads)}", **fields
        )
        for heads, fields in groups.items()
    ]
    return pydantic.create_model(
        "AnyTraining", __base__=(TrainSettings, *bases), __doc__=TrainSettings.__doc__
    )


def _whose(name: str, settings: type[TrainSettings], spell: Callable[[str], str]) -> str:
    tasks = trainable_heads()
    owners = [head for head, task in tasks.items() if name in task.settings.model_fields]
    if not owners:
        return ""
    own = settings.model_fields
    mine = sorted(spell(field) for field in own.keys() - TrainSettings.model_fields.keys())
    hint = nearest(spell(name), mine)
    return (
        f"is a setting of {_list(owners)}, and this network's head is {settings.of_head}"
        f"{hint or f'; {settings.of_head} has {_list(mine)}'}"
    )


def _list(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else "none"


# ------------------------------------------------------------------------- which head


def head_of(values: Mapping[str, Any]) -> type[nn.Module] | None:
    """Return the class of the head to be trained, or None while nothing names it.

    Args:
        values: settings that were given, by name: ``cfg``, ``variant``, ``weights``, ``preset``.

    Raises:
        DetectorError: the model file, the weights or the preset cannot be read.
    """
    preset = values.get("preset")
    content = read_yaml(find_file(preset, "cfg")).value if preset else None
    chosen = {**(content if isinstance(content, dict) else {}), **values}
    if chosen.get("cfg") is not None:
        return row_contracts(read_model_file(chosen["cfg"], chosen.get("variant")))[-1].module
    if chosen.get("weights") is None:
        return None
    weights = Path(chosen["weights"])
    metadata = trainable_metadata(weights)
    if metadata is None:
        return type(load(weights).head)
    file = YamlFile(Path(metadata.model_path), metadata.model)
    return row_contracts(check_model_file(file, metadata.variant))[-1].module


# ------------------------------------------------------------------------- all of them together


def train_settings(**values: Any) -> TrainSettings:
    """Validate settings of a training given as keyword arguments.

    Raises:
        DetectorError: a setting is unknown, or its value does not fit; one line.
    """
    kind = class_for(values)
    try:
        return kind.model_validate(values)
    except pydantic.ValidationError as error:
        hint = partial(synonyms.key_hint, "train")
        raise DetectorError(explain(kind, first_issue(error), hint)) from None


def class_for(values: Mapping[str, Any]) -> type[TrainSettings]:
    """Return the settings class of the head that these values name, else that of all heads.

    Raises:
        DetectorError: as :func:`head_of`.
    """
    head = None if values.get("resume") else head_of(values)
    return any_settings_class() if head is None else settings_class(head)


def resolve(flags: TrainSettings) -> tuple[TrainSettings, list[str]]:
    """Complete the settings that were given.

    Returns:
        The settings of the run, and lines that say where they come from.

    Raises:
        DetectorError: neither a model file nor weights, a bad preset, a setting of another head.
    """
    given = given_values(flags)
    head = head_of(given)
    if head is None:
        raise DetectorError("nothing to train: give --cfg FILE or --weights FILE")
    kind = settings_class(head)
    preset, notes_of_preset = _preset(flags.preset, kind) if flags.preset else ({}, [])
    chosen = {**preset, **given}
    notes = []
    if chosen.get("data") is None:
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
        shown = ", ".join(f"{key} {value}" for key, value in taken.items())
        notes.append(f"quick-start settings of {data} (flags override them): {shown}")
    if left_out:
        notes.append(f"left out of them, since this model has no such: {', '.join(left_out)}")
    return taken, notes


def _preset(path: str, kind: type[TrainSettings]) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of a preset file, with notes to log."""
    file = read_yaml(find_file(path, "cfg"))
    settings, left_out = _read(file, kind)
    values = given_values(settings)
    for name in NOT_IN_PRESETS:
        if values.pop(name, None):
            key = TrainSettings.model_fields[name].alias or name
            raise file.error(f"{key}: is a flag and not for a preset", key)
    shown = ", ".join(f"{name} {value}" for name, value in values.items())
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
