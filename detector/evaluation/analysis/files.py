"""Files of an analysis: numbers, lists for labelling tools, plots, pictures, and the page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from detector.evaluation.analysis.analysis import Analysis
from detector.evaluation.analysis.drawn import drawn_label_errors, drawn_worst_images
from detector.evaluation.analysis.label_errors import LabelError
from detector.evaluation.analysis.page import analysis_page
from detector.evaluation.analysis.pngs import write_plots
from detector.evaluation.evaluation_set import EvaluationSet
from detector.evaluation.pictures import SIDE, grid
from detector.report.page import write_page
from detector.utils.files import write_text
from detector.utils.opencv import Image, write_image

NUMBERS, PAGE = "analysis.json", "analysis.html"
LABEL_LINES, LABEL_TABLE = "label_errors.jsonl", "label_errors.csv"

IMAGES = 12
"""Number of pictures of each kind."""


def write_analysis(
    analysis: Analysis, evaluation_set: EvaluationSet, folder: Path, images: int = IMAGES
) -> None:
    """Write all files of an analysis into a folder; those of an earlier one are replaced.

    Args:
        analysis: of the evaluation set.
        evaluation_set: has the images, and the boxes found.
        folder: is made if it is not there.
        images: number of pictures of each kind.
    """
    write_text(folder / NUMBERS, json.dumps(analysis.to_dict(), ensure_ascii=False) + "\n")
    write_text(folder / LABEL_LINES, label_lines(analysis, analysis.label_errors))
    write_text(folder / LABEL_TABLE, label_table(analysis, analysis.label_errors))
    plots = write_plots(analysis, folder)
    worst = drawn_worst_images(analysis, evaluation_set, images)
    doubtful = drawn_label_errors(analysis, evaluation_set, images)
    for kind, pictures in worst.items():
        name = kind.replace(" ", "_")
        _write_grid(folder / f"worst_{name}.jpg", [one for one, _ in pictures], 2, 2 * SIDE)
    _write_grid(folder / "label_errors.jpg", [one for one, _ in doubtful], 4, SIDE)
    title = f"{evaluation_set.split} of {evaluation_set.data}"
    write_page(folder / PAGE, analysis_page(analysis, title, plots, worst, doubtful))


def label_lines(analysis: Analysis, errors: Sequence[LabelError]) -> str:
    """Return probably wrong labels as JSON lines."""
    rows = (json.dumps(analysis.label_row(one), ensure_ascii=False) for one in errors)
    return "".join(f"{row}\n" for row in rows)


def label_table(analysis: Analysis, errors: Sequence[LabelError]) -> str:
    """Return probably wrong labels as CSV, boxes in pixels."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("kind", "x1", "y1", "x2", "y2", "label_class", "predicted_class", "score")
    writer.writerow(["image", *columns, "suspicion"])
    for one in errors:
        score = "" if one.score is None else round(one.score, 6)
        classes = (one.label_class or "", one.predicted_class or "")
        name = analysis.files[one.image_id]
        writer.writerow([name, one.kind, *one.box_xyxy, *classes, score, round(one.suspicion, 6)])
    return text.getvalue()


def _write_grid(path: Path, pictures: Sequence[Image], columns: int, side: int) -> None:
    """Write pictures in a grid; without any, remove the file of an earlier analysis."""
    if pictures:
        write_image(path, grid(pictures, columns, side))
    else:
        path.unlink(missing_ok=True)
