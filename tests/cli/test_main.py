"""From words to a tool: wrong words end in one line and exit code 2."""

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import detector
from detector import cli
from detector.cli import main, run_tool
from detector.cli.main import EXIT_SIGNAL
from detector.cli.tools import SCRIPTS, TOOLS
from detector.utils.errors import DetectorError

ROOT = Path(__file__).resolve().parents[2]
MODULE = sys.modules["detector.cli.main"]  # the package's attribute of that name is the function
DETECT = "detect --weights w.onnx --source s"

WRONG = [
    # subcommands
    ("detekt", "unknown subcommand 'detekt'; did you mean 'detect'?"),
    ("Train", "unknown subcommand 'Train'; did you mean 'train'?"),
    (
        "zzz --weights w",
        "unknown subcommand 'zzz'; expected train, tune, val, compare, analyse, detect, "
        "tracks, serve, convert, export, info, anchors, check, checks, benchmark",
    ),
    (
        "--weights w",
        "unknown subcommand '--weights'; expected train, tune, val, compare, analyse, detect, "
        "tracks, serve, convert, export, info, anchors, check, checks, benchmark",
    ),
    # a subject that is missing or unknown
    (
        "benchmark",
        "detector benchmark: expected one of train, save, detect, ssd, backbones, int8, found "
        "nothing",
    ),
    (
        "benchmark trian --batch 4",
        "detector benchmark: expected one of train, save, detect, ssd, backbones, int8, found "
        "'trian'; "
        "did you mean 'train'?",
    ),
    # a flag that is missing
    ("detect", "--weights is missing"),
    ("detect --weights w.onnx", "--source is missing"),
    ("val --data d", "--weights is missing"),
    ("info", "--cfg is missing, or --weights"),
    ("anchors --data d", "--cfg is missing"),
    # a flag that is unknown
    (f"{DETECT} --confidense 0.3", "unknown flag '--confidense'; did you mean '--confidence'?"),
    (f"{DETECT} --conf 0.3", "unknown flag '--conf': use --confidence"),
    (f"{DETECT} --img=64", "unknown flag '--img': use --imgsz"),
    (f"{DETECT} --skip_bad", "unknown flag '--skip_bad'; did you mean '--skip-bad'?"),
    (f"{DETECT} --no-drow", "unknown flag '--no-drow'; did you mean '--no-draw'?"),
    (f"{DETECT} --no-batch", "unknown flag '--no-batch'; did you mean '--batch'?"),
    (f"{DETECT} --zzzzzzzz", "unknown flag '--zzzzzzzz'; see --help"),
    (f"{DETECT} -c 0.3", "unknown flag '-c'; see --help"),
    ("train --lr 0.1", "unknown flag '--lr': use --learning-rate"),
    ("train --batch-size 4", "unknown flag '--batch-size': use --batch"),
    ("val --weights w --epochs 3", "unknown flag '--epochs'; see --help"),
    # words of other projects; the whole table: tests/utils/test_synonyms.py
    ("train --lr0 0.01", "unknown flag '--lr0': use --learning-rate"),
    ("train --LR0=0.01", "unknown flag '--LR0': use --learning-rate"),
    ("train --close_mosaic 5", "unknown flag '--close_mosaic': use --close-mixing"),
    ("train --model yolov5n.yaml", "unknown flag '--model': use --cfg"),
    ("train --model=yolov5n.pt", "unknown flag '--model': use --weights"),
    (
        "train --model yolov5n",
        "unknown flag '--model': a model file is --cfg, trained weights are --weights",
    ),
    ("train --half", "unknown flag '--half': use --precision fp16"),
    ("train --cos-lr", "unknown flag '--cos-lr': use --schedule cosine"),
    (
        "train --launcher pytorch",
        "unknown flag '--launcher': torchrun --nproc-per-node N -m detector train, N processes",
    ),
    ("val --weights w --rect", "unknown flag '--rect': use --letterbox rectangle"),
    ("val --weights w --task test", "unknown flag '--task': use --split test"),
    (f"{DETECT} --project runs", "unknown flag '--project': use --output"),
    (f"{DETECT} --nosave", "unknown flag '--nosave': use --no-draw"),
    (
        f"{DETECT} --save-crop",
        "unknown flag '--save-crop': crops are available from Python: detections.crops(image)",
    ),
    ("export --weights w --include onnx", "unknown flag '--include': use --format"),
    ("info --model yolov5n", "unknown flag '--model': use --cfg"),
    # a word with an equals sign
    ("train data=bccd epochs=3", "unexpected word 'data=bccd': use --data bccd"),
    ("train data=a'b", """unexpected word "data=a'b": use --data 'a'"'"'b'"""),
    ("train sync_bn=True", "unexpected word 'sync_bn=True': use --sync-bn"),
    ("train augment=False", "unexpected word 'augment=False': use --no-augment"),
    ("train model=w.pt", "unexpected word 'model=w.pt': use --weights"),
    ("train lr0=0.01", "unexpected word 'lr0=0.01': use --learning-rate"),
    (
        "train half=False",
        "unexpected word 'half=False': use --precision fp16 if true",
    ),
    ("train zzz=1", "unexpected word 'zzz=1'; several values are written as a,b,c"),
    (
        "detect train data=bccd",
        "unexpected word 'train': training is a tool of its own: detector train",
    ),
    # subcommands of other projects
    ("predict --weights w", "unknown subcommand 'predict': use detect"),
    ("test --weights w", "unknown subcommand 'test': use val"),
    ("Validate", "unknown subcommand 'Validate': use val"),
    ("mode=train model=w.pt", "unknown subcommand 'mode=train': use train"),
    ("task=detect mode=predict", "unknown subcommand 'task=detect': use detect"),
    (
        "track --source v.mp4",
        "unknown subcommand 'track': tracks are made by a flag: detector detect --track bytetrack",
    ),
    ("version", "unknown subcommand 'version': it is a flag: detector --version"),
    # a value that is missing
    ("detect --weights w.onnx --source", "--source: expected one argument"),
    ("detect --weights --source s", "--weights: expected one argument"),
    ("detect --weights= --source s", "--weights: the value is empty"),
    # a value of a wrong type
    (f"{DETECT} --batch four", "--batch: expected a whole number, found 'four'"),
    (f"{DETECT} --batch 1.5", "--batch: expected a whole number, found '1.5'"),
    (f"{DETECT} --confidence high", "--confidence: expected a number, found 'high'"),
    (f"{DETECT} --confidence nan", "--confidence: expected a finite number, found 'nan'"),
    ("train --learning-rate 1e", "--learning-rate: expected a number, found '1e'"),
    ("train --albumentations Blur", "--albumentations: expected a mapping, found 'Blur'"),
    (
        "train --albumentations [{]",
        "--albumentations: not a JSON list (Expecting property name enclosed in double quotes: "
        "line 1 column 3 (char 2)), found '[{]'",
    ),
    # a value out of range
    (f"{DETECT} --batch 0", "--batch: expected at least 1, found '0'"),
    (f"{DETECT} --confidence 1.5", "--confidence: expected at most 1, found '1.5'"),
    (f"{DETECT} --iou -0.1", "--iou: expected at least 0, found '-0.1'"),
    (f"{DETECT} --imgsz 16", "--imgsz: expected at least 32, found '16'"),
    ("train --imgsz 10000", "--imgsz: expected at most 8192, found '10000'"),
    ("train --seed -1", "--seed: expected at least 0, found '-1'"),
    (
        f"train --seed {1 << 32}",
        f"--seed: expected at most {(1 << 32) - 1}, found '{1 << 32}'",
    ),
    (
        f"train --epochs {1 << 31}",
        f"--epochs: expected at most {(1 << 31) - 1}, found '{1 << 31}'",
    ),
    (f"train --freeze {10**40}", f"--freeze: expected at most {(1 << 31) - 1}, found '{10**40}'"),
    ("train --learning-rate 0", "--learning-rate: expected more than 0, found '0'"),
    ("train --scale 1", "--scale: expected less than 1, found '1'"),
    ("train --epochs 0", "--epochs: expected at least 1, found '0'"),
    ("export --weights w --opset 99", "--opset: expected at most 23, found '99'"),
    ("info --cfg c --classes 0", "--classes: expected at least 1, found '0'"),
    # a choice that is unknown
    (
        "export --weights w --format onx",
        "--format: expected 'onnx', 'openvino' or 'pt2', found 'onx'",
    ),
    ("train --optimizer adam", "--optimizer: expected 'sgd' or 'adamw', found 'adam'"),
    (
        "train --precision fp8",
        "--precision: expected 'auto', 'fp64', 'fp32', 'fp16' or 'bf16', found 'fp8'",
    ),
    # a word that stands alone
    (f"{DETECT} more", "unexpected word 'more'; several values are written as a,b,c"),
    (
        f"{DETECT} --classes cat dog",
        "unexpected word 'dog'; several values are written as a,b,c",
    ),
    (f"{DETECT} --txt yes", "unexpected word 'yes'; several values are written as a,b,c"),
]


