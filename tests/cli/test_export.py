"""``export``: the file, its metrics, and every reason why there is none."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from detector.cli.export import _without_folders
from detector.cli.flags import format_flags
from detector.export.formats import FORMATS
from detector.export.pt2.backend import Pt2Backend
from detector.runtime.backends.backend import METADATA_KEY
from detector.runtime.backends.onnx import OnnxBackend
from detector.runtime.backends.openvino import import_openvino
from detector.settings.detect import DetectSettings
from detector.settings.export import ExportSettings
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import load

Run = Callable[..., Any]


@pytest.mark.parametrize("exported", ["finder_onnx", "finder_pt2"])
def test_metrics(exported: str, request: pytest.FixtureRequest):
    file: Path = request.getfixturevalue(exported)
    metrics = json.loads((file.parent / "export.json").read_text())
    assert metrics["path"] == str(file)  # the suffix was added
    assert file.is_file()
    assert metrics["max_abs_diff"] == max(metrics["max_box_diff_px"], metrics["max_score_diff"])
    # Float32 at 64 pixels has steps of 7.6e-6; a sigmoid's approximation errs by about 1e-6.
    assert metrics["max_box_diff_px"] < 1e-3
    assert metrics["max_score_diff"] < 1e-5
    assert metrics["ms_before"] > 0
    assert metrics["ms_after"] > 0
    beside = f"{file.name}.certificate.json"
    assert {path.name for path in file.parent.iterdir()} == {file.name, beside, "export.json"}


def test_what_travels_in_the_file(finder: Path, finder_onnx: Path, finder_pt2: Path):
    model = load(finder)
    for backend in (OnnxBackend(finder_onnx), Pt2Backend(finder_pt2)):
        assert backend.names == ("red", "green")
        assert backend.preprocess == model.preprocess
    assert OnnxBackend(finder_onnx).batch_size == 1
    assert not OnnxBackend(finder_onnx).dynamic_size
    assert Pt2Backend(finder_pt2).batch_size is None
    assert Pt2Backend(finder_pt2).dynamic_size


def test_the_command_without_folders(finder_onnx: Path):
    """A file is handed out: it says what was typed, and not where its owner keeps things."""
    content = finder_onnx.read_bytes()
    assert b"tools/export.py " in content
    assert b" --output finder" in content
    assert str(finder_onnx.parent).encode() not in content


def test_default_place_and_another_size(run: Run, finder: Path, tmp_path: Path):
    weights = tmp_path / "best.safetensors"
    weights.write_bytes(finder.read_bytes())
    ran = run("export", "--weights", weights, "--format", "pt2", "--imgsz", 96)
    assert ran.metrics["path"] == str(tmp_path / "best.pt2")
    assert Pt2Backend(tmp_path / "best.pt2").preprocess.size_hw == (96, 96)
    assert ran.out.splitlines()[:4] == [
        "fusing the network, and comparing it with the trained one",
        "converting the network to pt2, fp32",
        "comparing the file's outputs with those of the network",
        "sealing the file with its certificate",
    ]
    assert ran.out.splitlines()[4].startswith(f"{tmp_path / 'best.pt2'}: fused 4 blocks, ")
    # 4 drawn images and random ones
    assert ran.metrics["images"] > 4
    assert "largest difference on " in ran.out
    assert " ms per image before, " in ran.out


def test_nms_settings_without_nms(run: Run, finder: Path, tmp_path: Path):
    words = ("--weights", finder, "--output", tmp_path / "a", "--confidence", 0.5)
    ran = run("export", *words)
    message = "error: --confidence: without --nms it has no effect; omit it\n"
    assert (ran.code, ran.err) == (2, message)
    assert not list(tmp_path.glob("a*"))


def test_real_images(run: Run, finder: Path, finder_images: Path, tmp_path: Path):
    """No more than four images of a source are compared; one is enough."""
    words = ("--weights", finder, "--format", "pt2", "--output", tmp_path / "m.pt2", "--source")
    without = run("export", *words, finder_images / "a.png").metrics["images"] - 1
    assert run("export", *words, finder_images).metrics["images"] == without + 4


def test_sizes_of_real_images(
    run: Run, finder: Path, finder_images: Path, tmp_path: Path, monkeypatch
):
    """Images are 64×64 pixels but d, 64×128, and drawn ones, 240×320."""
    compared = []

    def export(*arguments: Any, **options: Any) -> None:
        compared.append([tuple(one.shape) for one in arguments[3]])
        raise DetectorError("enough")

    monkeypatch.setattr("detector.export.request.export_model", export)
    words = ("--weights", finder, "--format", "pt2", "--output", tmp_path / "m")
    for more in ((), ("--dynamic",), ("--dynamic", "--source", finder_images)):
        assert run("export", *words, *more).code == 2
    square, drawn, wide = (1, 3, 64, 64), (1, 3, 48, 64), (1, 3, 32, 64)
    assert compared == [[square] * 4, [square] * 4 + [drawn] * 4, [square] * 4 + [wide]]


def test_a_deployed_checkpoint_is_exported_too(run: Run, finder: Path, tmp_path: Path):
    from detector.model.deploy import deploy
    from detector.weights.checkpoint import save_weights

    save_weights(tmp_path / "deployed.safetensors", deploy(load(finder))[0])
    words = ("--weights", tmp_path / "deployed.safetensors", "--format", "pt2")
    assert run("export", *words).code == 0


def test_weights_that_are_none(fails: Run, finder: Path, finder_onnx: Path, tmp_path: Path):
    def message(weights: Path) -> str:
        return fails("export", "--weights", weights)

    notes = tmp_path / "notes.txt"
    notes.write_text("not weights")
    assert message(notes).startswith(f"{notes}: ")
    none = tmp_path / "none.safetensors"
    assert message(none).startswith(f"{none}: no such file")
    assert message(finder_onnx) == (
        f"{finder_onnx}: an exported file, for detect and val only; expected .safetensors or .pt"
    )
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(finder.read_bytes()[:-1])
    assert message(cut).startswith(f"{cut}: damaged or not a .safetensors file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.safetensors", "notes.txt"]


def test_a_size_that_does_not_fit(fails: Run, finder: Path):
    assert fails("export", "--weights", finder, "--imgsz", 70) == (
        "imgsz 70 is not a multiple of the network's stride 16; the nearest is 64"
    )


def test_a_batch_in_the_file(run: Run, finder: Path, finder_data: Path, tmp_path: Path):
    """Five images in calls of four; AP is measured with the file's batch, too."""
    words = ("--weights", finder, "--output", tmp_path / "four", "--batch", 4)
    ran = run("export", *words, "--data", finder_data)
    assert "measuring both on split 'val': " in ran.out
    assert "--batch 4 " in ran.metrics["certificate"]["command"]
    measured = ran.metrics["certificate"]["measured"]
    assert measured["before"]["AP"] == measured["after"]["AP"]
    assert OnnxBackend(tmp_path / "four.onnx").batch_size == 4
    words = ("--weights", tmp_path / "four.onnx", "--certificate", "--data", finder_data)
    assert run("val", *words).metrics["AP"] == measured["after"]["AP"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ("--batch", 4, "--dynamic"),
            "--batch does not go with --dynamic: such a file takes any number of images",
        ),
        (("--batch", 65), "--batch: expected at most 64, found '65'"),
        (("--batch", 0), "--batch: expected at least 1, found '0'"),
        (
            ("--opset", 13, "--format", "pt2"),
            "--opset is not for --format pt2: it is ONNX's",
        ),
        (("--opset", 12), "--opset: expected at least 13, found '12'"),
        (
            ("--imgsz", "64,70"),
            "imgsz 64,70 is not a multiple of the network's stride 16; the nearest is 64",
        ),
    ],
)
def test_flags_that_do_not_fit(
    fails: Run, finder: Path, tmp_path: Path, flags: tuple[object, ...], message: str
):
    assert fails("export", "--weights", finder, "--output", tmp_path / "a", *flags) == message
    assert not list(tmp_path.glob("a*"))


