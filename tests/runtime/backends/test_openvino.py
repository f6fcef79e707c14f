"""OpenVINO's files: ours, and everything else in one line; without telemetry."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from detector.runtime.backends import openvino as openvino_backend
from detector.runtime.backends.backend import METADATA_KEY, ModelMetadata
from detector.runtime.backends.openvino import OpenVinoBackend, import_openvino, weights_of
from detector.runtime.backends.seal import SEAL_KEY, UNSEALED, seal
from detector.structures.preprocess import Preprocess
from detector.utils.errors import DetectorError
from tests.runtime.conftest import BOXES, METADATA, NAMES, SCORES, SIZE_HW

ROOT = Path(__file__).resolve().parents[3]


def fails(path: Path, **options: object) -> str:
    with pytest.raises(DetectorError) as caught:
        OpenVinoBackend(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("streams", [1, 2])
def test_it_runs_a_batch(make_openvino, no_network, streams):
    backend = OpenVinoBackend(make_openvino(), threads=2, streams=streams)
    images = np.stack([np.full((3, *SIZE_HW), level, np.float32) for level in (1.0, 0.5)])
    boxes, scores = backend(images)
    assert boxes.dtype == scores.dtype == np.float32
    assert np.array_equal(boxes, np.stack([BOXES, BOXES]))
    assert scores == pytest.approx(np.stack([SCORES, SCORES / 2]), abs=1e-6)


def wide_classifier(path: Path, channels: int) -> Path:
    """Write a network with a layer of this many channels, for 16 images of 256×256."""
    openvino = import_openvino()
    from openvino import opset13 as op

    x = op.parameter([16, 3, 256, 256], np.float32, name="images")
    x.output(0).set_names({"images"})
    wide = op.convolution(
        x, op.constant(np.ones((channels, 3, 1, 1), np.float32)), [1, 1], [0, 0], [0, 0], [1, 1]
    )
    wide.set_friendly_name("WIDE")
    mean = op.reduce_mean(wide, op.constant(np.array([2, 3], np.int64)), False)
    mean.output(0).set_names({"probabilities"})
    model = openvino.Model([mean], [x], "wide")
    metadata = ModelMetadata(
        names=[f"class {index}" for index in range(channels)],
        preprocess=Preprocess(size_hw=(256, 256)),
        version="1.0",
        task="classify",
    )
    model.set_rt_info(metadata.to_json(), METADATA_KEY)
    model.set_rt_info(UNSEALED, SEAL_KEY)
    openvino.save_model(model, path, compress_to_fp16=False)
    seal(path, weights_of(path))
    return path


def test_a_fixed_batch_of_a_wide_network(tmp_path: Path):
    """16·64·256² values are 2²⁶, more than one image allows, 512·256² = 2²⁵, but not 16 of them.

    16·1024·256² are 2³⁰.
    """
    backend = OpenVinoBackend(wide_classifier(tmp_path / "a.xml", 64))
    assert backend.batch_size == 16
    assert fails(wide_classifier(tmp_path / "b.xml", 1024)) == (
        "refused, it was not run: needs more memory than a network: 1,073,741,824 values at "
        "once from 'WIDE' on, at most 536,870,912 for an input of 1,048,576 pixels"
    )


def counting_classifier(path: Path, count: int, each_row: bool) -> Path:
    """Write a network with a Range, whose ``.xml`` file states 7 values, or none.

    Args:
        path: file to write.
        count: number of values of the Range.
        each_row: the Range has so many values for each row of the image instead.
    """
    openvino = import_openvino()
    from openvino import opset13 as op

    side = -1 if each_row else 64
    x = op.parameter(openvino.PartialShape([1, 3, side, side]), np.float32, name="images")
    x.output(0).set_names({"images"})
    zero, one = (op.constant(np.int64(value)) for value in (0, 1))
    stop = op.constant(np.int64(7))
    if each_row:
        stop = op.multiply(stop, op.gather(op.shape_of(x), op.constant(np.int64(2)), zero))
    numbers = op.range(zero, stop, one, output_type="i64")
    last = op.reduce_max(numbers, op.constant(np.int64([0])), keep_dims=True)
    sizes = op.concat([op.constant(np.int64([1])), op.minimum(last, op.constant(np.int64([3])))], 0)
    means = op.reshape(op.reduce_mean(x, op.constant(np.int64([2, 3])), False), sizes, False)
    means.output(0).set_names({"probabilities"})
    model = openvino.Model([means], [x], "counting")
    metadata = ModelMetadata(
        names=["a", "b", "c"],
        preprocess=Preprocess(size_hw=(64, 64)),
        version="1.0",
        task="classify",
    )
    model.set_rt_info(metadata.to_json(), METADATA_KEY)
    model.set_rt_info(UNSEALED, SEAL_KEY)
    openvino.save_model(model, path, compress_to_fp16=False)
    values = weights_of(path).read_bytes()
    assert values.count(np.int64(7).tobytes()) == 1
    weights_of(path).write_bytes(values.replace(np.int64(7).tobytes(), np.int64(count).tobytes()))
    seal(path, weights_of(path))
    return path


def test_nothing_runs_while_memory_is_limited(make_openvino, monkeypatch):
    """A run in another thread would fail by the limit on the check of a new size."""
    backend = OpenVinoBackend(make_openvino(size=("height", "width")), threads=2, streams=2)
    check, free = openvino_backend.check_sizes, []

    def checked(model: object, image: tuple[int, ...]) -> None:
        free.append(backend._requests.qsize())
        check(model, image)

    monkeypatch.setattr(openvino_backend, "check_sizes", checked)
    inputs = [np.ones((1, 3, 32, 32 * (1 + index % 8)), np.float32) for index in range(64)]
    with ThreadPoolExecutor(4) as pool:
        for boxes, _ in pool.map(backend, inputs):
            assert np.array_equal(boxes[0], BOXES)
    assert len(free) >= 8
    assert set(free) == {0}
    assert backend._requests.qsize() == 2


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
@pytest.mark.parametrize("each_row", [False, True])
def test_sizes_that_a_file_understates(each_row: bool, tmp_path: Path):
    """OpenVINO evaluates the Range, 32 GB, or 51 GB for 64 rows, to know the size of an output."""
    assert OpenVinoBackend(counting_classifier(tmp_path / "a.xml", 5, each_row)).task == "classify"
    large = counting_classifier(tmp_path / "b.xml", 10**8 if each_row else 4 * 10**9, each_row)
    started = time.monotonic()
    assert fails(large) == (
        "refused, it was not run: OpenVINO needs more memory to work out its sizes than for a "
        "network, 512 MiB and a multiple of its size"
    )
    assert time.monotonic() - started < 10


def test_the_bytes_that_are_checked_are_opened(make_openvino, monkeypatch):
    path = make_openvino()
    checked = openvino_backend.check_layers

    def check_and_replace(content: bytes) -> None:
        path.write_bytes(b"other")
        weights_of(path).write_bytes(b"\xff" * weights_of(path).stat().st_size)
        checked(content)

    monkeypatch.setattr(openvino_backend, "check_layers", check_and_replace)
    boxes, _ = OpenVinoBackend(path)(np.ones((1, 3, *SIZE_HW), np.float32))
    assert np.array_equal(boxes, BOXES[None])
    assert fails(path).startswith("no seal: ")


def test_results_are_not_overwritten_by_the_next_call(make_openvino):
    backend = OpenVinoBackend(make_openvino(), threads=1)
    _, first = backend(np.ones((1, 3, *SIZE_HW), np.float32))
    kept = first.copy()
    backend(np.zeros((1, 3, *SIZE_HW), np.float32))
    assert np.array_equal(first, kept)


def test_what_the_file_says(make_openvino):
    backend = OpenVinoBackend(make_openvino())
    assert backend.names == NAMES
    assert backend.preprocess == METADATA.preprocess
    assert (backend.batch_size, backend.dynamic_size) == (None, False)
    backend = OpenVinoBackend(make_openvino(batch=1, size=("height", "width")))
    assert (backend.batch_size, backend.dynamic_size) == (1, True)
    assert backend(np.ones((1, 3, 64, 32), np.float32))[1].shape == (1, 3, 2)


def test_files_that_are_none(make_openvino, tmp_path, capfd):
    assert fails(tmp_path / "none.xml") == "no such file"
    path = make_openvino()
    weights = weights_of(path)
    content = weights.read_bytes()
    weights.unlink()
    assert fails(path) == f"{weights}: no such file"
    weights.write_bytes(content[:-1])
    assert fails(path) == "damaged or changed: its seal does not match its content"
    weights.write_bytes(content)
    path.write_text(path.read_text().replace("Multiply", "Divide", 1))
    assert fails(path) == "damaged or changed: its seal does not match its content"
    foreign = "no seal: not a file that tools/export.py wrote, or changed since; export it again"
    path.write_text("<net")
    assert fails(path) == foreign
    assert fails(make_openvino(metadata=None)) == foreign
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        ("Mish", "OpenVINO cannot read it: "),
        ("Nothing", "refused, it was not run: has the operator 'Nothing', which is not among "),
    ],
)
def test_a_sealed_file_that_openvino_cannot_read(make_openvino, operator, message):
    path = make_openvino()
    text = re.sub(r"repdet-sha256:\w{64}", UNSEALED, path.read_text())
    path.write_text(text.replace('type="Const"', f'type="{operator}"'))
    seal(path, weights_of(path))
    assert fails(path).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_name": "x"}, "inputs are 'x', expected 'images'"),
        ({"size": (64, 64)}, "input is 64×64, but its metadata say 32×64"),
        ({"scores": np.ones((3, 5), np.float32)}, "5 classes, but its metadata name 2"),
        ({"metadata": "{}"}, "'detector' metadata: key 'names' is missing"),
        ({"elem_type": 2}, "input is u8, expected f32"),
    ],
)
def test_files_that_contradict_themselves(make_openvino, options, message):
    assert fails(make_openvino(**options)) == message


def test_metadata_that_are_nested(make_openvino):
    """OpenVINO gives a mapping in the place of the text."""
    path = make_openvino()
    text = re.sub(r"repdet-sha256:\w{64}", UNSEALED, path.read_text())
    nested, count = re.subn(
        rf'<{METADATA_KEY} value="[^"]*" ?/>',
        f'<{METADATA_KEY}><a value="1"/></{METADATA_KEY}>',
        text,
    )
    assert count == 1
    path.write_text(nested)
    seal(path, weights_of(path))
    assert fails(path).startswith("no 'detector' metadata")


def test_metadata_of_another_version(make_openvino):
    later = json.dumps({**json.loads(METADATA.to_json()), "tiles": 4}, separators=(",", ":"))
    assert fails(make_openvino(metadata=later)).endswith("; written by version 1.0, this is 0.1.0")


def test_devices(make_openvino):
    message = fails(make_openvino(), device="cuda")
    assert message.startswith("device 'cuda': OpenVINO has cpu")


def test_a_wrong_input_is_one_line(make_openvino):
    path = make_openvino()
    with pytest.raises(DetectorError) as caught:
        OpenVinoBackend(path)(np.ones((1, 3, 8, 8), np.float32))
    assert str(caught.value).startswith(f"{path}: OpenVINO: Can't set the input tensor")
    assert "\n" not in str(caught.value)


def test_without_openvino(make_openvino, monkeypatch):
    path = make_openvino()
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert "run: pip install openvino" in fails(path)


TELEMETRY = """
import sys

