"""Presets: files with settings of a training, and the words that stand for none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from detector.engine.run import PRIVATE, THIS_TIME
from detector.settings.train import AUTO_PRESET, NO_PRESET, PRESET_WORDS
from detector.utils.files import find_file, packaged_files
from detector.utils.yaml_file import YamlFile, read_yaml

FOLDER = "train/"
"""Folder of the packaged presets, in ``cfg/``."""

NOT_IN_PRESETS = ("preset", "resume", "json_file", "debug")


def preset_of(values: Mapping[str, Any]) -> str:
    """Return the preset that given settings name, or the default one: auto with start weights.

    >>> preset_of({"weights": "yolox_nano.pth"}), preset_of({"cfg": "yolov5n"})
    ('auto', 'none')
    """
    named = values.get("preset")
    if named is not None:
        return str(named)
    return NO_PRESET if values.get("weights") is None else AUTO_PRESET


def read_preset(name: str | None) -> YamlFile | None:
    """Read a preset's file; None if the name is one of the words that stand for no file.

    Raises:
        DetectorError: there is no such file, or it cannot be read; names the nearest.
    """
    if name is None or name in PRESET_WORDS:
        return None
    files = [one for one in packaged_files("cfg") if one.startswith(FOLDER)]
    return read_yaml(find_file(name, "cfg", words=(*PRESET_WORDS, *files)))


def preset_text(settings: Mapping[str, Any], comment: str) -> str:
    """Return the text of a preset that gives the same training again.

    Args:
        settings: complete settings of a run, as plain values.
        comment: first line of the file.
    """
    left_out = PRIVATE | THIS_TIME | set(NOT_IN_PRESETS)
    values = {k: v for k, v in settings.items() if k not in left_out and v is not None}
    return f"# {comment}\n{yaml.safe_dump(values, sort_keys=False)}"
