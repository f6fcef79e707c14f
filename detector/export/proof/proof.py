"""The proof that a file computes what was trained: differences, AP, times."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from detector.export.proof import verify
from detector.export.proof.comparison import Images
from detector.export.proof.nms_check import Parts
from detector.model import deploy
from detector.model.detector import Detector
from detector.model.torch_backend import TorchBackend
from detector.runtime.backends.backend import Arrays, Backend
from detector.runtime.backends.certificate import Measured
from detector.runtime.backends.exported import ExportedBackend
from detector.runtime.backends.precision import tolerance_of
from detector.settings import NmsSettings, PrecisionName
from detector.utils.errors import DetectorError


@dataclass(frozen=True)
class EvaluationImages:
    """What AP, or accuracy, is measured on.

    Attributes:
        data: what the data are called.
        split: and their part.
        images: number of images.
        measure: backend, thresholds → metrics, the main one first.
    """

    data: str
    split: str
    images: int
    measure: Callable[[Backend, NmsSettings], dict[str, float]]


@dataclass(frozen=True)
class Candidate:
    """A network that is to be exported.

    Attributes:
        original: as it was trained.
        fused: its deployed copy.
        fusing: what :func:`detector.model.deploy.deploy` found of the two.
        images: normalised batches to compare on.
    """

    original: Detector
    fused: Detector
    fusing: deploy.FusionReport
    images: Sequence[Tensor]

    @classmethod
    def of(cls, model: Detector, images: Sequence[Tensor]) -> Candidate:
        """Copies of a network in float32 on the CPU, compared with each other.

        Raises:
            DetectorError: fusing changes what the network computes.
        """
        original = copy.deepcopy(model).eval().cpu().float()
        real = [batch.detach().cpu().float() for batch in images]
        return cls(original, *deploy.deploy(original, real), real)


@dataclass(frozen=True)
class Proof:
    """What was found of a file.

    Attributes:
        findings: its differences from the network.
        measured: AP or accuracy, where there were labelled images.
        ms_before: per image, the network as it was trained, in PyTorch.
        ms_after: per image, the file.
        sample: an input, and what the file gave for it.
    """

    findings: verify.Findings
    measured: Measured | None
    ms_before: float
    ms_after: float
    sample: tuple[Images, Arrays]

    def check_unchanged(self, backend: Backend) -> None:
        """Raise where a file that was written again gives something else."""
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
    """Compare a file with the network that it came from.

    Args:
        candidate: the network.
        backend: runs the file.
        parts: of a file that holds the suppression.
        precision: of its weights.
        evaluation: images to measure on.

    Raises:
        DetectorError: a difference is past its tolerance.
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
        measured = _measure(candidate.original, backend, tolerance.metric, evaluation)
    runs = (verify.eager(candidate.original), backend)
    ms_before, ms_after = verify.milliseconds(runs, size_hw)
    images = batches[0][: backend.batch_size]
    return Proof(findings, measured, ms_before, ms_after, sample=(images, backend(images)))


def _measure(
    original: Detector, backend: ExportedBackend, allowed: float, evaluation: EvaluationImages
) -> Measured:
    """Measure before and after; the main metric may move by what is allowed."""
    settings = backend.eval_nms
    eager = TorchBackend(copy.deepcopy(original), preprocess=backend.preprocess)
    measured = Measured(
        data=evaluation.data,
        split=evaluation.split,
        images=evaluation.images,
        before=evaluation.measure(eager, settings),
        after=evaluation.measure(backend, settings),
    )
    name, before, after = measured.main
    if not abs(after - before) <= allowed:
        raise DetectorError(
            f"the exported file differs from the network: {name} {before:.4f} → {after:.4f}, "
            f"allowed are ±{allowed}; nothing was written"
        )
    return measured
