"""The space of a search: settings, the values that each may take, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pydantic

from detector.engine.run import PRIVATE, THIS_TIME
from detector.settings.common import DataSettings
from detector.settings.train import TrainSettings
from detector.settings.tune import Range, SearchSettings, Value
from detector.utils import synonyms
from detector.utils.errors import DetectorError, nearest, shown
from detector.utils.files import find_file
from detector.utils.yaml_file import YamlFile, explain, first_issue, read_yaml, validate

Space = dict[str, Range]
"""Values that each setting may take, by its name, in the order of the file."""

FIXED = {
    *("cfg", "variant", "weights", "backbone_weights", "download", "preset", "seed"),
    *("qat", "per_tensor"),
    *("minutes", "folds", "fold"),
    *("monitor", "train_split", "val_split", "val_interval", "save_minutes", "skip_nonfinite"),
    *DataSettings.model_fields,
    *PRIVATE,
    *THIS_TIME,
}
"""Settings that are the same in all trials: what is trained, on what, how it is measured and
written."""

INSIDE = 0.38196601125
"""Place between two ends that is tried, too: a whole number's range as ``float`` is found there."""


def read_space(path: str, base: TrainSettings) -> Space:
    """Read a space, and validate its values as the settings that they are.

    Args:
        path: YAML file, one setting a key.
        base: complete settings of the training; its class knows the settings of the head.

    Raises:
        DetectorError: a setting is unknown, given as a flag, or no subject of a search; a value is
            one that a training would refuse.
    """
    file = read_yaml(find_file(path, "cfg"))
    content = file.value
    if not isinstance(content, dict) or not content:
        raise file.error(
            "expected settings with their ranges, such as learning_rate: {kind: log, …"
        )
    space = {}
    for name, values in content.items():
        _check_name(file, name, type(base))
        space[name] = validate(Range, file, values, at=(name,))
        _check_values(file, name, space[name], base)
    return space


def check_not_given(space: Space, given: TrainSettings, path: str) -> None:
    """Raise DetectorError for a setting that is given as a flag and searched, too."""
    for name in given.model_fields_set & space.keys():
        flag = f"--{name.replace('_', '-')}"
        raise DetectorError(f"{flag}: {path} searches {name}, too; expected one of both")


def _check_name(file: YamlFile, name: Any, kind: type[TrainSettings]) -> None:
    known = [field for field in kind.model_fields if field not in FIXED]
    if name in known:
        return
    if name in FIXED or name in SearchSettings.model_fields:
        raise file.error(f"{name}: is the same in all trials; give it as a flag", name)
    elsewhere = kind.elsewhere(str(name))
    if elsewhere:
        raise file.error(f"{name} {elsewhere}", name)
    hint = synonyms.key_hint("train", str(name), None) or nearest(str(name), known)
    hint = hint or f"; settings: {', '.join(known)}"
    raise file.error(f"unknown setting {shown(name)}{hint}", name)


def _check_values(file: YamlFile, name: str, values: Range, base: TrainSettings) -> None:
    """Raise DetectorError for a value that a training would refuse; the ends stand for a range."""
    given = {key: getattr(base, key) for key in base.model_fields_set}
    for key, value in _probes(values):
        try:
            type(base).model_validate({**given, name: value})
        except pydantic.ValidationError as error:
            issue = {**first_issue(error), "loc": (name, *key)}
            raise file.error(explain(type(base), issue), name, *key) from None


def _probes(values: Range) -> Iterator[tuple[tuple[str | int, ...], Value]]:
    """Yield values to validate, each with its place below the setting's key."""
    if values.kind == "choice":
        yield from ((("values", place), value) for place, value in enumerate(values.values))
        return
    assert values.low is not None
    assert values.high is not None
    whole = values.kind == "int"
    yield ("low",), int(values.low) if whole else values.low
    yield ("high",), int(values.high) if whole else values.high
    if not whole:
        yield ("kind",), values.low + INSIDE * (values.high - values.low)


def propose(trial: Any, space: Space) -> dict[str, Value]:
    """Return the values that Optuna proposes for a trial."""
    return {name: _proposed(trial, name, values) for name, values in space.items()}


def _proposed(trial: Any, name: str, values: Range) -> Value:
    ask: Mapping[str, Any] = {
        "choice": partial(trial.suggest_categorical, name, values.values),
        "float": partial(trial.suggest_float, name, values.low, values.high),
        "log": partial(trial.suggest_float, name, values.low, values.high, log=True),
        "int": partial(trial.suggest_int, name, int(values.low or 0), int(values.high or 0)),
    }
    value: Value = ask[values.kind]()
    return value