@pytest.mark.parametrize(("line", "message"), WRONG, ids=[line for line, _ in WRONG])
def test_wrong_command_lines(line: str, message: str, capsys: pytest.CaptureFixture[str]):
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"error: {message}\n")


def run_script(folder: Path, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """``tools/detect.py`` in a process of its own."""
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "detect.py"), *words],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_debug_shows_the_traceback(tmp_path: Path):
    with pytest.raises(DetectorError, match="--batch: expected at least 1"):
        main([*DETECT.split(), "--batch", "0", "--debug"])
    with pytest.raises(DetectorError, match="no such file"):
        run_tool("info", ["--cfg", "nowhere.yaml", "--debug"])
    done = run_script(tmp_path, "--weights", "w.onnx", "--source", "s", "--debug")
    assert done.returncode != 0
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.endswith("DetectorError: w.onnx: no such file; expected weights\n")


def broken(*_: object) -> None:
    raise ZeroDivisionError("division\nby zero")


def test_what_nobody_foresaw_is_one_line_too(monkeypatch, capsys):
    monkeypatch.setattr(MODULE, "_import_function", lambda _: broken)
    assert run_tool("info", ["--cfg", "c"]) == 2
    message = "unexpected ZeroDivisionError: division; --debug shows where"
    assert capsys.readouterr().err == f"error: {message}\n"
    with pytest.raises(ZeroDivisionError):
        run_tool("info", ["--cfg", "c", "--debug"])


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("torch", 'pip install "repdet[train]"'),
        ("onnxruntime", 'pip install "repdet[runtime]"'),
        ("onnx", 'pip install "repdet[export]"'),  # int8 includes that extra
        ("tqdm", "detector checks"),  # of the base: the installation is broken
        ("acme_blocks", "detector checks"),
    ],
)
def test_a_library_that_is_not_installed(module, command, monkeypatch, capsys):
    def tool(_: object) -> None:
        raise ModuleNotFoundError(f"No module named '{module}'", name=module)

    monkeypatch.setattr(MODULE, "_import_function", lambda _: tool)
    assert run_tool("info", ["--cfg", "c"]) == 2
    assert capsys.readouterr().err == f"error: {module} is not installed; run: {command}\n"


