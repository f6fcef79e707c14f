"""``val``: AP of a weights file on a split, COCO's or Pascal VOC's; a classifier's accuracy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tabulate import tabulate

from detector.cli.refused import check_effect, given
from detector.evaluation.evaluation_set import EvaluationSet, open_evaluation_set
from detector.evaluation.inputs import dump_inputs
from detector.evaluation.returned import ReturnedOutputs, read_results
from detector.evaluation.run import Metrics
from detector.predict import open_backend, parallel_batches
from detector.runtime.backends.backend import Backend
from detector.runtime.backends.certificate import Certificate, Measured
from detector.runtime.backends.exported import ExportedBackend
from detector.runtime.backends.precision import tolerance_of
from detector.runtime.certified import check_certificate
from detector.settings import BasicNmsSettings, ValSettings
from detector.utils import system
from detector.utils.collectives import init_process_group
from detector.utils.errors import DetectorError
from detector.utils.files import write_text

EXCLUDED = {
    "dump_inputs": ("certificate", "predictions", "save_predictions"),
    "predictions": ("certificate", "imgsz", "letterbox"),
}
"""By flag those that it leaves nothing to do for; the size of inputs stands in their list."""


def val(settings: ValSettings) -> dict[str, Any]:
    """Measure, print, and return the metrics, also those per class.

    Processes that ``torchrun`` starts share the images.
    """
    with init_process_group():
        return _val(settings)


def _val(settings: ValSettings) -> dict[str, Any]:
    _check_flags(settings)
    backend = open_backend(settings.weights, settings)
    check_effect(settings, backend, settings.nms(backend.eval_nms))
    certificate = _certificate(backend) if settings.certificate else None
    if certificate is not None and settings.data is None:
        return {"certificate": certificate.model_dump(mode="json")}
    expected = _metrics(certificate) if certificate is not None else None
    labelled = open_evaluation_set(settings, settings.split, backend, settings.metric)
    images = len(labelled.dataset.samples)
    if expected is not None:
        _check_same_images(expected, labelled)
    if settings.dump_inputs is not None:
        if system.is_main():
            dump_inputs(settings.dump_inputs, labelled.dataset.samples, backend)
        print(f"inputs of {images} images: {settings.dump_inputs}")
        return {"images": images}
    metrics = _measure(settings, labelled, backend)
    if settings.save_predictions is not None and system.is_main():
        write_text(settings.save_predictions, json.dumps(labelled.evaluator.results))
    print(report(metrics, images))
    if certificate is not None and expected is not None:
        _compare(metrics, expected, tolerance_of(certificate.precision).metric)
    return metrics.to_dict()


def _check_flags(settings: ValSettings) -> None:
    """Whether every flag that was given will be followed.

    Raises:
        DetectorError: two do not go together.
    """
    for name, others in EXCLUDED.items():
        both = [*given(settings, [name]), *given(settings, others)]
        if getattr(settings, name) is not None and len(both) > 1:
            raise DetectorError(f"{both[0]} does not go with {both[1]}")
    if settings.certificate and settings.data is None and settings.save_predictions is not None:
        raise DetectorError("--save-predictions beside --certificate needs --data")
    if settings.predictions is not None and settings.predictions.suffix == ".json":
        unused = given(settings, BasicNmsSettings.model_fields)
        if unused:
            raise DetectorError(
                f"{unused[0]} does not go with a .json of --predictions, which is scored as it is"
            )


def report(metrics: Metrics, images: int) -> str:
    """The metrics as text; a dash where there is no truth to measure on."""
    summary = tabulate(
        [[_shown(value) for value in metrics.summary.values()]],
        list(metrics.summary),
        disable_numparse=True,
    )
    classes = tabulate(
        [[name, _shown(value)] for name, value in metrics.per_class.items()],
        ["class", metrics.per_class_title],
        disable_numparse=True,
    )
    return f"{classes}\n\n{metrics.title} on {images} images\n{summary}"


def _shown(value: float) -> str:
    return "–" if value < 0 else f"{value:.4f}"


def _measure(settings: ValSettings, labelled: EvaluationSet, backend: Backend) -> Metrics:
    """The metrics of the network, or of what another machine computed."""
    thresholds = settings.nms(backend.eval_nms)
    if settings.predictions is None:
        return labelled.measure(backend, thresholds, settings.batch, parallel_batches(settings))
    if system.world_size() > 1:
        raise DetectorError("--predictions: one process scores them; run it without torchrun")
    image_ids = [sample.image_id for sample in labelled.dataset.samples]
    if settings.predictions.suffix != ".json":
        returned = ReturnedOutputs(settings.predictions, backend, labelled.dataset.samples)
        return labelled.measure(returned, thresholds, 1)
    evaluator = labelled.evaluator
    evaluator.results = read_results(
        settings.predictions, backend, image_ids, labelled.dataset.category_ids
    )
    metrics: Metrics = evaluator.compute()
    return metrics


def _certificate(backend: Backend) -> Certificate:
    """The certificate beside a file, which the file fits."""
    if not isinstance(backend, ExportedBackend):
        raise DetectorError("--certificate: only an exported file has one")
    certificate = check_certificate(backend)
    print(f"{backend.path}: as it was exported, from weights {certificate.weights_sha256[:12]}…")
    return certificate


def _metrics(certificate: Certificate) -> Measured:
    """The metrics that a certificate has."""
    if certificate.measured is None:
        raise DetectorError("the certificate has no metrics: none were measured at the export")
    return certificate.measured


def _check_same_images(measured: Measured, labelled: EvaluationSet) -> None:
    """Whether the data are those of the certificate, wherever they lie on this machine."""
    images = len(labelled.dataset.samples)
    certified = (Path(measured.data).stem, measured.split, measured.images)
    if certified != (Path(labelled.data).stem, labelled.split, images):
        raise DetectorError(
            f"the certificate has metrics of {measured.images} images of split {measured.split!r} "
            f"of {measured.data}, found {images} of {labelled.split!r} of {labelled.data}"
        )


def _compare(metrics: Metrics, measured: Measured, tolerance: float) -> None:
    """Whether the metrics are those of the certificate."""
    name, _, expected = measured.main
    found = metrics.summary.get(name, -1.0)
    if not abs(found - expected) <= tolerance:
        raise DetectorError(f"{name} is {found:.4f}, the certificate says {expected:.4f}")
    print(f"{name} is that of the certificate, {expected:.4f}")
