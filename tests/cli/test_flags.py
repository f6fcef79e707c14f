"""Flags are the fields of the typed settings, and nothing else."""

import re
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from detector.cli.flags import flag_of, format_flags, parse
from detector.cli.tools import TOOLS
from detector.engine.head_settings import settings_class
from detector.heads.yolo import Detect
from detector.settings.detect import DetectSettings
from detector.settings.train import TrainSettings
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import Strict

DETECT = ["--weights", "w.onnx", "--source", "images"]


@pytest.mark.parametrize("name", TOOLS)
def test_help_shows_every_setting_with_its_default(name: str, monkeypatch, capsys):
    monkeypatch.setenv("NO_COLOR", "1")
    settings = TOOLS[name].settings
    with pytest.raises(SystemExit) as done:
        parse(settings, ["--help"], f"tools/{name}.py")
    assert done.value.code == 0
    usage, _, options = " ".join(capsys.readouterr().out.split()).partition(" options: ")
    assert usage.startswith(f"usage: tools/{name}.py ")
    for field_name, field in settings.model_fields.items():
        flag, text = flag_of(settings, field_name), field.description
        assert text
        if field.is_required():
            assert flag in usage
            text += " (required)"
        elif field.default is not None or "default:" not in text:
            default = field.default
            listed = ",".join(map(str, default)) if isinstance(default, tuple) else default
            text += f" (default: {'none' if listed in (None, '') else listed})"
        shown = usage if flag.isupper() else options  # words without a flag come first
        assert re.search(rf"{flag}(, --no-\S+)?( \S+)? {re.escape(text)}( |$)", shown), flag