def test_bf16_needs_annotated_images(fails: Run, finder: Path):
    words = ("--weights", finder, "--format", "openvino", "--precision", "bf16")
    assert fails("export", *words) == (
        "--precision bf16 needs --data: what it costs is measured on labelled images"
    )


def test_arithmetic_in_bf16(run: Run, finder: Path, finder_data: Path, tmp_path: Path):
    """Certified by its AP; where a machine has no bf16, it cannot be measured."""
    core = import_openvino().Core()
    has_it = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    path = tmp_path / "short.xml"
    words = ("--weights", finder, "--output", path, "--format", "openvino", "--precision", "bf16")
    ran = run("export", *words, "--data", finder_data)
    if not has_it:
        assert ran.err == (
            "error: --precision bf16: this machine computes in fp32, so that it cannot be "
            "measured; export on one that has it\n"
        )
        return
    assert re.search(r"^AP on 5 images: 1\.0000 → [01]\.\d{4}, a change of ", ran.out, re.MULTILINE)
    line = f"{path}: computes in bf16, for which it is certified"
    ran = run("val", "--weights", path, "--data", finder_data, "--certificate")
    assert (ran.out + ran.err).splitlines().count(line) == 1
    ran = run("val", "--weights", path, "--data", finder_data, "--precision", "fp32")
    assert f"{path}: computes in fp32, it is certified for bf16\n" in ran.out + ran.err


