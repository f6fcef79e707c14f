"""The check of a data set for a network: input size, anchors, the page, the cleaned copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from detector.data.checks.clean_copy import CleanCopy, write_clean_copy
from detector.data.checks.finding import DataReport, Finding, number_of
from detector.data.checks.page import check_page
from detector.data.checks.run import check_dataset, quick_findings
from detector.data.checks.sizes import box_sizes
from detector.data.conversion.new_folder import check_new
from detector.data.dataset import DetectionDataset
from detector.data.formats.definition import load_definition
from detector.heads.anchors import best_possible_recall
from detector.model.detector import Detector, build
from detector.report.page import write_page
from detector.settings.datasets import DataCheckSettings
from detector.settings.heads import AnchorMatchSettings
from detector.structures.preprocess import Preprocess, size_of_imgsz
from detector.structures.samples import Sample
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import load

DEFAULT_SIDE = 640
"""Side of the input where neither --imgsz nor a model is given, pixels."""

DEFAULT_STRIDE = 32
"""Largest stride of most networks, for the same case."""

MIN_ANCHOR_RECALL = 0.98
"""Best possible recall of anchors below which new ones are worth while, as YOLOv5 has it."""

MAX_TRAIN_LINES = 3
"""Largest number of findings that training prints."""


@dataclass(frozen=True)
class DataCheck:
    """The report of a check, and the cleaned copy if one was written."""

    report: DataReport
    copy: CleanCopy | None = None


def run_data_check(settings: DataCheckSettings) -> DataCheck:
    """Check a data set; write the page and the cleaned copy if the settings name them.

    Raises:
        DetectorError: no such data, split or model; a file cannot be written.
    """
    if settings.fix is not None:
        check_new(settings.fix, ())
    definition = load_definition(settings.data, settings.data_root)
    model = _model(settings)
    checked = check_dataset(
        definition,
        _preprocess(settings, model),
        DEFAULT_STRIDE if model is None else model.max_stride,
        settings.split,
        settings.limit,
    )
    if model is not None:
        samples = [sample for scan in checked.chosen for sample in scan.samples]
        checked.report.add(anchor_findings(model, samples, _preprocess(settings, model)))
    if settings.html is not None:
        write_page(settings.html, check_page(checked))
    copy = None if settings.fix is None else write_clean_copy(checked, settings.fix)
    return DataCheck(checked.report, copy)


def anchor_findings(
    model: Detector, samples: Iterable[Sample], preprocess: Preprocess
) -> Iterator[Finding]:
    """Yield a finding if a head's anchors match too few of the boxes."""
    anchors_wh = getattr(model.head, "anchors_wh", None)
    sizes_wh = box_sizes(samples, preprocess)[1]
    if not isinstance(anchors_wh, Tensor) or not len(sizes_wh):
        return
    ratio = AnchorMatchSettings().anchor_ratio
    recall = best_possible_recall(sizes_wh, anchors_wh.reshape(-1, 2).cpu().numpy(), ratio)
    if recall < MIN_ANCHOR_RECALL:
        missed = round((1 - recall) * len(sizes_wh))
        yield Finding(
            "anchors",
            "warning",
            f"the head's anchors match {recall:.1%} of the boxes, {missed} of {len(sizes_wh)} have "
            f"none within {ratio:g} times their sides",
            missed,
            "detector anchors fits anchors to the data",
        )


def train_lines(data: str, datasets: Iterable[DetectionDataset]) -> list[str]:
    """Return a few lines on what matters about splits that were read, without reading images.

    Args:
        data: the data set, as the user wrote it.
        datasets: splits with the same class names.
    """
    found = quick_findings(list(datasets))
    if not found:
        return []
    more = len(found) - MAX_TRAIN_LINES
    more_text = f"{number_of(more, 'finding')} more; " if more > 0 else ""
    lines = [one.message for one in found[:MAX_TRAIN_LINES]]
    return [*lines, f"{more_text}detector check --data {data} lists the files and says what to do"]


def _model(settings: DataCheckSettings) -> Detector | None:
    if settings.cfg is not None and settings.weights is not None:
        raise DetectorError("--cfg and --weights: expected one of both")
    if settings.weights is not None:
        return load(settings.weights)
    return None if settings.cfg is None else build(settings.cfg, None, settings.variant)


def _preprocess(settings: DataCheckSettings, model: Detector | None) -> Preprocess:
    if model is None:
        return Preprocess(size_hw=size_of_imgsz(settings.imgsz or DEFAULT_SIDE))
    imgsz = settings.imgsz or model.preprocess.size_hw
    return model.preprocess.with_size(model.size_of(imgsz))