def test_interruption_from_the_keyboard(monkeypatch, capsys):
    def tool(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(MODULE, "_import_function", lambda _: tool)
    assert run_tool("info", ["--cfg", "c"]) == EXIT_SIGNAL + signal.SIGINT
    assert capsys.readouterr().err == "interrupted\n"


def test_metrics_are_written_as_json(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(MODULE, "_import_function", lambda _: lambda settings: {"macs": 7})
    file = tmp_path / "new" / "metrics.json"
    assert run_tool("info", ["--cfg", "c", "--json", str(file)]) == 0
    assert file.read_text() == '{\n "macs": 7\n}\n'
    assert run_tool("info", ["--cfg", "c", "--json", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}: cannot be written: Is a directory\n"


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"detector {detector.__version__}\n"


@pytest.mark.parametrize(
    ("words", "code", "out", "err"),
    [
        (["--version"], 0, f"detector {detector.__version__}\n", ""),
        (["predict"], 2, "", "error: unknown subcommand 'predict': use detect\n"),
    ],
)
def test_python_m_detector(words: list[str], code: int, out: str, err: str):
    done = subprocess.run(
        [sys.executable, "-m", "detector", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, out, err)


def test_overview(capsys):
    assert main([]) == 2
    without = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == without
    for name, tool in TOOLS.items():  # the longest name, "benchmark backbones", has 19 letters
        assert f"  {name:19}  {tool.settings.__doc__.splitlines()[0]}\n" in without
    assert len(without.splitlines()) == 2 + len(TOOLS)  # one line each


def test_overview_of_subjects(capsys):
    assert run_tool("benchmark", ["--help"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("usage: tools/benchmark.py TOOL [flags]")
    line = "  ssd        Speed of SSD300 from image to boxes, compared with torchvision's.\n"
    assert line in printed
    assert "anchors" not in printed


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_and_subcommand_are_one_function(name: str, monkeypatch):
    """``python tools/X.py`` calls what ``detector X`` calls, with the same words."""
    seen = []

    def noted(*arguments: object, **_: object) -> int:
        seen.append(arguments)
        return 7

    script = compile((ROOT / "tools" / f"{name}.py").read_text(), f"{name}.py", "exec")
    monkeypatch.setattr(cli, "run_tool", noted)
    with pytest.raises(SystemExit) as done:
        exec(script, {"__name__": "__main__"})
    assert done.value.code == 7
    monkeypatch.setattr(MODULE, "run_tool", noted)
    assert main([name, "--words"]) == 7
    assert seen == [(name,), (name, ["--words"])]


def test_every_script_has_a_tool():
    assert {path.stem for path in (ROOT / "tools").glob("*.py")} == set(SCRIPTS)
    (script,) = entry_points(group="console_scripts", name="detector")
    assert script.load() is main


def test_a_script_as_a_process(tmp_path: Path):
    """From another folder, and with an environment full of the names of settings."""
    names = {"imgsz": "x", "IMGSZ": "x", "batch": "0", "DATA": "x", "NAME": "x", "debug": "1"}
    done = run_script(tmp_path, "--weights", "w.onnx", "--source", "s", **names)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: w.onnx: no such file; expected weights\n"


def test_a_reader_that_leaves():
    """As ``| head`` does: no error, and the shell's exit code for it, 128 + 13."""
    words = [sys.executable, "tools/info.py", "--cfg", "yolov5n"]
    with subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_an_encoding_with_few_letters(tmp_path: Path):
    """The help of train has ± and β; a table has ×."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "train.py"), "--help"],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "rotation, ? degrees" in done.stdout


@pytest.mark.parametrize("word", ["a\0b.pt", "a\ud800.pt"])
def test_names_that_no_file_can_have(capsys: pytest.CaptureFixture[str], word: str):
    assert run_tool("export", ["--weights", word]) == 2
    assert capsys.readouterr().err == (
        f"error: {ascii(word)}: has a character that no file name can have\n"
    )


def test_a_name_that_is_too_long(capsys: pytest.CaptureFixture[str]):
    name = "x" * 300 + ".pt"
    assert run_tool("export", ["--weights", name]) == 2
    assert capsys.readouterr().err == f"error: {name}: cannot be read: File name too long\n"


def test_what_the_system_answers_about_a_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    assert run_tool("info", ["--cfg", "a.yaml"]) == 2
    assert "unexpected" not in capsys.readouterr().err
    assert run_tool("export", ["--weights", "a.pt"]) == 2
    assert capsys.readouterr().err == "error: a.pt: cannot be read: Permission denied\n"
    monkeypatch.setattr(MODULE, "_run", lambda *_: refuse(Path("b/c.txt")))
    assert run_tool("info", []) == 2
    assert capsys.readouterr().err == "error: b/c.txt: Permission denied\n"
    monkeypatch.setattr(MODULE, "_run", lambda *_: refuse(Path("b/\x1b[31mc\n.txt")))
    assert run_tool("info", []) == 2
    assert capsys.readouterr().err == "error: b/\\x1b[31mc .txt: Permission denied\n"

    def rename(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b")

    monkeypatch.setattr(MODULE, "_run", rename)
    assert run_tool("info", []) == 2
    assert capsys.readouterr().err == "error: a → b: Invalid cross-device link\n"


@pytest.mark.skipif(os.name != "posix", reason="closes streams as a shell does")
@pytest.mark.parametrize(
    ("streams", "code", "message"),
    [
        ("2>&- >&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
        (">/dev/full", 2, "error: No space left on device\n"),
        (">/dev/full 2>/dev/full", 2, ""),
    ],
)
def test_closed_and_full_streams(streams: str, code: int, message: str):
    tool = f"{shlex.quote(sys.executable)} -m detector info --cfg yolov5n {streams}"
    done = subprocess.run(["sh", "-c", tool], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, message)


WITHOUT_TORCH = """
import contextlib, io, json, sys
from detector.cli import main

found = []
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as stop:
            code = stop.code
    found.append([err.getvalue(), code, "torch" in sys.modules])
print(json.dumps(found))
"""


def run_alone(*commands: list[str]) -> list[list[object]]:
    """Run commands one after the other in a process of their own.

    Returns:
        For each what it wrote to stderr, its exit code, and whether torch was imported until then.
    """
    words = [sys.executable, "-c", WITHOUT_TORCH, json.dumps(commands)]
    ran = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(ran.stdout)


def test_wrong_flags_are_answered_before_torch_is_imported() -> None:
    flags = {
        ("--zzzzz", "x"): ["error: unknown flag '--zzzzz'; see --help\n", 2, False],
        ("--help",): ["", 0, False],
        ("--version",): ["", 0, False],
    }
    commands = [[*tool.split(), *words] for tool in TOOLS for words in flags]
    expected = [answer for _ in TOOLS for answer in flags.values()]
    for command, found, answer in zip(commands, run_alone(*commands), expected, strict=True):
        assert found == answer, command


def test_wrong_words_of_train_are_answered_before_torch_is_imported() -> None:
    wrong = {
        "--cfgg x": "unknown flag '--cfgg'; did you mean '--cfg'?",
        "--cfg yolov5n --epohcs 3": "unknown flag '--epohcs'; did you mean '--epochs'?",
        "--cfg yolov5n --lr0 1": "unknown flag '--lr0': use --learning-rate",
        "--cfg yolov5n --epochs": "--epochs: expected one argument",
        "yolov5n": "unexpected word 'yolov5n'; several values are written as a,b,c",
    }
    found = run_alone(*(["train", *words.split()] for words in wrong))
    assert found == [[f"error: {error}\n", 2, False] for error in wrong.values()]


def test_flags_of_another_head_are_known_with_torch_only() -> None:
    ((found, code, has_torch),) = run_alone(["train", "--cfg", "yolov5n", "--l1-gain", "1"])
    assert (code, has_torch) == (2, True)
    assert str(found).startswith(
        "error: --l1-gain is a setting of YOLOXHead, and this network's head"
    )


def test_version_of_a_tool(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tool("train", ["--version"]) == main(["--version"]) == 0
    assert capsys.readouterr().out == f"detector {detector.__version__}\n" * 2