def refuse(event, arguments):
    if event.startswith(("socket.", "subprocess.", "os.fork", "os.posix_spawn")):
        print("ASKED", event, file=sys.stderr)
        raise OSError("not in this test")
    if event == "open" and "intel" in str(arguments[0]).split("/"):
        print("OPENED", arguments, file=sys.stderr)

sys.addaudithook(refuse)
"""


@pytest.mark.parametrize(
    ("program", "asks"),
    [
        (
            "from detector.runtime.backends.openvino import import_openvino; import_openvino()",
            False,
        ),
        ("import openvino", True),
    ],
)
def test_telemetry(program: str, asks: bool, tmp_path: Path):
    """OpenVINO reports its import unless it believes to be in CI; the second case proves the first.

    The report would go out from a forked process; its id would lie in the home folder.
    """
    quiet = {name: text for name, text in os.environ.items() if name not in ("CI", "TF_BUILD")}
    done = subprocess.run(
        [sys.executable, "-c", TELEMETRY + program],
        cwd=ROOT,
        env={**quiet, "HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert bool(done.stderr) is asks
    assert bool(list(tmp_path.iterdir())) is asks


DROPPED = """
import signal, sys, threading
from detector.runtime.backends.openvino import OpenVinoBackend

backends = [OpenVinoBackend(sys.argv[1])]
thread = threading.Thread(target=backends.clear)  # the last one ends in another thread
thread.start()
thread.join()
signal.signal(signal.SIGTERM, lambda *_: print("alive"))
signal.raise_signal(signal.SIGTERM)
"""


def test_signals_are_handled_after_a_network_ended_in_another_thread(make_openvino):
    done = subprocess.run(
        [sys.executable, "-c", DROPPED, str(make_openvino())],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "alive\n")


class Device:
    """A device of OpenVINO that computes in some precisions."""

    def __init__(self, *capabilities: str) -> None:
        self.capabilities = ["WINOGRAD", *capabilities]

    def get_property(self, device: str, name: str) -> list[str]:
        assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
        return self.capabilities


@pytest.mark.parametrize(
    ("capabilities", "asked", "certified", "expected"),
    [
        (("FP32", "BF16"), "auto", "bf16", "bf16"),
        (("FP32", "BF16"), "auto", "fp32", "fp32"),
        (("FP32",), "auto", "bf16", "fp32"),
        (("FP32", "BF16"), "fp32", "bf16", "fp32"),
        (("FP32", "BF16"), "bf16", "fp32", "bf16"),
    ],
)
def test_the_precision_of_the_arithmetic(capabilities, asked, certified, expected):
    device = Device(*capabilities)
    assert openvino_backend._arithmetic(device, "CPU", asked, certified) == expected


def test_a_precision_that_the_device_does_not_have():
    with pytest.raises(DetectorError) as caught:
        openvino_backend._arithmetic(Device("FP32", "BF16"), "CPU", "fp16", "fp32")
    assert str(caught.value) == "--precision fp16: OpenVINO's device CPU has fp32, bf16 here"


def test_a_file_for_bf16(make_openvino):
    """It runs in what this machine has."""
    metadata = METADATA.model_copy(update={"precision": "bf16", "arithmetic": "bf16"}).to_json()
    path = make_openvino(metadata=metadata)
    has_it = "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert OpenVinoBackend(path).arithmetic == ("bf16" if has_it else "fp32")
    assert OpenVinoBackend(path, precision="fp32").arithmetic == "fp32"
