"""The flags of ``train``, which depend on the head of the network; wrong ones are found first."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points

from detector.cli.flags import HELP_FLAGS, parse_known, unknown_words
from detector.settings.heads import HEAD_SETTINGS, MODULES_GROUP
from detector.settings.train import TrainSettings, settings_of_heads
from detector.settings.tune import tune_settings

NAMES_OF_HEADS = ("cfg", "weights", "preset")
"""Settings of which each may say which head is trained."""


Extend = Callable[[type[TrainSettings]], type[TrainSettings]]
"""Function from the settings of a training to those of a tool that trains."""


def tune_flags(words: Sequence[str]) -> type[TrainSettings]:
    """Return the settings class of ``tune`` for the head of the model that a command line names."""
    return settings_for(words, tune_settings)


def settings_for(words: Sequence[str], extend: Extend = lambda kind: kind) -> type[TrainSettings]:
    """Return the settings class for the head of the model that a command line names.

    If it names no model, or has a word that no head knows, the class has the settings of all heads.
    The import of torch takes seconds; without it, and without packages that bring heads, all heads
    are known.

    Args:
        words: the command line.
        extend: adds the tool's own settings.
    """
    given = parse_known(TrainSettings, words)
    if "torch" not in sys.modules and not entry_points(group=MODULES_GROUP):
        every = extend(settings_of_heads(HEAD_SETTINGS))
        names_head = not given.keys().isdisjoint(NAMES_OF_HEADS)
        asks_for_help = not set(HELP_FLAGS).isdisjoint(words)
        if unknown_words(every, words) or (asks_for_help and not names_head):
            return every
    engine = importlib.import_module("detector.engine.head_settings")
    kind: type[TrainSettings] = engine.class_for(given)
    return extend(kind)
