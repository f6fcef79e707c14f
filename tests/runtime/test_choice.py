"""The fastest of several files: certificates, fake clocks, files that do not belong together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.runtime.backends.certificate import Certificate, Difference, Fusing, Measured
from detector.runtime.backends.exported import ExportedBackend
from detector.runtime.choice import TIMED_RUNS, choose_file, exported_files, ms_per_image
from detector.settings.nms import NmsSettings
from detector.structures.preprocess import Preprocess
from detector.utils.errors import DetectorError
from tests.runtime.conftest import METADATA

SHA = "ab" * 32


class Clock:
    """Seconds that pass only while a network runs."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def certificate(precision: str, drop: float | None, sha: str = SHA) -> Certificate:
    """What an export writes; AP before it was 0.5."""
    measured = None
    if drop is not None:
        ap = {"before": {"AP": 0.5}, "after": {"AP": 0.5 - drop}}
        measured = Measured(data="d.yaml", split="val", images=128, **ap)
    same = Difference(boxes_px=0, scores=0)
    return Certificate(
        weights_sha256=sha,
        fusing=Fusing(fp64=0, fp32=0, worst_block="rows.0", blocks=1),
        exported=same,
        before_nms=same,
        after_nms=None,
        images=4,
        precision=precision,
        measured=measured,
        versions={},
    )


class Clocked(ExportedBackend):
    """A file whose runs take these seconds by a clock, one after the other, the last ones alike."""

    def __init__(self, name: str, clock: Clock, *seconds: float, batch: int = 1, **fields: Any):
        metadata = METADATA.model_copy(update=fields)
        images = {"images": (batch, 3, *metadata.preprocess.size_hw)}
        outputs = dict.fromkeys(metadata.outputs, ())
        super().__init__(Path(name), metadata, images, outputs)
        self.clock = clock
        self.seconds = list(seconds)

    def __call__(self, images: np.ndarray) -> tuple[()]:
        assert not images.any()
        self.clock.now += self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]
        return ()


def files(*given: tuple[str, str, float | None, float]) -> tuple[dict[str, Any], Clock]:
    """Files by name, of (name, precision, drop, seconds a run); and their clock."""
    clock = Clock()
    backends = {
        name: Clocked(
            name, clock, seconds, certificate=certificate(precision, drop), precision=precision
        )
        for name, precision, drop, seconds in given
    }
    return backends, clock


def chosen(backends: dict[str, Any], clock: Clock, max_drop: float = 0.005) -> Any:
    return choose_file([*map(Path, backends)], lambda path: backends[str(path)], max_drop, clock)


def test_the_fastest_that_is_allowed(caplog: pytest.LogCaptureFixture):
    """int8 in c.xml is faster than all others, and loses 0.02."""
    backends, clock = files(
        ("a.onnx", "fp32", None, 0.028),
        ("b.xml", "bf16", -0.001, 0.0186),
        ("c.xml", "int8", 0.02, 0.010),
        ("d.onnx", "int8", 0.004, 0.0218),
        ("e.onnx", "fp16", None, 0.001),
    )
    with caplog.at_level("INFO", "detector"):
        choice = chosen(backends, clock)
    assert choice.path == Path("b.xml")
    assert choice.left_out == (Path("c.xml"), Path("e.onnx"))
    assert choice.to_dict()["ms_per_image"] == pytest.approx(
        {"a.onnx": 28.0, "b.xml": 18.6, "d.onnx": 21.8}
    )
    assert caplog.messages == [
        "c.xml: int8, AP 0.5000 → 0.4800 on 128 images; left out, allowed is a drop of 0.005",
        "e.onnx: fp16, no metric measured; left out, allowed is a drop of 0.005",
        "a.onnx: fp32, outputs as the network's; 28.0 ms an image",
        "b.xml: bf16, AP 0.5000 → 0.5010 on 128 images; 18.6 ms an image",
        "d.onnx: int8, AP 0.5000 → 0.4960 on 128 images; 21.8 ms an image",
        "b.xml: the fastest here, by 10 runs on a blank image",
    ]
    assert chosen(backends, clock, max_drop=0.05).path == Path("c.xml")


