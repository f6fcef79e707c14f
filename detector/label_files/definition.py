"""Definition file of a data set, ``data.yaml``: class names and splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import yaml

FILE_NAME = "data.yaml"

OWN_KEY = "splits"
"""Key of the splits whose names could be taken for other keys."""


def definition_text(
    names: Sequence[str], splits: Mapping[str, str | Mapping[str, Any]], top: Sequence[str]
) -> str:
    """Return the definition as YAML; its paths are relative to it.

    Args:
        names: class names, by their numbers.
        splits: place of each split: a folder of images with YOLO txt, or keys of a place.
        top: names of the splits that are keys of the file itself, which other tools read.
    """
    others = {name: place for name, place in splits.items() if name not in top}
    content = {
        "names": dict(enumerate(names)),
        **{name: place for name, place in splits.items() if name in top},
        **({OWN_KEY: others} if others else {}),
    }
    return yaml.safe_dump(
        content,
        default_flow_style=False,
        allow_unicode=all(name.isprintable() for name in names),  # others must be escaped
        sort_keys=False,
        width=inf,
    )
