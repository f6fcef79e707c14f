"""Fuse, write, reload, compare: a file appears only if it computes what the network computes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from detector import __version__
from detector.export.formats import format_for
from detector.export.options import Options
from detector.export.program import trace
from detector.export.proof.certify import certify
from detector.export.proof.proof import Candidate, EvaluationImages, Proof, prove
from detector.model import deploy
from detector.model.detector import Detector
from detector.runtime.backends.backend import METADATA_KEY, ModelMetadata
from detector.runtime.backends.certificate import Certificate
from detector.runtime.backends.seal import SEAL_KEY, UNSEALED
from detector.runtime.certified import certificate_path, certificate_text
from detector.settings import FormatName
from detector.utils.errors import DetectorError
from detector.utils.files import atomic

PLAIN = Options()


@dataclass(frozen=True)
class ExportReport:
    """What was written, and what the comparison found.

    Attributes:
        path: the file.
        fusing: the fused network against the network as it was trained.
        proof: the file against the network.
        certificate: as it stands in the file and beside it.
    """

    path: Path
    fusing: deploy.FusionReport
    proof: Proof
    certificate: Certificate

    def lines(self) -> list[str]:
        """A short report to read."""
        proof = self.proof
        lines = [
            f"{self.path}: fused {self.fusing.fused_blocks} blocks, "
            f"{self.fusing.params_before:,} → {self.fusing.params_after:,} parameters",
            f"largest difference on {proof.findings.images} images: {proof.findings.described()}",
            f"{proof.ms_before:.1f} ms per image before, {proof.ms_after:.1f} ms after",
        ]
        if proof.measured is not None:
            name, before, after = proof.measured.main
            lines.append(f"{name} on {proof.measured.images} images: {before:.4f} → {after:.4f}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "path": str(self.path),
            **self.proof.findings.to_dict(),
            "ms_before": self.proof.ms_before,
            "ms_after": self.proof.ms_after,
            "certificate": self.certificate.model_dump(mode="json"),
        }


def export_model(
    model: Detector,
    format: FormatName,
    output: str | Path,
    images: Sequence[Tensor] = (),
    *,
    size_hw: tuple[int, int] | None = None,
    options: Options = PLAIN,
    evaluation: EvaluationImages | None = None,
    command: str = "",
) -> ExportReport:
    """Write a network as a file that needs neither its model file nor its source code.

    Beside it appears its certificate, which stands in the file too.

    Args:
        model: stays as it is.
        format: ``onnx``, ``openvino`` or ``pt2``.
        output: the file; it gets the format's suffix where it has another.
        images: normalised (b, 3, h, w) batches to compare on besides random ones, of ``size_hw``,
            or of any size that a dynamic file takes.
        size_hw: of the input, pixels; default: the network's own.
        options: how the file is to be.
        evaluation: images to measure AP on, before and after.
        command: for the certificate.

    Raises:
        DetectorError: fusing or exporting changes what the network computes, or the format has
            no form for it. Then there is no new file, and an old one stays as it was.
    """
    form = format_for(format, options)
    card = _card(model, size_hw or model.preprocess.size_hw, options)
    _check(model, card, images, options.dynamic)
    candidate = Candidate.of(model, images)
    program = trace(candidate.fused, card.preprocess.size_hw, options.dynamic)
    save = form.convert(program, card, options)
    path = form.path(output)
    with ExitStack() as stack:
        targets = (*form.files(path), certificate_path(path))
        *written, beside = [stack.enter_context(atomic(target)) for target in targets]
        save(written[0], _metadata(card))
        parts = form.parts(written[0]) if form.parts and options.nms else None
        proof = prove(candidate, form.open(written[0]), parts, options.precision, evaluation)
        certificate = certify(candidate, proof, form.libraries, options.precision, command)
        certified = card.model_copy(update={"certificate": certificate})
        save(written[0], _metadata(certified))
        proof.check_unchanged(form.open(written[0]))
        beside.write_text(certificate_text(certified, written), encoding="utf-8")
    return ExportReport(path, candidate.fusing, proof, certificate)


def _card(model: Detector, size_hw: tuple[int, int], options: Options) -> ModelMetadata:
    return ModelMetadata(
        names=model.names,
        preprocess=model.preprocess.with_size(size_hw),
        version=__version__,
        eval_nms=model.eval_nms,
        stride=model.max_stride,
        task=model.task,
        nms=options.nms,
        precision=options.precision,
    )


def _metadata(card: ModelMetadata) -> dict[str, str]:
    return {METADATA_KEY: card.to_json(), SEAL_KEY: UNSEALED}


def _check(model: Detector, card: ModelMetadata, images: Sequence[Tensor], dynamic: bool) -> None:
    """Whether what is asked for can be had, before anything is done."""
    size_hw = card.preprocess.size_hw
    model.check_size(size_hw)
    for batch in images:
        height, width = batch.shape[2:]
        if dynamic:
            model.check_size((height, width))
        elif (height, width) != size_hw:
            raise DetectorError(
                f"images to compare on have shape {tuple(batch.shape)}, "
                f"expected (b, 3, {size_hw[0]}, {size_hw[1]})"
            )
    if card.nms is not None and card.task != "detect":
        raise DetectorError("--nms: a classifier has no boxes")