@pytest.mark.parametrize(
    ("precision", "message"),
    [
        ("bf16", "--precision bf16 is not for --format onnx; use openvino"),
        ("half", "--precision: expected 'fp32', 'bf16', 'fp16' or 'int8', found 'half'"),
    ],
)
def test_a_precision_that_cannot_be_had(
    fails: Run, finder: Path, tmp_path: Path, precision: str, message: str
):
    words = ("--weights", finder, "--output", tmp_path / "a", "--precision", precision)
    assert fails("export", *words) == message
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file(fails: Run, finder: Path, tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("mine")
    words = ("--weights", finder, "--format", "pt2", "--output", file / "model")
    assert fails("export", *words) == f"{file / 'model.pt2'}: cannot be written: File exists"
    assert file.read_text() == "mine"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(fails: Run, finder: Path, tmp_path: Path):
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o500)
    words = ("--weights", finder, "--format", "pt2", "--output", folder / "model.pt2")
    message = fails("export", *words)
    assert message == f"{folder / 'model.pt2'}: cannot be written: Permission denied"


def test_a_disk_that_is_full(fails: Run, finder: Path, tmp_path: Path, monkeypatch):
    """An existing file is kept, and no temporary file is left."""
    old = tmp_path / "model.pt2"
    old.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("detector.utils.files.os.fsync", full)
    message = fails("export", "--weights", finder, "--format", "pt2", "--output", old)
    assert message == f"{old}: cannot be written: No space left on device"
    assert old.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt2"]


def test_sources_that_are_none(fails: Run, finder: Path, finder_images: Path, tmp_path: Path):
    words = ("--weights", finder, "--format", "pt2", "--output", tmp_path / "m", "--source")
    assert fails("export", *words, tmp_path / "none") == (
        f"{tmp_path / 'none'}: no such file or folder"
    )
    broken = tmp_path / "broken.png"
    broken.write_bytes((finder_images / "b.png").read_bytes()[:60])
    assert fails("export", *words, broken) == (f"{broken}: is not an image that OpenCV can decode")
    assert not (tmp_path / "m.pt2").exists()


