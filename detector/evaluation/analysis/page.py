"""The page of an analysis: what each number means stands beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from detector.evaluation.analysis import pngs
from detector.evaluation.analysis.analysis import Analysis
from detector.evaluation.analysis.bins import Bin
from detector.evaluation.analysis.drawn import Drawn
from detector.report.page import Block, Bullets, Cell, Gallery, Page, Picture, Section, Table

MAX_ROWS = 100
"""Number of probably wrong labels that the page lists; the files beside it list all."""


def analysis_page(
    analysis: Analysis,
    title: str,
    plots: Mapping[str, bytes],
    worst: Mapping[str, Sequence[Drawn]],
    label_pictures: Sequence[Drawn],
) -> Page:
    """Return the page of an analysis.

    Args:
        analysis: the numbers.
        title: name of the evaluation set.
        plots: PNG files by name.
        worst: pictures of the worst images of each kind.
        label_pictures: pictures of probably wrong labels.
    """
    sections = [
        _metrics(analysis),
        _classes(analysis, plots),
        _confusion(analysis, plots),
        _errors(analysis, plots),
        _bins(analysis, plots),
        _calibration(analysis, plots),
        *_worst(analysis, worst),
        _labels(analysis, label_pictures),
    ]
    text = (
        f"{len(analysis.files)} images. Boxes and objects are matched by pycocotools at IoU 0.5, "
        f"unless a text says otherwise; boxes are shown from a score of {analysis.confidence:g} on."
    )
    return Page(f"Analysis of {title}", sections, text)


def _metrics(analysis: Analysis) -> Section:
    summary = analysis.metrics.summary
    blocks: list[Block] = [Table(list(summary), [[_known(v) for v in summary.values()]])]
    if analysis.notes:
        blocks.append(Bullets(analysis.notes))
    return Section("COCO's metrics", "A dash stands where nothing is labelled.", blocks)


def _classes(analysis: Analysis, plots: Mapping[str, bytes]) -> Section:
    rows: list[list[Cell]] = []
    for one in analysis.curves:
        best = one.best
        rows.append(
            [
                one.name,
                one.objects,
                _known(one.ap50),
                one.chosen.precision,
                one.chosen.recall,
                one.chosen.f1,
                None if best is None else best.confidence,
                None if best is None else best.f1,
            ]
        )
    at = f"at {analysis.confidence:g}"
    columns = ["class", "objects", "AP50", f"precision {at}", f"recall {at}", f"F1 {at}"]
    text = (
        "Precision is the share of boxes that are right, recall the share of objects that are "
        "found, F1 their harmonic mean. The best confidence is that of the best F1."
    )
    return Section(
        "Classes and confidence",
        text,
        [
            Table([*columns, "best confidence", "F1 there"], rows),
            Gallery([_plot(plots, pngs.CONFIDENCE), _plot(plots, pngs.PRECISION_RECALL)]),
        ],
    )


def _confusion(analysis: Analysis, plots: Mapping[str, bytes]) -> Section:
    matrix = analysis.confusion
    text = (
        f"Boxes from a score of {matrix.confidence:g} on are matched to objects by place alone, at "
        f"IoU {matrix.iou:g}. A row is a class of objects, the last one boxes without an object; "
        "a column is the class found, the last one missed objects."
    )
    table = Table(["object", "found as", "times"], matrix.most_frequent())
    blocks: list[Block] = [_plot(plots, pngs.CONFUSION)]
    if table.rows:
        blocks.append(table)
    return Section("Confused classes", text, blocks)


def _errors(analysis: Analysis, plots: Mapping[str, bytes]) -> Section:
    errors = analysis.errors
    rows = [(name, one.count, one.gain) for name, one in {**errors.types, **errors.totals}.items()]
    text = (
        "After TIDE (arXiv 2008.08115): each wrong box and each missed object has one type; the "
        f"gain is what AP50, now {errors.ap50:.3f}, would rise by if these errors alone were "
        "mended. Work on the type with the largest gain."
        if errors.ap50 >= 0
        else "Nothing is labelled, so that nothing can be gained."
    )
    blocks: list[Block] = [
        Table(["type", "count", "gain in AP50"], rows),
        _plot(plots, pngs.ERROR_TYPES),
    ]
    return Section("Error types", text, blocks)


def _bins(analysis: Analysis, plots: Mapping[str, bytes]) -> Section:
    parts = analysis.bins

    def table(name: str, bins: Sequence[Bin]) -> Table:
        rows = [
            (one.name, one.images, one.objects, _known(one.ap), _known(one.ap50)) for one in bins
        ]
        return Table([name, "images", "objects", "AP", "AP50"], rows)

    text = (
        "COCO AP for objects of a size (the square root of their area), and on images of a "
        "brightness (mean of all pixels, 0 to 255; four groups of equally many images) and of a "
        "number of objects."
    )
    tables = [
        table("side of the object", parts.size),
        table("brightness of the image", parts.brightness),
        table("objects in the image", parts.crowding),
    ]
    return Section("AP by part", text, [*tables, _plot(plots, pngs.BINS)])


def _calibration(analysis: Analysis, plots: Mapping[str, bytes]) -> Section:
    found = analysis.calibration
    text = (
        f"Expected calibration error: {found.error:.3f} of all boxes, {found.shown_error:.3f} of "
        f"those from a score of {found.confidence:g} on. At 0, as many boxes are right as their "
        "scores say."
    )
    rows = [
        (f"{one.low:.1f} to {one.high:.1f}", one.boxes, one.score, one.precision)
        for one in found.ranges
    ]
    table = Table(["score", "boxes", "mean score", "share that is right"], rows)
    return Section("Calibration", text, [_plot(plots, pngs.CALIBRATION), table])


def _worst(analysis: Analysis, worst: Mapping[str, Sequence[Drawn]]) -> list[Section]:
    texts = {
        "false positives": "ordered by the sum of the scores of the wrong boxes.",
        "missed objects": "ordered by their number.",
        "localisation": "ordered by what boxes of the right class lack to an IoU of 0.75.",
    }
    return [
        Section(
            f"Worst images: {kind}",
            "Ground truth on the left, boxes found on the right; " + texts[kind],
            [_gallery(pictures)] if pictures else [Bullets(["none"])],
        )
        for kind, pictures in worst.items()
    ]


def _labels(analysis: Analysis, pictures: Sequence[Drawn]) -> Section:
    errors = analysis.label_errors
    text = (
        f"{len(errors)} labels on which the network disagrees, the most suspicious first: look at "
        "them in this order until most of them are right. label_errors.csv and label_errors.jsonl "
        "list all of them."
    )
    rows = [
        (
            analysis.files[one.image_id],
            one.kind,
            " ".join(f"{side:.0f}" for side in one.box_xyxy),
            one.label_class,
            one.predicted_class,
            one.score,
            one.suspicion,
        )
        for one in errors[:MAX_ROWS]
    ]
    columns = ["image", "kind", "box", "label", "found", "score", "suspicion"]
    blocks: list[Block] = [_gallery(pictures), Table(columns, rows)]
    if not errors:
        blocks = [Bullets(["none"])]
    return Section("Probably wrong labels", text, blocks)


def _gallery(pictures: Sequence[Drawn]) -> Gallery:
    return Gallery([Picture(image, caption, caption) for image, caption in pictures])


def _plot(plots: Mapping[str, bytes], name: str) -> Picture:
    return Picture(plots[name], alt=name.removesuffix(".png").replace("_", " "))


def _known(value: float) -> float | None:
    """Return None in place of −1, which stands for no ground truth."""
    return None if value < 0 else value
