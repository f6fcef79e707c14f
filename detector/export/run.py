"""Export in four steps: fuse, write, reload, compare; a file that differs is not kept."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from detector import __version__
from detector.export.formats import FileFormat, format_for
from detector.export.options import Options, Save
from detector.export.program import trace
from detector.export.proof.certify import certify
from detector.export.proof.measured import EvaluationImages, change_text
from detector.export.proof.proof import Candidate, Proof, prove
from detector.export.quantize.gate import Accepted
from detector.export.rows import naming_rows
from detector.model import deploy
from detector.model.detector import Detector
from detector.runtime.backends.backend import METADATA_KEY, ModelMetadata
from detector.runtime.backends.certificate import Certificate
from detector.runtime.backends.parts import certificate_path
from detector.runtime.backends.precision import PRECISIONS
from detector.runtime.backends.seal import SEAL_KEY, UNSEALED
from detector.runtime.certified import certificate_text
from detector.settings.values import FormatName
from detector.utils.errors import DetectorError
from detector.utils.together import atomic_together

PLAIN = Options()

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportReport:
    """Result of an export.

    Attributes:
        path: the file.
        fusing: differences between the fused and the trained network.
        proof: differences between the file and the network.
        certificate: the certificate in the file and beside it.
    """

    path: Path
    fusing: deploy.FusionReport
    proof: Proof
    certificate: Certificate

    def lines(self) -> list[str]:
        """Return a short report, line by line: AP first where it decides, as in INT8."""
        proof, findings = self.proof, self.proof.findings
        lines = [
            f"{self.path}: fused {self.fusing.fused_blocks} blocks, "
            f"{self.fusing.params_before:,} → {self.fusing.params_after:,} parameters",
        ]
        difference = f"largest difference on {findings.images} images: {findings.describe()}"
        if proof.measured is not None:
            name, images = proof.measured.main[0], proof.measured.images
            lines.append(f"{name} on {images} images: {change_text(proof.measured)}")
            difference = f"single boxes change more than AP; {difference}"
        if self.certificate.quantisation is not None:
            lines.append(self.certificate.quantisation.describe())
        return [
            *lines,
            difference,
            f"{proof.ms_before:.1f} ms per image before, {proof.ms_after:.1f} ms after",
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "path": str(self.path),
            **self.proof.findings.to_dict(),
            "ms_before": self.proof.ms_before,
            "ms_after": self.proof.ms_after,
            "certificate": self.certificate.model_dump(mode="json"),
        }


@dataclass(frozen=True)
class Draft:
    """A file to write, before it is compared with its network.

    Attributes:
        form: format of the file.
        path: the file.
        save: writes it.
        metadata: metadata to store in it, without a certificate.
        accepted: what the gate measured of a file in INT8; None for other precisions.
    """

    form: FileFormat
    path: Path
    save: Save
    metadata: ModelMetadata
    accepted: Accepted | None = None


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

    The certificate is stored in the file and, as JSON, beside it.

    Args:
        model: the network; not modified.
        format: ``onnx``, ``openvino`` or ``pt2``.
        output: path of the file; the format's suffix is appended if it is missing.
        images: normalized (b, 3, h, w) batches to compare on, besides random ones; of ``size_hw``,
            or of any size that a dynamic file accepts.
        size_hw: input size, pixels; default: the network's own.
        options: properties of the file.
        evaluation: evaluation set to measure AP on, before and after.
        command: command line, recorded in the certificate.

    Raises:
        DetectorError: fusing or exporting changes the network's outputs, or the format does not
            support the network. No file is written then, and an existing file is not changed.
    """
    if PRECISIONS[options.precision].needs_calibration:
        raise DetectorError(f"precision {options.precision} needs calibration: use detector.export")
    form = format_for(format, options)
    if PRECISIONS[options.precision].needs_labels and evaluation is None:
        raise DetectorError(
            f"--precision {options.precision} needs --data: what it costs is measured on labelled "
            "images"
        )
    size_hw = size_hw or model.preprocess.size_hw
    metadata = model_metadata(model, size_hw, options, form)
    check_request(model, metadata, images, options.dynamic)
    candidate = Candidate.of(model, images)
    with naming_rows(model):
        logger.info("converting the network to %s, %s", format, options.precision)
        program = trace(candidate.fused, size_hw, options.fixed_batch, metadata.decoding)
        save = form.convert(program, metadata, options)
        draft = Draft(form, form.path(output), save, metadata)
        return write_proven(draft, candidate, evaluation, command)


