"""``info``: rows, parameters, multiply-adds and lint warnings of a model file."""

from __future__ import annotations

from typing import Any

from tabulate import tabulate

from detector.cost import Cost, RowCost, cost
from detector.graph import build_model_file
from detector.lint import lint
from detector.model_file import ModelFile, RawRow, read_model_file
from detector.reparam import fuse_modules
from detector.settings import InfoSettings

COLUMNS = ("row", "from", "n", "module", "args", "output", "stride", "params", "MACs")


def info(settings: InfoSettings) -> dict[str, Any]:
    """Print and return what the network of a model file consists of and costs."""
    model_file = read_model_file(settings.cfg, settings.variant)
    model = build_model_file(model_file, settings.classes)
    side = settings.imgsz
    size_hw = model.preprocess.size_hw if side is None else model.square_size(side)
    trained, deployed = cost(model, size_hw), cost(fuse_modules(model), size_hw)
    found = lint(model_file, model)
    warnings = [f"{warning.file}:{warning.line}: {warning.text}" for warning in found]
    print(report(model_file, trained, deployed, warnings))
    return {
        "train_params": trained.params,
        "deploy_params": deployed.params,
        "macs": trained.macs,
        "deploy_macs": deployed.macs,
        "winograd_muls": trained.winograd_muls,
        "deploy_winograd_muls": deployed.winograd_muls,
        "size_hw": list(size_hw),
        "rows": [
            _row_figures(raw, row) for raw, row in zip(model_file.rows, trained.rows, strict=True)
        ],
        "warnings": warnings,
    }


def report(model_file: ModelFile, trained: Cost, deployed: Cost, warnings: list[str]) -> str:
    """The table of rows, the totals of both forms, and the warnings, as text."""
    height, width = trained.size_hw
    form = "form at " + (f"{height}×{width}" if height != width else f"{height} px")
    return "\n".join(
        [
            _title(model_file),
            tabulate(
                [_cells(raw, row) for raw, row in zip(model_file.rows, trained.rows, strict=True)],
                COLUMNS,
                disable_numparse=True,
                colalign=("right", "left", "right", *["left"] * 3, *["right"] * 3),
            ),
            "",
            tabulate(
                [_totals("train", trained), _totals("deployed", deployed)],
                (form, "params", "GMACs", "GFLOPs", "Winograd GMULs"),
                disable_numparse=True,
                colalign=("left", *["right"] * 4),
            ),
            *(f"warning: {warning}" for warning in warnings),
        ]
    )


def _title(model_file: ModelFile) -> str:
    """The file and its variant, and those of the backbone that it names."""
    scopes = [model_file, model_file.rows[0].scope] if model_file.names_backbone else [model_file]
    return ", backbone of ".join(
        f"{scope.file.path}" + ("" if scope.variant is None else f", variant {scope.variant}")
        for scope in scopes
    )


def _totals(name: str, total: Cost) -> list[str]:
    giga = total.macs / 1e9
    winograd = f"{total.winograd_muls / 1e9:.3f}"
    return [name, f"{total.params:,}", f"{giga:.3f}", f"{2 * giga:.3f}", winograd]


def _cells(raw: RawRow, row: RowCost) -> list[str]:
    return [
        str(row.index),
        str(raw.source).replace("'", ""),
        str(row.number),
        row.module,
        ", ".join(f"{name}={_brief(value)}" for name, value in row.args.items()),
        " ".join("×".join(map(str, shape)) for shape in row.shapes),
        "" if row.stride is None else str(row.stride),
        f"{row.params:,}",
        f"{row.macs:,}",
    ]


def _brief(value: object) -> str:
    """Lists of lists, as anchors, would fill the line."""
    nested = isinstance(value, list) and any(isinstance(item, list) for item in value)
    return f"{len(value)} lists" if isinstance(value, list) and nested else str(value)


def _row_figures(raw: RawRow, row: RowCost) -> dict[str, Any]:
    shapes = [list(shape) for shape in row.shapes]
    return {
        "index": row.index,
        "from": raw.source,
        "number": row.number,
        "module": row.module,
        "args": row.args,
        "shape": shapes[0] if len(shapes) == 1 else shapes,
        "stride": None if row.stride is None else float(row.stride),
        "params": row.params,
        "macs": row.macs,
        "winograd_muls": row.winograd_muls,
    }