def test_the_recorded_command_holds_no_password_and_no_token():
    url = "rtsp://me:sec/ret@10.0.0.7/live/door.sdp?token=secret"
    settings = ExportSettings(weights=Path("runs/best.safetensors"), source=url)
    recorded = "--weights best.safetensors --source 'door.sdp?***'"
    assert format_flags(_without_folders(settings)) == recorded
    assert format_flags(DetectSettings(weights=Path("best.onnx"), source=url)) == (
        "--weights best.onnx --source 'rtsp://***@10.0.0.7/live/door.sdp?***'"
    )


# --------------------------------------------------------------------------------------- --accept


def changed(source: Path, path: Path, change: Callable[[Any], None]) -> Path:
    """Write a copy of an ONNX file, changed by a function of its proto; its seal is broken."""
    proto = onnx.load(source)
    change(proto)
    path.write_bytes(proto.SerializeToString())
    return path


def renamed(proto: Any) -> None:
    proto.graph.name = "simplified"


def scaled_weights(factor: float) -> Callable[[Any], None]:
    def change(proto: Any) -> None:
        for tensor in proto.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.ndim == 4:
                tensor.CopyFrom(numpy_helper.from_array(values * np.float32(factor), tensor.name))

    return change


def restated(**values: Any) -> Callable[[Any], None]:
    """Return a change of the metadata."""

    def change(proto: Any) -> None:
        for item in proto.metadata_props:
            if item.key == METADATA_KEY:
                item.value = json.dumps({**json.loads(item.value), **values})

    return change


def test_a_changed_file_is_accepted(run: Run, finder: Path, finder_onnx: Path, tmp_path: Path):
    path = changed(finder_onnx, tmp_path / "changed.onnx", renamed)
    with pytest.raises(DetectorError, match="damaged or changed: its seal does not match"):
        OnnxBackend(path)
    ran = run("export", "--weights", finder, "--accept", path)
    assert ran.metrics["path"] == str(path)
    assert ran.metrics["max_box_diff_px"] < 1e-3
    assert OnnxBackend(path).names == ("red", "green")
    assert onnx.load(path).graph.name == "simplified"
    assert run("val", "--weights", path, "--certificate").code == 0
    certificate = ran.metrics["certificate"]
    assert certificate["command"].startswith(
        "tools/export.py --weights finder.safetensors --accept"
    )
    assert (
        certificate["weights_sha256"]
        == OnnxBackend(finder_onnx).metadata.certificate.weights_sha256
    )


def test_accepted_into_another_file(run: Run, finder: Path, finder_onnx: Path, tmp_path: Path):
    path = changed(finder_onnx, tmp_path / "changed.onnx", renamed)
    before = path.read_bytes()
    words = ("--weights", finder, "--accept", path, "--output", tmp_path / "new.onnx")
    assert run("export", *words).code == 0
    assert path.read_bytes() == before
    assert OnnxBackend(tmp_path / "new.onnx").batch_size == 1


@pytest.mark.slow
def test_a_changed_file_with_nms(
    run: Run, fails: Run, finder: Path, finder_onnx: Path, tmp_path: Path
):
    path = tmp_path / "nms.onnx"
    words = ("--weights", finder, "--output", path, "--nms", "--confidence", 0.3)
    assert run("export", *words).code == 0
    before = OnnxBackend(path).metadata
    changed(path, path, renamed)
    assert run("export", "--weights", finder, "--accept", path).code == 0
    after = OnnxBackend(path).metadata
    assert (after.nms, after.nms.confidence) == (before.nms, 0.3)
    assert run("val", "--weights", path, "--certificate").code == 0
    changed(path, path, scaled_weights(1.01))
    message = fails("export", "--weights", finder, "--accept", path)
    assert message.startswith("the exported file differs from the network: ")


