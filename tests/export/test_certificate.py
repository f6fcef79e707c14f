"""Certificates: what they say, and that no other file passes for the one that was exported."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from detector.export.formats import FORMATS
from detector.export.options import Options
from detector.export.proof.certify import weights_sha256
from detector.export.proof.measured import EvaluationImages
from detector.export.run import ExportReport, export_model
from detector.model.detector import Detector
from detector.runtime.backends.backend import Backend
from detector.runtime.backends.exported import ExportedBackend
from detector.runtime.backends.parts import certificate_path
from detector.runtime.certified import check_certificate
from detector.utils.errors import DetectorError


def open_file(path: Path) -> ExportedBackend:
    return next(form.open(path) for form in FORMATS.values() if form.suffix == path.suffix)


@pytest.fixture
def copied(exported: ExportReport, tmp_path: Path) -> Path:
    """The exported file with all that lies beside it, in a folder of its own."""
    shutil.copytree(exported.path.parent, tmp_path / "copy")
    return tmp_path / "copy" / exported.path.name


def test_what_it_says(exported: ExportReport, network: Detector):
    certificate = exported.certificate
    assert certificate.weights_sha256 == weights_sha256(network)
    assert certificate.fusing.blocks == 10
    assert certificate.fusing.fp64 < 1e-12
    assert certificate.fusing.fp32 < 1e-5
    findings = exported.proof.findings
    assert certificate.images == findings.images
    assert certificate.before_nms.boxes_px == findings.before_nms.boxes_px
    assert 0 <= certificate.exported.boxes_px < 1e-3
    assert certificate.after_nms.unmatched == 0
    assert certificate.versions["torch"] == metadata.version("torch")
    assert certificate.measured is None


def test_it_lies_beside_the_file_and_in_it(exported: ExportReport):
    content = json.loads(certificate_path(exported.path).read_text())
    backend = open_file(exported.path)
    assert backend.metadata.certificate == exported.certificate == check_certificate(backend)
    assert content["metadata"] == backend.metadata.model_dump(mode="json")
    for suffix, digest in content["files"].items():
        data = exported.path.with_suffix(suffix).read_bytes()
        assert digest == hashlib.sha256(data).hexdigest()
    assert set(content["files"]) == (
        {".xml", ".bin"} if exported.path.suffix == ".xml" else {exported.path.suffix}
    )


def test_a_file_may_be_renamed(copied: Path):
    for part in list(copied.parent.iterdir()):
        part.rename(part.with_name(part.name.replace("model", "other", 1)))
    check_certificate(open_file(copied.with_stem("other")))


def test_no_byte_may_change(copied: Path, rng: np.random.Generator):
    """At forty places of each file, those around the seal among them."""
    for part in (copied, *copied.parent.glob("*.bin")):
        whole = part.read_bytes()
        seal = max(whole.find(b"repdet-sha256:"), 0)
        places = [*rng.integers(0, len(whole), 30), *range(seal, min(seal + 100, len(whole)), 10)]
        for place in places:
            changed = bytearray(whole)
            changed[place] ^= 1 << rng.integers(8)
            part.write_bytes(changed)
            with pytest.raises(DetectorError) as caught:
                open_file(copied)
            assert "\n" not in str(caught.value)
        part.write_bytes(whole)


def fails(path: Path) -> str:
    with pytest.raises(DetectorError) as caught:
        check_certificate(open_file(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_certificates_that_do_not_hold(copied: Path, network: Detector):
    beside = certificate_path(copied)
    text = beside.read_text()
    content = json.loads(text)
    suffix, digest = next(iter(content["files"].items()))
    beside.write_text(text.replace(digest, "0" * 64))
    part = copied.with_suffix(suffix)
    assert (
        fails(copied) == f"{part}: has SHA-256 {digest[:12]}…, its certificate says 000000000000…"
    )
    beside.write_text(text.replace('"blocks": 10', '"blocks": 11'))
    assert fails(copied) == f"{beside}: differs from the certificate inside the exported file"
    beside.write_text(text[:-9])
    assert fails(copied).startswith(f"{beside}: not a certificate: ")
    beside.write_text(json.dumps({**content, "files": {}}))
    assert fails(copied) == f"{beside}: has no digest of a {copied.suffix} file"
    beside.unlink()
    assert fails(copied) == f"{beside}: no certificate: No such file or directory"


def evaluation(before: float, after: float, seen: list[object]) -> EvaluationImages:
    """Data on which the network, and then the file, have these metrics; notes what was measured."""
    metrics = iter([before, after])

    def measure(backend: Backend, *_: object) -> dict[str, float]:
        seen.append((type(backend).__name__, backend.preprocess.size_hw))
        return {"AP": next(metrics), "AP50": 0.5}

    return EvaluationImages("data.yaml", "val", 7, measure)


def test_ap_before_and_after(network: Detector, tmp_path: Path):
    """Both are measured with the file's preprocessing."""
    seen: list[object] = []
    data = evaluation(0.3, 0.3009, seen)
    report = export_model(
        network, "pt2", tmp_path / "a", size_hw=(32, 96), evaluation=data, command="tools/x.py"
    )
    measured = report.certificate.measured
    assert (measured.data, measured.split, measured.images) == ("data.yaml", "val", 7)
    assert measured.before == {"AP": 0.3, "AP50": 0.5}
    assert measured.after == {"AP": 0.3009, "AP50": 0.5}
    assert report.certificate.command == "tools/x.py"
    assert report.lines()[1] == "AP on 7 images: 0.3000 → 0.3009"
    assert seen == [("TorchBackend", (32, 96)), ("Pt2Backend", (32, 96))]


def test_ap_that_moved_leaves_no_file(network: Detector, tmp_path: Path):
    with pytest.raises(
        DetectorError, match=r"AP 0\.3000 → 0\.2980, allowed is ±0\.001; nothing was written$"
    ):
        export_model(network, "pt2", tmp_path / "a", evaluation=evaluation(0.3, 0.298, []))
    assert not list(tmp_path.iterdir())


def test_an_interrupted_export_of_two_files(
    network: Detector,
    export_once: Callable[[str], ExportReport],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """The files that were there stay, and stay a pair."""
    old = export_once("openvino").path
    shutil.copytree(old.parent, tmp_path / "a")
    before = {path.name: path.read_bytes() for path in old.parent.iterdir()}

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("detector.export.run.prove", stop)
    with pytest.raises(KeyboardInterrupt):
        export_model(network, "openvino", tmp_path / "a" / "model", options=Options(opset=17))
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before


def test_the_digest_of_weights(network: Detector):
    state = network.state_dict()
    expected = hashlib.sha256()
    for key in sorted(state):
        array = state[key].numpy()
        about = json.dumps([key, str(array.dtype), list(array.shape)])
        expected.update(about.encode() + array.tobytes())
    assert weights_sha256(network) == expected.hexdigest()