def test_help_of_defaults(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")
    with pytest.raises(SystemExit):
        parse(Example, ["-h"], "example")
    # Inherited settings stand in a group of their own, under their class's first line.
    assert capsys.readouterr().out == (
        "usage: example --weights PATH [flags]\n"
        "\n"
        "Do something.\n"
        "\n"
        "options:\n"
        "  -h, --help         show this help message and exit\n"
        "  --weights PATH     a file (required)\n"
        "  --rate NUMBER      100 % of it (default: 0.0)\n"
        "  --kind {a,b}       which (default: a)\n"
        "  --names TEXT,...   words (default: none)\n"
        "  --more JSON        mappings (default: none)\n"
        "  --draw, --no-draw  draw (default: True)\n"
        "\n"
        "Common to all tools:\n"
        "  --json PATH        metrics; default: nowhere\n"
        "  --side INT         pixels (default: none)\n"
    )


class Base(Strict):
    """Common to all tools.

    Details for developers.
    """

    json_file: Path | None = Field(None, alias="json", description="metrics; default: nowhere")
    side: Annotated[int, Field(ge=32)] | None = Field(None, description="pixels")


class Example(Base):
    """Do something.

    Details for developers, which the help leaves out.
    """

    weights: Path = Field(description="a file")
    rate: float = Field(0.0, description="100 % of it")
    kind: Literal["a", "b"] = Field("a", description="which")
    names: tuple[str, ...] | None = Field(None, description="words")
    more: tuple[dict[str, Any], ...] = Field((), description="mappings")
    draw: bool = Field(True, description="draw")


def test_nothing_but_what_was_given_is_set():
    settings = parse(DetectSettings, DETECT, "detect")
    assert settings.model_fields_set == {"weights", "source"}
    assert settings == DetectSettings(weights=Path("w.onnx"), source="images")
    assert parse(TrainSettings, [], "train") == TrainSettings()


def test_all_kinds_of_values():
    words = "--imgsz=64 --confidence 1e-3 --classes cat,dog,3 --no-draw --txt --json f.json"
    assert parse(DetectSettings, [*DETECT, *words.split()], "detect") == DetectSettings(
        weights=Path("w.onnx"),
        source="images",
        imgsz=64,
        confidence=0.001,
        classes=("cat", "dog", "3"),
        draw=False,
        txt=True,
        json_file=Path("f.json"),
    )
    words = ["--albumentations", '[{"name": "Blur", "p": 0.1}]', "--optimizer", "adamw"]
    settings = settings_class(Detect)
    assert parse(settings, words, "train") == settings(
        albumentations=({"name": "Blur", "p": 0.1},), optimizer="adamw"
    )


def test_the_last_one_counts():
    words = ["--batch", "2", "--batch", "3", "--txt", "--no-txt"]
    settings = parse(DetectSettings, [*DETECT, *words], "detect")
    assert (settings.batch, settings.txt) == (3, False)


def test_a_repeated_flag_keeps_every_value():
    regions = ("line:0,1,2,3", "zone:0,0,9,0,0,9")
    words = [*DETECT, "--track", "ocsort", "--count", regions[0], "--count", regions[1]]
    settings = parse(DetectSettings, words, "detect")
    assert settings.count == regions
    assert parse(DetectSettings, shlex.split(format_flags(settings)), "detect") == settings
    assert parse(DetectSettings, words[:-2], "detect").count == regions[:1]


def test_words_that_look_like_something_else_stay_words():
    words = ["--name", "null", "--data", "0", "--val-split", "[a]", "--project", "{}"]
    settings = parse(TrainSettings, words, "train")
    assert (settings.name, settings.data, settings.val_split) == ("null", "0", "[a]")
    assert settings.project == Path("{}")


@pytest.mark.parametrize("upper", [False, True])
def test_the_environment_does_not_matter(upper: bool, monkeypatch):
    for field in TrainSettings.model_fields:
        monkeypatch.setenv(field.upper() if upper else field, "7")
    monkeypatch.setenv("detector_epochs", "7")
    assert parse(TrainSettings, [], "train") == TrainSettings()
    assert parse(TrainSettings, [], "train").model_fields_set == set()


def test_no_file_of_the_working_folder_matters(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("epochs=7\nEPOCHS=7\n")
    monkeypatch.chdir(tmp_path)
    assert parse(TrainSettings, [], "train").epochs == TrainSettings().epochs


def test_flags_written_out_are_read_back():
    """Only what was given, quoted where a shell would split it."""
    words = [*DETECT, "--no-draw", "--txt", "--classes", "traffic light,dog", "--iou", "0.5"]
    settings = parse(DetectSettings, words, "tools/detect.py")
    text = format_flags(settings)
    assert "--classes 'traffic light,dog'" in text
    assert parse(DetectSettings, shlex.split(text), "tools/detect.py") == settings
    assert set(shlex.split(text)) == set(words)


class Words(Strict):
    """Do something with files."""

    files: tuple[Path, ...] = Field(
        description="two files", json_schema_extra={"positional": "FILES"}
    )
    rate: float = Field(0.0, description="how fast")


def test_several_words_stand_anywhere_between_flags():
    found = parse(Words, ["a", "b", "--rate", "2", "c"], "example")
    assert found.files == (Path("a"), Path("b"), Path("c"))
    assert found.rate == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "FILES is missing"),
        (["--rate", "2"], "FILES is missing"),
        ([""], "FILES: the value is empty"),
        (["a", "--rte", "2"], "unknown flag '--rte'; did you mean '--rate'?"),
        (["a", "--files", "b"], "unknown flag '--files'; see --help"),
        (["a", "--rate"], "--rate: expected one argument"),
    ],
)
def test_words_that_are_missing_or_wrong(words: list[str], message: str):
    with pytest.raises(DetectorError) as caught:
        parse(Words, words, "example")
    assert str(caught.value) == message


def test_a_flag_without_its_value_names_the_values():
    with pytest.raises(DetectorError) as caught:
        parse(TrainSettings, ["--cache"], "example")
    assert str(caught.value) == "--cache: expected one of ram, disk, none"
    assert parse(TrainSettings, ["--cache", "disk"], "example").cache == "disk"