def test_a_file_with_other_weights(fails: Run, finder: Path, finder_onnx: Path, tmp_path: Path):
    path = changed(finder_onnx, tmp_path / "changed.onnx", scaled_weights(1.01))
    before = path.read_bytes()
    message = fails("export", "--weights", finder, "--accept", path)
    assert re.fullmatch(
        r"the exported file differs from the network: (boxes|scores) by \d\.\d\de[-+]\d\d.*"
        r"allowed is \d.*; nothing was written",
        message,
    )
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir() if "certificate" in one.name] == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"names": ["green", "red"]},
            "its metadata say names ('green', 'red'), the weights ('red', 'green')",
        ),
        ({"names": ["red"]}, "its metadata say names ('red',), the weights ('red', 'green')"),
        ({"stride": 1}, "its metadata say stride 1, the weights 16"),
        (
            {"task": "classify", "decoding": None},
            "its metadata say task 'classify', the weights 'detect'",
        ),
        (
            {"task": "classify"},
            "'detector' metadata: decoding: a classifier, or a file with NMS inside, has no raw "
            "boxes",
        ),
    ],
)
def test_metadata_that_lie(
    fails: Run, finder: Path, finder_onnx: Path, tmp_path: Path, values: dict, message: str
):
    path = changed(finder_onnx, tmp_path / "changed.onnx", restated(**values))
    assert fails("export", "--weights", finder, "--accept", path) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("key", "value"),
    [("mean_rgb", [1, 0, 0]), ("mode", "stretch"), ("pad_value", 0), ("size_hw", [64, 96])],
)
def test_preprocessing_that_lies(
    fails: Run, finder: Path, finder_onnx: Path, tmp_path: Path, key: str, value: Any
):
    true = json.loads(OnnxBackend(finder_onnx).preprocess.model_dump_json())
    lie = restated(preprocess={**true, key: value})
    path = changed(finder_onnx, tmp_path / "changed.onnx", lie)
    message = fails("export", "--weights", finder, "--accept", path)
    if key == "size_hw":  # the file itself has another size
        assert message.endswith("input is 64×64, but its metadata say 64×96")
    else:
        assert message.startswith(f"{path}: its metadata say preprocess ")
        assert "the weights" in message


def test_files_that_cannot_be_accepted(fails: Run, finder: Path, finder_onnx: Path, tmp_path: Path):
    def message(path: Path, *flags: object) -> str:
        return fails("export", "--weights", finder, "--accept", path, *flags)

    text = tmp_path / "text.onnx"
    text.write_text("not a model")
    assert message(text) == f"{text}: is not an ONNX file"
    none = tmp_path / "none.onnx"
    assert message(none) == f"{none}: cannot be read: No such file or directory"
    bare = changed(finder_onnx, tmp_path / "bare.onnx", lambda p: p.ClearField("metadata_props"))
    assert message(bare) == (
        f"{bare}: no 'detector' metadata (class names, preprocessing): "
        "not a file that tools/export.py wrote"
    )
    assert message(finder_onnx, "--imgsz", 64, "--opset", 13) == (
        "--imgsz, --opset: the file of --accept decides it; omit them"
    )


@pytest.mark.parametrize("form", ["onnx", "openvino", "pt2"])
def test_a_name_that_is_not_utf_8(
    form: str, run: Run, finder: Path, finder_images: Path, tmp_path: Path
):
    output = tmp_path / os.fsdecode(b"\xff")
    metrics = run("export", "--weights", finder, "--format", form, "--output", output).metrics
    file = Path(metrics["path"])
    assert file.stem == output.name
    assert metrics["certificate"]["command"].endswith("--output '\\udcff' --json metrics.json")
    assert run("val", "--weights", file, "--certificate").code == 0
    assert run("detect", "--weights", file, "--source", finder_images, "--no-draw").code == 0


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a place of Linux")
@pytest.mark.parametrize("form", ["onnx", "openvino", "pt2"])
def test_a_place_that_takes_no_files(form: str, fails: Run, finder: Path):
    words = ("--weights", finder, "--format", form, "--output", "/proc/x")
    suffix = FORMATS[form].path("x").suffix
    message = f"/proc/x{suffix}: cannot be written: No such file or directory"
    assert fails("export", *words) == message
