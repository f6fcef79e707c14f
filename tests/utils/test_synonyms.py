"""The whole table of words of other projects: what it names exists, and nothing in it is dead."""

import re

import pytest

from detector.cli.flags import flag_of, parse
from detector.cli.tools import SCRIPTS, TOOLS
from detector.engine.head_settings import any_settings_class
from detector.settings.common import ToolSettings
from detector.settings.tune import tune_settings
from detector.structures.detections import Detections
from detector.utils.synonyms import (
    COMMANDS,
    FLAG,
    WORDS,
    device_hint,
    find,
    flag_hint,
    key_hint,
)

ANSWERS = [
    (tool, word, text)
    for tool, words in WORDS.items()
    for word, answer in words.items()
    for text in ([answer] if isinstance(answer, str) else answer.values())
]
REQUIRED = {
    "train": [],
    "tune": ["--space", "s"],
    "val": ["--weights", "w"],
    "detect": ["--weights", "w", "--source", "s"],
    "export": ["--weights", "w"],
    "analyse": ["--weights", "w"],
    "compare": ["a", "b"],
    "check": ["--data", "d"],
    "convert": ["--data", "d", "--to", "coco", "out"],
    "info": ["--cfg", "c"],
    "anchors": ["--cfg", "c"],
}


def settings_of(tool: str) -> type[ToolSettings]:
    """The settings of a tool; of a training those of every head."""
    of_training = {"train": any_settings_class(), "tune": tune_settings(any_settings_class())}
    return of_training.get(tool, TOOLS[tool].settings)


def flags(tool: str) -> set[str]:
    """Every flag of a tool, those that say no included."""
    settings = settings_of(tool)
    found = {"--help"}
    for name, field in settings.model_fields.items():
        flag = flag_of(settings, name)
        found.add(flag)
        if field.annotation in (bool, bool | None):
            found.add(flag.replace("--", "--no-", 1))
    return found


def test_size():
    """Count all answers, and those that are sentences."""
    assert len(ANSWERS) > 300
    assert sum(FLAG.fullmatch(text) is None for *_, text in ANSWERS) > 100
    assert set(WORDS) == set(REQUIRED) <= set(TOOLS)


@pytest.mark.parametrize("tool", WORDS)
def test_flags_that_are_named_exist(tool: str):
    for _, word, text in (answer for answer in ANSWERS if answer[0] == tool):
        if FLAG.fullmatch(text):
            flag, _, value = text.partition(" ")
            assert flag in flags(tool), word
            if value:  # it is taken as well
                parse(settings_of(tool), [*REQUIRED[tool], flag, value], tool)
            continue
        own, _, elsewhere = text.partition("detector ")
        other = elsewhere.split(maxsplit=1)[0].rstrip(",;") if elsewhere else ""
        assert other in {"", "{tool}", *SCRIPTS}, word
        own = own.replace("torchrun --nproc-per-node N", "")
        assert set(re.findall(r"--[a-z-]+", own)) <= flags(tool), word
        if other in SCRIPTS:
            assert set(re.findall(r"--[a-z-]+", elsewhere)) <= flags(other), word


@pytest.mark.parametrize("tool", WORDS)
def test_no_word_is_a_flag_of_its_tool(tool: str):
    """It would never be looked up."""
    assert not {f"--{word}" for word in WORDS[tool]} & flags(tool)


@pytest.mark.parametrize("tool", WORDS)
def test_form(tool: str):
    for word, answer in WORDS[tool].items():
        assert re.fullmatch(r"[a-z0-9]+([-.][a-z0-9]+)*", word)
        if not isinstance(answer, str):
            assert list(answer)[-1] == "*" or set(answer) == {"*"}, word  # every value has one
        assert find(tool, word)
    for _, word, text in (answer for answer in ANSWERS if answer[0] == tool):
        assert text.isascii() and text.isprintable() and len(text) <= 80, word
        assert not text.endswith("."), word


def test_what_python_offers_exists():
    assert "detections.crops" in find("detect", "save-crop")
    assert callable(Detections.crops)


def test_commands():
    for word, known in COMMANDS.items():
        assert word not in SCRIPTS
        assert known in SCRIPTS or " " in known
        for tool in re.findall(r"detector ([a-z]+)", known):
            assert tool in SCRIPTS


@pytest.mark.parametrize(
    ("tool", "word", "value", "hint"),
    [
        ("train", "", "", ""),
        ("train", "--", "", ""),
        ("train", "--zzz", "", ""),
        ("benchmark train", "--lr0", "0.1", ""),
        ("no-such-tool", "--lr0", "0.1", ""),
        ("train", "--lr0", "0.1", ": use --learning-rate"),
        ("train", "LR0", "", ": use --learning-rate"),
        ("train", "SOLVER.BASE_LR", "", ": use --learning-rate"),
        ("train", "--model", "A.YAML", ": use --cfg"),
        ("train", "--amp", "", ": mixed precision is used if the device gains from it: "
         "--precision auto"),
        ("train", "--amp", "False", ": full precision is --precision fp32"),
        ("train", "--tensorboard", "", ": use --log tensorboard"),
        ("train", "--evolve", "300", ": the search for settings is a tool of its own: "
         "detector tune --space FILE"),
        ("tune", "--n-trials", "9", ": use --trials"),
        ("tune", "--lr0", "0.1", ": use --learning-rate"),
        ("train", "--nosave", "", ": the best and last checkpoint are kept; see --save-minutes"),
        ("detect", "--nosave", "", ": use --no-draw"),
        ("detect", "--nosave", "False", ": use --no-draw if true"),
        ("detect", "--conf", "0", ": use --confidence"),
        ("val", "--num-gpus", "2", ": torchrun --nproc-per-node N -m detector val, N processes"),
        ("anchors", "--anchor-t", "", ": use --anchor-ratio"),
        ("train", "--time", "2", ": hours there are minutes here, in place of --epochs: "
         "--minutes 60"),
        ("train", "--dfl", "1.5", ": use --dfl-gain"),
        ("export", "--batch-size", "4", ": use --batch"),
    ],
)  # fmt: skip
def test_flag_hints(tool: str, word: str, value: str, hint: str):
    assert flag_hint(tool, word, value) == hint


@pytest.mark.parametrize(
    ("key", "value", "hint"),
    [
        ("zzz", 1, ""),
        ("lr0", 0.01, ": use learning_rate"),
        ("sync-batchnorm", True, ": use sync_bn"),
        ("half", True, ": use precision: fp16"),
        ("half", False, ": use precision: fp16 if true"),
        ("noplots", True, ": use pictures: false"),
        ("noplots", None, ": use pictures: false"),
        ("model", ["a.yaml"], ": a model file is --cfg, trained weights are --weights"),
    ],
)
def test_key_hints(key: str, value: object, hint: str):
    assert key_hint("train", key, value) == hint


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("", ""),
        ("cpu", ""),
        ("-1", ""),
        ("0,", ""),
        ("0", "; expected cuda:0"),
        ("11", "; expected cuda:11"),
        ("0,1", "; a process uses one, start 2 with torchrun --nproc-per-node 2"),
        ("gpu", "; expected cuda"),
        ("GPU:1", "; expected cuda:1"),
    ],
)
def test_device_hints(name: str, hint: str):
    assert device_hint(name) == hint