def test_only_the_file_in_fp32_is_certified():
    backends, clock = files(("a.onnx", "fp32", None, 9.0), ("b.xml", "int8", 0.1, 1.0))
    assert chosen(backends, clock).path == Path("a.onnx")


def test_the_first_of_two_that_are_equally_fast():
    backends, clock = files(("b.onnx", "fp32", None, 1.0), ("a.onnx", "fp32", None, 1.0))
    assert chosen(backends, clock).path == Path("b.onnx")


def test_the_median_without_the_first_runs():
    """Two runs warm up; of ten, three are slow: the median is that of the others, 0.4 s for two."""
    clock = Clock()
    slow = Clocked("a.onnx", clock, 9, 9, 5, 5, 5, 0.4, batch=2)
    assert ms_per_image([slow], clock) == pytest.approx([200])
    assert TIMED_RUNS == 10


def refusal(*others: Clocked) -> str:
    clock = others[0].clock
    backends = {str(one.path): one for one in others}
    with pytest.raises(DetectorError) as caught:
        chosen(backends, clock)
    return str(caught.value)


def of_kind(name: str, sha: str = SHA, **fields: Any) -> Clocked:
    return Clocked(name, Clock(), 1.0, certificate=certificate("fp32", None, sha), **fields)


def test_files_of_two_networks():
    assert refusal(of_kind("a.onnx"), of_kind("b.onnx", "cd" * 32)) == (
        "b.onnx: made from weights cdcdcdcdcdcd…, a.onnx from abababababab…; expected files of one "
        "network"
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"names": ("dog", "cat")}, "class names"),
        ({"preprocess": Preprocess(size_hw=(64, 64))}, "preprocessing"),
        ({"nms": NmsSettings()}, "NMS inside"),
    ],
)
def test_files_of_two_kinds(fields: dict[str, Any], words: str):
    assert refusal(of_kind("a.onnx"), of_kind("b.onnx", **fields)) == (
        f"b.onnx: differs from a.onnx in its {words}; expected files of one kind"
    )


def test_a_file_without_certificate():
    assert refusal(of_kind("a.onnx"), Clocked("b.onnx", Clock(), 1.0)) == (
        "b.onnx: has no certificate, by which one of several files is chosen"
    )


def test_none_is_certified():
    backends, clock = files(("a.onnx", "int8", 0.006, 1.0), ("b.xml", "bf16", 0.01, 1.0))
    with pytest.raises(DetectorError) as caught:
        chosen(backends, clock)
    assert str(caught.value) == (
        "no file is certified for a drop of at most 0.005 (--max-drop): a.onnx, b.xml; export one "
        "in fp32"
    )


def test_a_checkpoint_among_them(tmp_path: Path):
    path = tmp_path / "best.safetensors"
    path.touch()
    with pytest.raises(DetectorError) as caught:
        choose_file([path], lambda _: pytest.fail("opened"), 0.005)
    assert str(caught.value) == (
        f"{path}: not an exported file (.onnx, .xml, .pt2); of several, one is chosen by their "
        "certificates"
    )


def test_a_folder_stands_for_its_files(tmp_path: Path):
    for name in ("b.xml", "b.bin", "b.json", "a.onnx", "best.safetensors", "c.pt2"):
        (tmp_path / name).touch()
    assert [path.name for path in exported_files([tmp_path])] == ["a.onnx", "b.xml", "c.pt2"]
    assert exported_files([Path("a.onnx"), Path("b.xml")]) == [Path("a.onnx"), Path("b.xml")]


def test_a_folder_without_files(tmp_path: Path):
    with pytest.raises(DetectorError) as caught:
        exported_files([tmp_path])
    assert str(caught.value) == (
        f"{tmp_path}: is a folder without exported files (.onnx, .xml, .pt2); expected weights"
    )
