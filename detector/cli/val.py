"""``val``: measure AP by COCO or Pascal VOC, or a classifier's accuracy, on a split.

A detector's mistakes are sorted by ``analyse``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from detector.cli.refused import check_effect, given, refuse
from detector.cli.tables import INTERVAL, format_interval, format_metric, table
from detector.evaluation.bootstrap import BootstrapMetrics, bootstrapped
from detector.evaluation.evaluation_set import EvaluationSet, open_evaluation_set
from detector.evaluation.inputs import dump_inputs
from detector.evaluation.returned import ReturnedOutputs, score_results
from detector.evaluation.run import Metrics
from detector.model.lint import log_warnings
from detector.model.torch_backend import TorchBackend
from detector.predict import open_backend, parallel_batches, say_tiles
from detector.runtime.backends.backend import Backend
from detector.runtime.backends.certificate import Certificate, Measured
from detector.runtime.backends.exported import ExportedBackend
from detector.runtime.backends.precision import tolerance_of
from detector.runtime.certified import check_certificate
from detector.settings.evaluate import EVALUATION_NMS, ValSettings
from detector.utils import system
from detector.utils.collectives import init_process_group
from detector.utils.errors import DetectorError
from detector.utils.files import write_text

EXCLUDED = {
    "dump_inputs": ("bootstrap", "certificate", "predictions", "save_predictions"),
    "predictions": ("certificate", "imgsz", "letterbox"),
    "tiles": ("certificate", "dump_inputs", "predictions"),
    "tta": ("certificate", "dump_inputs", "predictions", "tiles"),
}
"""Flags → other flags that have no effect beside them. The file of ``--predictions`` lists the size
of the inputs."""


def val(settings: ValSettings) -> dict[str, Any]:
    """Measure, print and return the metrics, in total and per class.

    Processes that ``torchrun`` starts share the images.

    Raises:
        DetectorError: weights or data are invalid, flags exclude each other, or the certificate
            does not match.
    """
    with init_process_group():
        return _val(settings)


def _val(settings: ValSettings) -> dict[str, Any]:
    _check_flags(settings)
    backend = open_backend(settings.weights, settings)
    if isinstance(backend, TorchBackend):
        log_warnings(backend.model)
    check_effect(settings, backend, settings.nms(backend.eval_nms))
    say_tiles(settings.weights, settings)
    certificate = _certificate(backend) if settings.certificate else None
    if certificate is not None and settings.data is None:
        return {"certificate": certificate.model_dump(mode="json")}
    expected = _certified_metrics(certificate) if certificate is not None else None
    evaluation_set = open_evaluation_set(
        settings, settings.split, backend, settings.metric, settings.evaluator
    )
    images = len(evaluation_set.dataset.samples)
    if expected is not None:
        _check_same_images(expected, evaluation_set)
    if settings.dump_inputs is not None:
        if system.is_main():
            dump_inputs(settings.dump_inputs, evaluation_set.dataset.samples, backend)
        print(f"inputs of {images} images: {settings.dump_inputs}")
        return {"images": images}
    metrics = _measure(settings, evaluation_set, backend)
    if settings.save_predictions is not None and system.is_main():
        write_text(settings.save_predictions, json.dumps(evaluation_set.named_results()))
    print(report(metrics, images))
    if parts := settings.describe_tiles() or settings.describe_views():
        print(parts)
    if certificate is not None and expected is not None:
        _compare(metrics, expected, tolerance_of(certificate.precision).metric)
        if certificate.quantisation is not None:
            _check_drop(metrics, expected, certificate.quantisation.max_drop)
    return metrics.to_dict()


def _check_flags(settings: ValSettings) -> None:
    """Raise DetectorError if two given flags exclude each other, or if there are no data."""
    for name, others in EXCLUDED.items():
        both = [*given(settings, [name]), *given(settings, others)]
        if getattr(settings, name) and len(both) > 1:
            raise DetectorError(f"{both[0]} does not go with {both[1]}")
    if settings.certificate and settings.data is None:
        for flag in given(settings, ("bootstrap", "save_predictions")):
            raise DetectorError(f"{flag} beside --certificate needs --data")
    if not settings.bootstrap:
        refuse(settings, {"bootstrap_seed"}, "without --bootstrap it has no effect")
    if settings.predictions is not None and settings.predictions.suffix == ".json":
        ignored = given(settings, EVALUATION_NMS)
        if ignored:
            raise DetectorError(
                f"{ignored[0]} does not go with a .json of --predictions, which is scored unchanged"
            )
    if not settings.certificate:
        settings.named_data("measure on")


def report(metrics: Metrics, images: int) -> str:
    """Return the metrics as text, with a dash for those without any ground truth."""
    summary = [[format_metric(value) for value in metrics.summary.values()]]
    classes = [[name, format_metric(value)] for name, value in metrics.per_class.items()]
    header, title = ["class", metrics.per_class_title], f"{metrics.title} on {images} images"
    if isinstance(metrics, BootstrapMetrics):
        summary.append([format_interval(metrics.intervals.get(name)) for name in metrics.summary])
        for row in classes:
            row.append(format_interval(metrics.class_intervals.get(row[0])))
        header.append(INTERVAL)
        title += f"; below each its {INTERVAL}, {metrics.resamples} resamples of the images"
    names = list(metrics.summary)
    text = f"{table(classes, header)}\n\n{title}\n{table(summary, names)}"
    return f"{text}\n{metrics.note}" if metrics.note else text


def _measure(settings: ValSettings, evaluation_set: EvaluationSet, backend: Backend) -> Metrics:
    """Measure the network, or the predictions that another machine computed; add intervals."""
    if settings.predictions is None:
        metrics = evaluation_set.measure(
            backend,
            settings.nms(backend.eval_nms),
            settings.batch,
            parallel_batches(settings),
            settings,
        )
    else:
        metrics = _measure_predictions(settings.predictions, settings, evaluation_set, backend)
    if not (settings.bootstrap and system.is_main()):
        return metrics
    return bootstrapped(metrics, evaluation_set, settings.bootstrap, settings.bootstrap_seed)


def _measure_predictions(
    path: Path, settings: ValSettings, evaluation_set: EvaluationSet, backend: Backend
) -> Metrics:
    if system.world_size() > 1:
        raise DetectorError("--predictions: one process scores them; run it without torchrun")
    if path.suffix == ".json":
        return score_results(path, evaluation_set)
    returned = ReturnedOutputs(path, backend, evaluation_set.dataset.samples)
    return evaluation_set.measure(returned, settings.nms(backend.eval_nms), 1)


def _certificate(backend: Backend) -> Certificate:
    """Return the certificate beside an exported file after checking that it matches the file."""
    if not isinstance(backend, ExportedBackend):
        raise DetectorError("--certificate: only an exported file has one")
    certificate = check_certificate(backend)
    weights = certificate.weights_sha256[:12]
    print(f"{backend.path}: unchanged since its export from weights {weights}…")
    return certificate


def _certified_metrics(certificate: Certificate) -> Measured:
    """Return the metrics in a certificate; raise DetectorError if it has none."""
    if certificate.measured is None:
        raise DetectorError("the certificate has no metrics: none were measured at the export")
    return certificate.measured


def _check_same_images(measured: Measured, evaluation_set: EvaluationSet) -> None:
    """Raise DetectorError unless the certificate's metrics are from the same data set and split.

    Data sets are compared by name and number of images, since their folders may differ.
    """
    images = len(evaluation_set.dataset.samples)
    certified = (Path(measured.data).stem, measured.split, measured.images)
    if certified != (Path(evaluation_set.data).stem, evaluation_set.split, images):
        raise DetectorError(
            f"the certificate has metrics of {measured.images} images of split {measured.split!r} "
            f"of {measured.data}, "
            f"found {images} of {evaluation_set.split!r} of {evaluation_set.data}"
        )


def _compare(metrics: Metrics, measured: Measured, tolerance: float) -> None:
    """Raise DetectorError unless the main metric is the certificate's, within the tolerance."""
    name, _, expected = measured.main
    found = metrics.summary.get(name, -1.0)
    if not abs(found - expected) <= tolerance:
        raise DetectorError(f"{name} is {found:.4f}, the certificate says {expected:.4f}")
    print(f"{name} matches the certificate, {expected:.4f}")


def _check_drop(metrics: Metrics, measured: Measured, max_drop: float) -> None:
    """Raise DetectorError if the main metric is further below the network's than was allowed."""
    name, before, _ = measured.main
    change = metrics.summary[name] - before
    if not change >= -max_drop:
        raise DetectorError(
            f"{name} is {before + change:.4f}, a change of {change:+.4f} from the trained network; "
            f"the certificate allows −{max_drop:g}"
        )
    print(f"{name} of the trained network: {before:.4f}, a change of {change:+.4f}")
