"""Python interface: train, validate, cross-validate, compare, analyse, check, convert, save, list.

``detector.export`` stands in its room (:mod:`detector.export.request`).

Each function takes the settings of the tool of its name as keywords (``imgsz=320``), whose
descriptions ``detector train --help`` and the like show. An error is a
:class:`~detector.utils.errors.DetectorError` of one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.data.checks.finding import DataReport
from detector.data.conversion.run import ConversionReport, run_conversion
from detector.engine.callbacks import Callback
from detector.engine.cross_validation import CrossValidation, run_folds
from detector.engine.data_check import run_data_check
from detector.engine.head_settings import train_settings
from detector.engine.training import TrainingResult, run_training
from detector.evaluation.analysis.analysis import Analysis
from detector.evaluation.analysis.files import write_analysis
from detector.evaluation.analysis.run import analyse_results, check_analysable
from detector.evaluation.bootstrap import bootstrapped
from detector.evaluation.comparison import Comparison, compare_models
from detector.evaluation.contenders import Contender, check_number
from detector.evaluation.evaluation_set import open_evaluation_set
from detector.evaluation.run import Metrics
from detector.model.builder import row_contracts
from detector.model.detector import Detector, check_detector
from detector.model.model_file import read_model_file
from detector.predict import open_backend, parallel_batches, say_tiles
from detector.settings.datasets import ConvertSettings, DataCheckSettings
from detector.settings.evaluate import AnalysisSettings, ComparisonSettings, ValidationSettings
from detector.settings.values import TaskName
from detector.utils.errors import DetectorError
from detector.utils.files import as_path, packaged_files
from detector.weights.checkpoint import SUFFIX, save_weights
from detector.weights.published import PUBLISHED, PublishedWeights


def train(
    cfg: str | Path | None = None,
    data: str | Path | None = None,
    *,
    callbacks: Sequence[Callback] = (),
    **settings: Any,
) -> TrainingResult:
    """Train a detector or a classifier, or resume a run (``resume=``).

    Nothing global stays changed: torch's threads, flags and generators and the environment are as
    they were before.

    Args:
        cfg: model file, or the name of a packaged one (``yolov5n``); without it ``weights=``
            decides.
        data: folder of images and labels, or a definition; without it the built-in drawn set.
        callbacks: are told of every step and epoch.
        settings: those of ``detector train``: the common ones and those of the model's head. With
            ``weights`` and no ``preset``, or ``preset="auto"``, those that are not given are chosen
            for the data, the network and the machine.

    Returns:
        The run's folder, its best checkpoint, its metrics, and the network of the best epoch.

    Raises:
        DetectorError: a setting is unknown or does not fit, or the data cannot be read.

    Example:
        >>> result = detector.train("yolov5n", "my_images/", epochs=30)  # doctest: +SKIP
        >>> result.metrics["AP"]  # doctest: +SKIP
        0.59
    """
    for name, value in (("cfg", cfg), ("data", data)):
        if value is not None:
            settings[name] = str(value)
    return run_training(train_settings(**settings), callbacks)


def cross_validate(
    cfg: str | Path | None = None, data: str | Path | None = None, folds: int = 5, **settings: Any
) -> CrossValidation:
    """Train once for each fold, and measure each training image by a network that has not seen it.

    Args:
        cfg: model file, or the name of a packaged one; without it ``weights=`` decides.
        data: folder of images and labels, or a definition; without it the built-in drawn set.
        folds: number of parts that are held out, one after the other.
        settings: those of :func:`train`; ``resume=`` goes on with the folder of folds that were
            stopped.

    Returns:
        Each fold's metrics, ``mean_and_deviation("AP")``, and the metrics of all images with their
        intervals.

    Raises:
        DetectorError: a setting is unknown or does not fit, or the data cannot be read.
    """
    given = {"cfg": cfg, "data": data}
    settings |= {name: str(value) for name, value in given.items() if value is not None}
    if settings.get("resume") is None:
        settings["folds"] = folds
    return run_folds(train_settings(**settings))


def validate(
    model: Detector | str | Path, data: str | Path | None = None, **settings: Any
) -> Metrics:
    """Measure COCO AP, Pascal VOC's AP or a classifier's accuracy on a split.

    Args:
        model: a network, or a file: ``.safetensors``, ``.onnx``, ``.xml``, ``.pt2``, a foreign
            ``.pt``. A network stays in its mode and on its device.
        data: folder of images and labels, or a definition.
        settings: those of ``detector val``: ``split``, ``metric``, ``batch``, ``confidence``,
            ``bootstrap``, …

    Returns:
        ``summary``, metrics by name, and ``per_class``; ``to_dict()`` for JSON. With ``bootstrap``
        also ``intervals`` and ``class_intervals``.

    Raises:
        DetectorError: a setting is unknown or does not fit, or the data cannot be read.
    """
    if data is not None:
        settings["data"] = str(data)
    asked = ValidationSettings(**settings)
    backend = open_backend(model, asked)
    say_tiles(model, asked)
    evaluation_set = open_evaluation_set(asked, asked.split, backend, asked.metric, asked.evaluator)
    metrics = evaluation_set.measure(
        backend, asked.nms(backend.eval_nms), asked.batch, parallel_batches(asked), asked
    )
    if not asked.bootstrap:
        return metrics
    return bootstrapped(metrics, evaluation_set, asked.bootstrap, asked.bootstrap_seed)


def compare(
    *models: Detector | str | Path, data: str | Path | None = None, **settings: Any
) -> Comparison:
    """Compare models on the same images, with intervals of their differences.

    Args:
        models: two or more networks or files: those that :func:`validate` takes, or predictions
            (``.json`` of ``detector val --save-predictions``).
        data: folder of images and labels, or a definition.
        settings: those of ``detector compare``: ``split``, ``metric``, ``bootstrap``, …

    Returns:
        ``models``, each with its metrics, intervals, and differences from the first;
        ``to_dict()`` for JSON.

    Raises:
        DetectorError: fewer than two models, classes that differ, predictions of other images, a
            setting that is unknown or does not fit, or data that cannot be read.
    """
    if data is not None:
        settings["data"] = str(data)
    asked = ComparisonSettings(**settings)
    check_number(models)
    opened = [Contender.open(model, lambda one: open_backend(one, asked)) for model in models]
    return compare_models(opened, asked, parallel_batches(asked))


def check(data: str | Path, **settings: Any) -> DataReport:
    """Check a data set: duplicates, labels, classes, sizes of objects, pixels, files.

    Args:
        data: folder of images and labels, or a definition.
        settings: those of ``detector check``: ``split``, ``imgsz``, ``cfg``, ``html``, ``fix``, …

    Returns:
        ``findings``, the worst first; ``passes`` is False if there is an error or a warning;
        ``lines()`` to print, ``to_dict()`` for JSON.

    Raises:
        DetectorError: a setting is unknown or does not fit, or the data cannot be read.

    Example:
        >>> report = detector.check("my_images/", html="check.html")  # doctest: +SKIP
        >>> [finding.kind for finding in report.findings]  # doctest: +SKIP
        ['exact-duplicates-across-splits', 'small-objects']
    """
    return run_data_check(DataCheckSettings(data=str(data), **settings)).report


def convert(data: str | Path, to: str, output: str | Path, **settings: Any) -> ConversionReport:
    """Write a data set in another format of labels.

    Args:
        data: folder of images and labels, or a definition.
        to: ``yolo``, ``coco``, ``voc`` or ``csv``.
        output: new or empty folder.
        settings: those of ``detector convert``: ``images``, ``splits``, ``skip_bad``, …

    Returns:
        Counts of images and boxes, and ``notes``: lines on what was repaired and left out.

    Raises:
        DetectorError: a setting is unknown or does not fit, or the data cannot be read or written.
    """
    asked: dict[str, Any] = {"data": str(data), "to": to, "output": as_path(output, "output")}
    return run_conversion(ConvertSettings(**asked, **settings))


def analyse(
    model: Detector | str | Path,
    data: str | Path | None = None,
    output: str | Path | None = None,
    **settings: Any,
) -> Analysis:
    """Sort a detector's mistakes on a split, and find labels that are probably wrong.

    Args:
        model: a network, or a file, as for :func:`validate`.
        data: folder of images and labels, or a definition.
        output: folder for the page, the plots and the lists; None writes nothing.
        settings: those of ``detector analyse``: ``split``, ``shown``, ``confidence``, …

    Returns:
        The numbers; ``label_errors`` is the list of probably wrong labels; ``to_dict()`` for JSON.

    Raises:
        DetectorError: a setting is unknown or does not fit, the network is no detector, or the data
            cannot be read.
    """
    if data is not None:
        settings["data"] = str(data)
    asked = AnalysisSettings(**settings)
    backend = open_backend(model, asked)
    check_analysable(backend, asked.metric)
    evaluation_set = open_evaluation_set(asked, asked.split, backend, "coco")
    evaluation_set.measure(
        backend, asked.nms(backend.eval_nms), asked.batch, parallel_batches(asked), asked
    )
    analysis = analyse_results(evaluation_set, asked.shown)
    if output is not None:
        write_analysis(analysis, evaluation_set, as_path(output, "output"))
    return analysis


def save(model: Detector, path: str | Path) -> None:
    """Write a network as a ``.safetensors`` file that :func:`detector.load` reads.

    Raises:
        DetectorError: it is no network, the name has another suffix, or the file cannot be
            written; what was there stays.
    """
    check_detector(model)
    target = as_path(path, "path")
    if target.suffix != SUFFIX:
        raise DetectorError(f"expected a name that ends in {SUFFIX}", file=target)
    save_weights(target, model)


@dataclass(frozen=True)
class ModelInfo:
    """A packaged model file.

    Attributes:
        name: what ``train(name)`` and ``build(name)`` take.
        variants: rows of its table of variants; empty where there is none.
        head: class of its head.
        task: what it gives for an image.
        imgsz: side of the square input it is made for, pixels.
        weights: published weights that it reads, with their licences.
    """

    name: str
    variants: tuple[str, ...]
    head: str
    task: TaskName
    imgsz: int
    weights: tuple[PublishedWeights, ...]


def list_models() -> list[ModelInfo]:
    """List the packaged model files, by name.

    >>> [model.name for model in list_models() if model.head == "SSDHead"][:2]
    ['ssd300_neck', 'ssd300_repvgg_a0']
    """
    return [_model_info(name) for name in packaged_files("cfg") if "/" not in name]


def _model_info(name: str) -> ModelInfo:
    model_file = read_model_file(name)
    head = row_contracts(model_file)[-1].module
    task: TaskName = getattr(head, "task", "detect")
    variants = tuple(model_file.keys.variants)
    weights = tuple(one for one in PUBLISHED if one.cfg == name)
    return ModelInfo(name, variants, head.__name__, task, model_file.keys.imgsz, weights)
