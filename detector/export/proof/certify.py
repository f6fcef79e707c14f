"""The certificate of an export: measured differences, digest of the weights, library versions."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable

from detector.export.proof.comparison import Comparison, ComparisonAfterNms
from detector.export.proof.proof import Candidate, Proof
from detector.model import deploy
from detector.model.detector import Detector
from detector.runtime.backends.certificate import (
    Certificate,
    Difference,
    DifferenceAfterNms,
    Fusing,
)
from detector.settings.values import PrecisionName
from detector.utils.system import installed_versions

ALWAYS_INVOLVED = ("torch", "torchvision", "numpy", "opencv-python-headless")


def certify(
    candidate: Candidate,
    proof: Proof,
    libraries: Iterable[str],
    precision: PrecisionName,
    command: str,
) -> Certificate:
    """Return the certificate of an exported file.

    Args:
        candidate: the network, before and after fusing.
        proof: measured differences between the file and the network.
        libraries: distributions involved, besides ``ALWAYS_INVOLVED``.
        precision: precision of the weights in the file.
        command: command line of the export.
    """
    findings = proof.findings
    return Certificate(
        weights_sha256=weights_sha256(candidate.original),
        fusing=_fusing(candidate.fusing),
        exported=_difference(findings.exported),
        before_nms=_difference(findings.before_nms),
        after_nms=_after_nms(findings.after_nms),
        images=findings.images,
        precision=precision,
        measured=proof.measured,
        versions={
            "python": platform.python_version(),
            **installed_versions((*ALWAYS_INVOLVED, *libraries)),
        },
        command=command.encode("utf-8", "backslashreplace").decode(),  # of file names
    )


def _fusing(found: deploy.FusionReport) -> Fusing:
    return Fusing(
        fp64=found.difference_fp64,
        fp32=found.difference_fp32,
        worst_block=found.worst_block,
        blocks=found.fused_blocks,
    )


def _difference(found: Comparison) -> Difference:
    return Difference(boxes_px=found.boxes_px, scores=found.scores)


def _after_nms(found: ComparisonAfterNms | None) -> DifferenceAfterNms | None:
    if found is None:
        return None
    return DifferenceAfterNms(
        boxes_px=found.boxes_px,
        scores=found.scores,
        boxes=found.boxes,
        unmatched=found.unmatched,
    )


def weights_sha256(model: Detector) -> str:
    """Return the SHA-256 of a network's tensors: name, type, shape and bytes of each, by name."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().cpu().contiguous().numpy()
        found.update(json.dumps([name, str(array.dtype), list(array.shape)]).encode())
        found.update(array.tobytes())
    return found.hexdigest()