def write_proven(
    draft: Draft, candidate: Candidate, evaluation: EvaluationImages | None, command: str
) -> ExportReport:
    """Write a file, reload it, compare it with its network, and add the certificate.

    Args:
        draft: what to write.
        candidate: the network.
        evaluation: evaluation set to measure AP on, before and after.
        command: command line, recorded in the certificate.

    Raises:
        DetectorError: the outputs differ. No file is written then, and an existing one stays.
    """
    form, metadata, save = draft.form, draft.metadata, draft.save
    precision = metadata.precision
    targets = (*form.files(draft.path), certificate_path(draft.path))
    with atomic_together(*targets) as (*written, beside):
        save(written[0], properties(metadata))
        logger.info("comparing the file's outputs with those of the network")
        parts = form.parts(written[0]) if form.parts and metadata.nms else None
        backend = form.open(written[0])
        if backend.arithmetic != metadata.arithmetic:
            raise DetectorError(
                f"--precision {precision}: this machine computes in {backend.arithmetic}, so that "
                "it cannot be measured; export on one that has it"
            )
        proof = prove(candidate, backend, parts, precision, evaluation)
        logger.info("sealing the file with its certificate")
        libraries = form.libraries
        if draft.accepted is not None:
            proof = replace(proof, measured=draft.accepted.measured)
            libraries += form.quantizer
        certificate = certify(candidate, proof, libraries, precision, command)
        if draft.accepted is not None:
            quantisation = draft.accepted.quantisation
            certificate = certificate.model_copy(update={"quantisation": quantisation})
        certified = metadata.model_copy(update={"certificate": certificate})
        save(written[0], properties(certified))
        proof.check_unchanged(form.open(written[0]))
        beside.write_text(certificate_text(certified, written), encoding="utf-8")
    return ExportReport(draft.path, candidate.fusing, proof, certificate)


def model_metadata(
    model: Detector, size_hw: tuple[int, int], options: Options, form: FileFormat
) -> ModelMetadata:
    """Return the metadata of an exported file of a network, without a certificate.

    Args:
        model: the network.
        size_hw: input size, pixels.
        options: properties of the file.
        form: format of the file.
    """
    decoding = None if options.decoded or options.nms is not None else model.decoding
    if decoding is not None:
        decoding = decoding.model_copy(update={"channels_last": form.channels_last})
    return ModelMetadata(
        names=model.names,
        preprocess=model.preprocess.with_size(size_hw),
        version=__version__,
        eval_nms=model.eval_nms,
        stride=model.max_stride,
        task=model.task,
        nms=options.nms,
        decoding=decoding,
        precision=options.precision,
        arithmetic=form.arithmetic(options.precision),
    )


def properties(metadata: ModelMetadata) -> dict[str, str]:
    """Return the properties to write into a file, with a place for its seal."""
    return {METADATA_KEY: metadata.to_json(), SEAL_KEY: UNSEALED}


def check_request(
    model: Detector, metadata: ModelMetadata, images: Sequence[Tensor], dynamic: bool
) -> None:
    """Raise DetectorError if the network does not support the requested sizes or NMS."""
    size_hw = metadata.preprocess.size_hw
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
    if metadata.nms is not None and metadata.task != "detect":
        raise DetectorError("--nms: a classifier has no boxes")
