"""The proof that a file computes the same as the trained network: differences, AP, run times."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from detector.export.proof import verify
from detector.export.proof.comparison import InputBatch
from detector.export.proof.measured import EvaluationImages, change_text
from detector.export.proof.nms_check import Parts
from detector.model import deploy
from detector.model.detector import Detector
from detector.model.torch_backend import TorchBackend
from detector.runtime.backends.backend import Arrays, Backend
from detector.runtime.backends.certificate import Measured
from detector.runtime.backends.exported import ExportedBackend
from detector.runtime.backends.precision import PRECISIONS, tolerance_of
from detector.settings.values import PrecisionName
from detector.utils.errors import DetectorError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A network to export, before and after fusing.

    Attributes:
        original: the trained network.
        fused: its fused copy.
        fusing: differences between the two, from :func:`detector.model.deploy.deploy`.
        images: normalized batches to compare on.
    """

    original: Detector
    fused: Detector
    fusing: deploy.FusionReport
    images: Sequence[Tensor]

    @classmethod
    def of(cls, model: Detector, images: Sequence[Tensor]) -> Candidate:
        """Copy a network to float32 on the CPU, fuse the copy, and compare both.

        Raises:
            DetectorError: fusing changes what the network computes.
        """
        logger.info("fusing the network, and comparing it with the trained one")
        original = copy.deepcopy(model).eval().cpu().float()
        real = [batch.detach().cpu().float() for batch in images]
        return cls(original, *deploy.deploy(original, real), real)


@dataclass(frozen=True)
class Proof:
    """Results of comparing a file with the network.

    Attributes:
        findings: differences between the file and the network.
        measured: AP or accuracy before and after; None without an evaluation set.
        ms_before: run time of the trained network in PyTorch, ms per image.
        ms_after: run time of the file, ms per image.
        sample: an input, and the file's outputs for it.
    """

    findings: verify.Findings
    measured: Measured | None
    ms_before: float
    ms_after: float
    sample: tuple[InputBatch, Arrays]

    def check_unchanged(self, backend: Backend) -> None:
        """Raise DetectorError if a rewritten file returns other outputs for the sample input."""
        images, expected = self.sample
        if not all(map(np.array_equal, backend(images), expected)):
            raise DetectorError("the file changed when its certificate was written into it")


def prove(
    candidate: Candidate,
    backend: ExportedBackend,
    parts: Parts | None,
    precision: PrecisionName,
    evaluation: EvaluationImages | None,
) -> Proof:
    """Compare a file with the network that it was exported from.

    Args:
        candidate: the network, before and after fusing.
        backend: backend that runs the file.
        parts: network and NMS of a file with NMS inside; None for other files.
        precision: precision of the file's weights, which decides the tolerances.
        evaluation: evaluation set to measure AP on; None skips the measurement.

    Raises:
        DetectorError: a difference exceeds its tolerance.
    """
    tolerance = tolerance_of(precision)
    size_hw = backend.preprocess.size_hw
    batches = verify.random_batches(
        size_hw, backend.stride, backend.batch_size, backend.dynamic_size
    )
    batches += [np.ascontiguousarray(batch.numpy()) for batch in candidate.images]
    findings = verify.compare_outputs(
        candidate.original,
        candidate.fused,
        backend,
        parts,
        batches,
        tolerance,
    )
    measured = None
    if evaluation is not None:
        measured = _measure(candidate.original, backend, precision, evaluation)
    runs = (verify.eager(candidate.original), backend)
    ms_before, ms_after = verify.milliseconds(runs, size_hw, backend.batch_size or 1)
    images = batches[0][: backend.batch_size]
    return Proof(findings, measured, ms_before, ms_after, sample=(images, backend(images)))


def _measure(
    original: Detector,
    backend: ExportedBackend,
    precision: PrecisionName,
    evaluation: EvaluationImages,
) -> Measured:
    """Measure metrics before and after; raise if the main one changed by more than allowed."""
    logger.info("measuring both on split %r: %d images", evaluation.split, evaluation.images)
    settings = backend.eval_nms
    eager = TorchBackend(copy.deepcopy(original), preprocess=backend.preprocess)
    by_labels = PRECISIONS[precision].needs_labels
    before = evaluation.metrics(eager, settings, by_labels)
    measured = evaluation.compared(before, evaluation.metrics(backend, settings, by_labels))
    name, was, now = measured.main
    if by_labels:
        is_allowed, limit = now >= was - evaluation.max_drop, f"−{evaluation.max_drop:g}"
    else:
        metric = PRECISIONS[precision].tolerance.metric
        is_allowed, limit = abs(now - was) <= metric, f"±{metric}"
    if not is_allowed:
        raise DetectorError(
            f"the exported file differs from the network: {name} {change_text(measured)}, "
            f"allowed is {limit}; nothing was written"
        )
    return measured
