"""``info``: rows, costs and lint warnings of a network, and costs of others to compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from detector.cli import connectivity
from detector.cli.costs import NetworkCost, metrics, network_cost, plot, table
from detector.model.connectivity import aggregations
from detector.model.cost import RowCost
from detector.model.detector import Detector, build, build_model_file
from detector.model.lint import lint
from detector.model.model_file import (
    ModelFile,
    RawRow,
    check_model_file,
    name_and_variant,
    read_model_file,
)
from detector.settings.inform import InfoSettings
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import YamlFile
from detector.weights.checkpoint import load

COLUMNS = ("row", "from", "n", "module", "args", "output", "stride", "params", "MACs", "peak MB")


def info(settings: InfoSettings) -> dict[str, Any]:
    """Print and return rows, costs and lint warnings of a model file, or of weights.

    Raises:
        DetectorError: a file is invalid, settings contradict each other, or the name of a plot does
            not end in .png.
    """
    _check(settings)
    model_file, model = _network(settings)
    network = _cost(_model_name(settings), model, settings)
    others = [_network_to_compare(text, settings) for text in settings.compare]
    found = lint(model_file, model)
    warnings = [str(warning) for warning in found]
    print(report(model_file, [network, *others], warnings))
    if settings.plot is not None:
        plot([network, *others], settings.plot)
    return {
        **metrics(network),
        "rows": [
            _row_metrics(raw, row)
            for raw, row in zip(model_file.rows, network.train.cost.rows, strict=True)
        ],
        "warnings": warnings,
        "compared": [{"name": other.name, **metrics(other)} for other in others],
        **_connectivity(model, network.train.cost.size_hw, settings),
    }


def _check(settings: InfoSettings) -> None:
    for flag, path in (("plot", settings.plot), ("connectivity", settings.connectivity)):
        if path is not None and path.suffix != ".png":
            raise DetectorError(f"--{flag}: expected a name that ends in .png, found {path}")
    if settings.cfg is not None and settings.weights is not None:
        raise DetectorError("--cfg and --weights: expected one of both")
    if settings.weights is None:
        if settings.cfg is None:
            raise DetectorError("--cfg is missing, or --weights")
        if settings.connectivity is not None:
            raise DetectorError("--connectivity: expected --weights FILE, random ones show nothing")
        return
    for flag in ("variant", "classes"):
        if getattr(settings, flag) is not None:
            raise DetectorError(f"--{flag} goes with --cfg; --weights has its network in the file")


def _network(settings: InfoSettings) -> tuple[ModelFile, Detector]:
    """Return the model file, from the disk or as stored with the weights, and its network."""
    if settings.weights is None:
        assert settings.cfg is not None
        model_file = read_model_file(settings.cfg, settings.variant)
        return model_file, build_model_file(model_file, settings.classes)
    model = load(settings.weights)
    definition = model.definition
    file = YamlFile(Path(definition.path), definition.text)
    return check_model_file(file, definition.variant), model


def _connectivity(
    model: Detector, size_hw: tuple[int, int], settings: InfoSettings
) -> dict[str, Any]:
    """Print, draw and return the weights of concatenated features, if they are asked for."""
    if settings.connectivity is None:
        return {}
    found = aggregations(model, size_hw)
    if not found:
        raise DetectorError(
            "--connectivity: no convolution of this network reads concatenated features",
            file=settings.weights,
        )
    print(f"\n{connectivity.table(found)}")
    connectivity.plot(found, settings.connectivity)
    return {"connectivity": connectivity.metrics(found)}


def report(model_file: ModelFile, networks: Sequence[NetworkCost], warnings: list[str]) -> str:
    """Return rows of the first network, costs of all in both forms, and warnings, as text."""
    rows = zip(model_file.rows, networks[0].train.cost.rows, strict=True)
    return "\n".join(
        [
            _title(model_file),
            tabulate(
                [_cells(raw, row) for raw, row in rows],
                COLUMNS,
                disable_numparse=True,
                colalign=("right", "left", "right", *["left"] * 3, *["right"] * 4),
            ),
            "",
            table(networks),
            *kept_norms(networks[0]),
            *(f"warning: {warning}" for warning in warnings),
        ]
    )


def kept_norms(network: NetworkCost) -> list[str]:
    """Say how many batch norms of which rows ``deploy`` cannot fold into a convolution."""
    pairs = zip(network.train.cost.rows, network.deployed.cost.rows, strict=True)
    return [
        f"row {before.index} ({before.module}): {after.batch_norms} of {before.batch_norms} batch "
        "norms stay in the deployed network, no convolution can take them in"
        for before, after in pairs
        if after.batch_norms
    ]


def _network_to_compare(text: str, settings: InfoSettings) -> NetworkCost:
    """Return the costs of the network ``FILE`` or ``FILE:VARIANT``."""
    cfg, variant = name_and_variant(text)
    model = build(cfg, settings.classes, variant)
    return _cost(text, model, settings)


def _cost(name: str, model: Detector, settings: InfoSettings) -> NetworkCost:
    size_hw = model.size_of(settings.imgsz or model.preprocess.size_hw)
    return network_cost(name, model, size_hw, settings.measure)


def _model_name(settings: InfoSettings) -> str:
    cfg = str(settings.cfg or settings.weights)
    return cfg if settings.variant is None else f"{cfg}:{settings.variant}"


def _title(model_file: ModelFile) -> str:
    """Return the model file and its variant, and those of the backbone file that it names."""
    scopes = [model_file, model_file.rows[0].scope] if model_file.names_backbone else [model_file]
    return ", backbone of ".join(
        f"{scope.file.path}" + ("" if scope.variant is None else f", variant {scope.variant}")
        for scope in scopes
    )


def _cells(raw: RawRow, row: RowCost) -> list[str]:
    return [
        str(row.index),
        str(raw.source).replace("'", ""),
        str(row.number),
        row.module,
        ", ".join(f"{name}={_shortened(value)}" for name, value in row.args.items()),
        " ".join("×".join(map(str, shape)) for shape in row.shapes),
        "" if row.stride is None else str(row.stride),
        f"{row.params:,}",
        f"{row.macs:,}",
        f"{row.peak_activation_bytes / 1e6:.3f}",
    ]


def _shortened(value: object) -> str:
    """Return an argument as text; of a list of lists, such as anchors, only the number."""
    nested = isinstance(value, list) and any(isinstance(item, list) for item in value)
    return f"{len(value)} lists" if isinstance(value, list) and nested else str(value)


def _row_metrics(raw: RawRow, row: RowCost) -> dict[str, Any]:
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
        "batch_norms": row.batch_norms,
        "macs": row.macs,
        "winograd_muls": row.winograd_muls,
        "memory_access": row.memory_access,
        "peak_activation_bytes": row.peak_activation_bytes,
    }
