"""Settings of a training: the common ones and those of the head that is to be trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import pydantic
from torch import nn

from detector.engine.presets import read_preset
from detector.engine.tasks import task_of, trainable_heads
from detector.model.builder import row_contracts
from detector.model.model_file import check_model_file, read_model_file
from detector.settings.train import TrainSettings, settings_of_heads
from detector.settings.values import comma_list
from detector.utils import synonyms
from detector.utils.errors import DetectorError, nearest
from detector.utils.yaml_file import Strict, YamlFile, explain, first_issue
from detector.weights.checkpoint import find_metadata, load_quietly


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


def head_of(values: Mapping[str, Any]) -> type[nn.Module] | None:
    """Return the class of the head to be trained, or None while nothing names it.

    Args:
        values: settings that were given, by name: ``cfg``, ``variant``, ``weights``, ``preset``.

    Raises:
        DetectorError: the model file, the weights or the preset cannot be read.
    """
    preset = read_preset(values.get("preset"))
    content = None if preset is None else preset.value
    chosen = {**(content if isinstance(content, dict) else {}), **values}
    if chosen.get("cfg") is not None:
        return row_contracts(read_model_file(chosen["cfg"], chosen.get("variant")))[-1].module
    if chosen.get("weights") is None:
        return None
    weights = Path(chosen["weights"])
    metadata = find_metadata(weights)
    if metadata is None:
        return type(load_quietly(weights).head)
    file = YamlFile(Path(metadata.model_path), metadata.model)
    return row_contracts(check_model_file(file, metadata.variant))[-1].module


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
    return settings_of_heads({name: task.settings for name, task in trainable_heads().items()})


def _whose(name: str, settings: type[TrainSettings], spell: Callable[[str], str]) -> str:
    tasks = trainable_heads()
    owners = [head for head, task in tasks.items() if name in task.settings.model_fields]
    if not owners:
        return ""
    own = settings.model_fields
    mine = sorted(spell(field) for field in own.keys() - TrainSettings.model_fields.keys())
    hint = nearest(spell(name), mine)
    others = " and other heads" if len(owners) > 1 else ""
    return (
        f"is a setting of {owners[0]}{others}, and this network's head is {settings.of_head}"
        f"{hint or f'; {settings.of_head} has {comma_list(mine)}'}"
    )
