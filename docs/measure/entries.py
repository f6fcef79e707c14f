"""The measurements, each with its page, its commands, and how their results become cells.

A command writes its results as JSON where ``{json}`` stands; a name in other braces is given by
``--with name=PATH``. Cells that no command measures, such as names and licences, stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import Any

from detector.benchmarks.detect_report import LABELS

Rows = Sequence[Sequence[str]]
"""Cells of a table."""

Metrics = Mapping[str, Any]
"""Content of the JSON of a command."""


@dataclass(frozen=True)
class Measurement:
    """A table that commands measure.

    Attributes:
        page: file below ``docs/``.
        commands: rows of the table → commands, in the order in which they are run.
        columns: numbers of the columns that are measured.
        cells: results of the commands → cells of those columns, row by row.
    """

    page: str
    commands: Callable[[Rows], list[str]]
    columns: tuple[int, ...]
    cells: Callable[[list[Metrics]], Iterable[Sequence[str]]]


def _fixed(*commands: str) -> Callable[[Rows], list[str]]:
    return lambda rows: list(commands)


# ------------------------------------------------------------------------------ costs of networks


def _info(
    name: Callable[[Sequence[str]], tuple[str, str]], imgsz: int | None
) -> Callable[[Rows], list[str]]:
    """Return the commands that count the costs of the networks of a table, one a model file.

    Args:
        name: a row's cells → model file and variant, empty for none.
        imgsz: side of the input, pixels; None: the file's.
    """

    def commands(rows: Rows) -> list[str]:
        size = "" if imgsz is None else f" --imgsz {imgsz}"
        return [
            _info_command(cfg, [variant for _, variant in group]) + f"{size} --json {{json}}"
            for cfg, group in groupby(map(name, rows), key=lambda named: named[0])
        ]

    return commands


def _info_command(cfg: str, variants: Sequence[str]) -> str:
    first, *others = variants
    command = f"python tools/info.py --cfg {cfg}" + (f" --variant {first}" if first else "")
    compared = ",".join(f"{cfg}:{variant}" for variant in others)
    return f"{command} --compare {compared}" if compared else command


def _costs(results: list[Metrics]) -> list[Metrics]:
    """Return the costs of all networks, in the order of the table."""
    return [one for result in results for one in (result, *result["compared"])]


def _as_trained_and_deployed(cost: Metrics, name: str, unit: float) -> str:
    return f"{cost[name] / unit:.1f} → {cost[f'deploy_{name}'] / unit:.1f}"


def _backbone_costs(results: list[Metrics]) -> list[list[str]]:
    return [
        [
            f"{cost['train_params']:,}",
            f"{cost['deploy_params']:,}",
            f"{cost['deploy_macs'] / 1e9:.3f}",
            f"{cost['deploy_winograd_muls'] / 1e9:.3f}",
            _as_trained_and_deployed(cost, "memory_access", 1e6),
            _as_trained_and_deployed(cost, "peak_activation_bytes", 1e6),
        ]
        for cost in _costs(results)
    ]


def _baseline_costs(results: list[Metrics]) -> list[list[str]]:
    return [[f"{one['train_params']:,}", f"{one['macs'] / 1e9:.3f}"] for one in _costs(results)]


def _osa_costs(results: list[Metrics]) -> list[list[str]]:
    return [
        [
            f"{one['train_params']:,}",
            f"{one['macs'] / 1e6:.1f}",
            f"{one['memory_access'] / 1e6:.3f}",
            f"{one['peak_activation_bytes'] / 1e6:.3f}",
        ]
        for one in _costs(results)
    ]


def _model_commands(rows: Rows) -> list[str]:
    """Return the commands that count what networks cost, and those that time each at its side."""
    return [*_info(_model_of, 640)(rows), *map(_model_speed_command, rows)]


def _model_speed_command(row: Sequence[str]) -> str:
    (cfg, variant), side = _model_of(row), row[3]
    return (
        f"python tools/benchmark.py detect --cfg {cfg} --variant {variant} --imgsz {side} "
        "--formats onnx --batches 1 --images 16 --rounds 3 --json {json}"
    )


def _model_costs(results: list[Metrics]) -> list[list[str]]:
    """Return parameters and multiply-adds, ms and MB of the ONNX file, of each network."""
    costs = _costs([result for result in results if "compared" in result])
    files = [result["configurations"][0] for result in results if "configurations" in result]
    return [
        [
            f"{cost['deploy_params']:,}",
            f"{cost['deploy_macs'] / 1e9:.3f}",
            f"{file['wall_ms_per_image']['median']:.0f}",
            f"{file['file_bytes'] / 1e6:.1f}",
        ]
        for cost, file in zip(costs, files, strict=True)
    ]


def _backbone_of(row: Sequence[str]) -> tuple[str, str]:
    return row[0].strip("`"), row[1]


def _model_of(row: Sequence[str]) -> tuple[str, str]:
    """Return model file and variant of a cell such as ```yolox`, nano``."""
    cfg, _, variant = row[1].partition(", ")
    return cfg.strip("`"), variant


# ------------------------------------------------------------------------------------------ speed


STAGES = ("decode", "preprocess", "network", "nms")
"""Stages of a prediction, as the benchmark names them."""


def _runtimes(results: list[Metrics]) -> list[list[str]]:
    """Return ms an image at batch 1, of it each stage, and at batch 8; memory; the start."""
    (result,) = results
    cells = []
    for runner in LABELS:
        one, eight = (
            next(
                found
                for found in result["configurations"]
                if (found["format"], found["batch"]) == (runner, batch)
            )
            for batch in (1, 8)
        )
        all_of_one, all_of_eight = (of["wall_ms_per_image"]["median"] for of in (one, eight))
        cells.append(
            [
                f"{all_of_one:.1f}",
                *(f"{one['ms_per_image'][stage]:.1f}" for stage in STAGES),
                f"{all_of_eight:.1f}",
                ", ".join(f"{of['peak_bytes'] / 1e6:.0f}" for of in (one, eight)),
                f"{one['start_seconds']:.1f} s",
            ]
        )
    return cells


def _backbone_speed(results: list[Metrics]) -> list[list[str]]:
    """Return both ratios of each network and batch, in float32 and in bfloat16."""
    ratios = ("deployed_to_train", "train_to_timm")
    return [
        [f"{result[name][ratio]:.2f}" for result in results for ratio in ratios]
        for name in results[0]
    ]


def _baseline_measures(results: list[Metrics]) -> list[list[str]]:
    """Return parameters, multiply-adds, memory and speed of each network, form and batch."""
    return [
        [
            f"{one['params']:,}",
            f"{one['macs'] / 1e9:.3f}",
            f"{one['memory_access'] / 1e6:.1f}",
            f"{one['peak_bytes'] / 1e6:.0f}",
            f"{one['seconds'] * 1e3:.1f}",
            f"{one['images_per_second']:.1f}",
            f"{one['flops_per_second'] / 1e9:.0f}",
        ]
        for one in results[0]["lines"]
    ]


def _dsod_speed(results: list[Metrics]) -> list[list[str]]:
    """Return ms an image of three runtimes, and memory and GFLOP/s of OpenVINO, the last one."""
    cells = []
    for result in results:
        (machine,) = result["matrix_product_flops"].values()
        found = {one["format"]: one for one in result["configurations"]}
        times = [
            found[name]["wall_ms_per_image"]["median"] for name in ("fused", "onnx", "openvino")
        ]
        memory = found["openvino"]["peak_bytes"] / 1e6
        speed = found["openvino"]["peak_share"] * machine / 1e9
        cells.append([*(f"{time:.1f}" for time in times), f"{memory:.0f}", f"{speed:.0f}"])
    return cells


def _int8_speed(results: list[Metrics]) -> list[list[str]]:
    """Return the network's ms: decoded, float32, bf16 and INT8, of OpenVINO and ONNX Runtime."""
    cells = []
    for result in results:
        for runner in ("openvino", "onnx"):
            times = {
                (one["file"] != "", one["file"].startswith("decoded"), one["precision"]): one
                for one in result["configurations"]
                if one["format"] == runner
            }
            keys = [
                (True, True, "fp32"),
                (False, False, "fp32"),
                (False, False, "bf16"),
                (True, False, "int8"),
            ]
            found = [times.get(key) for key in keys]
            cells.append([f"{one['ms_per_image']['network']:.1f}" if one else "–" for one in found])
    return cells


def _ssd_speed(results: list[Metrics]) -> list[list[str]]:
    cells = []
    for runtime in ("PyTorch", "ONNX Runtime"):
        one = results[0][runtime]
        times = [median(one["milliseconds"][name]) for name in ("torchvision", "detector")]
        phases = [one["phases"][name] for name in ("network", "nms")]
        cells.append(
            [*(f"{time:.0f}" for time in times), f"{one['ratio']:.2f}"]
            + [f"{time:.0f}" for time in phases]
        )
    return cells


# -------------------------------------------------------------------------------- AP of INT8 files


def _int8_ap(results: list[Metrics]) -> list[list[str]]:
    """Return AP before, AP after, the change with its interval, and the rows in float."""
    cells = []
    for result in results:
        measured = result["certificate"]["measured"]
        name = next(iter(measured["before"]))
        before, after = measured["before"][name], measured["after"][name]
        low, high = measured["intervals"]["change"]
        kept = result["certificate"]["quantisation"]["in_float"]
        change = f"{_signed(after - before)}, {_signed(low)} to {_signed(high)}"
        cells.append([f"{before:.4f}", f"{after:.4f}", change, ", ".join(kept) or "none"])
    return cells


def _signed(value: float) -> str:
    """Return a number with its sign, a minus being the sign and no hyphen.

    >>> _signed(-0.00091), _signed(0)
    ('−0.0009', '+0.0000')
    """
    return f"{value:+.4f}".replace("-", "−")


INT8 = "python tools/export.py --precision int8 --output {folder}/int8 --json {json}"


def _int8_commands() -> list[str]:
    """Return an export to each format of each network of the table."""
    networks = {
        "yolov5n": "--imgsz 640 --calibrate {coco128} --data {coco128}",
        "yolox_nano": "--imgsz 416 --calibrate {coco128} --data {coco128}",
        "repvgg_bccd": "--calibrate {bccd} --data {bccd} --split test",
        "ssd_bccd": "--calibrate {bccd} --data {bccd} --split test",
    }
    return [
        f"{INT8} --weights {{{weights}}} --format {form} {flags}"
        for weights, flags in networks.items()
        for form in ("openvino", "onnx")
    ]


BENCHMARK_INT8 = (
    "python tools/benchmark.py detect --formats onnx,openvino --precisions fp32,bf16 --batches 1 "
    "--rounds 5 --source {images} --json {json}"
)

MEASUREMENTS = {
    "backbone-costs": Measurement(
        "backbones.md", _info(_backbone_of, 224), (2, 3, 4, 5, 6, 7), _backbone_costs
    ),
    "baseline-costs": Measurement(
        "backbones.md", _info(_backbone_of, 224), (2, 3), _baseline_costs
    ),
    "osa-costs": Measurement(
        "backbones.md",
        _fixed(
            "python tools/info.py --cfg cfg/densenet40.yaml --compare densenet40:osa --json {json}"
        ),
        (1, 2, 3, 4),
        _osa_costs,
    ),
    "backbone-speed": Measurement(
        "backbones.md",
        _fixed(
            "python tools/benchmark.py backbones --rounds 12 --json {json}",
            "python tools/benchmark.py backbones --rounds 8 --precision bf16 --json {json}",
        ),
        (1, 2, 3, 4),
        _backbone_speed,
    ),
    "baseline-measures": Measurement(
        "backbones.md",
        _fixed(
            "python tools/benchmark.py backbones --compare vovnet:27-slim,densenet:67,peleenet "
            "--json {json}"
        ),
        (3, 4, 5, 6, 7, 8, 9),
        _baseline_measures,
    ),
    "dsod-speed": Measurement(
        "refinedet.md",
        _fixed(
            *(
                f"python tools/benchmark.py detect --cfg cfg/dsod300_{backbone}.yaml --formats "
                "fused,onnx,openvino --batches 1 --images 32 --rounds 5 --json {json}"
                for backbone in ("vovnet27slim", "peleenet", "densenet67")
            )
        ),
        (3, 4, 5, 6, 7),
        _dsod_speed,
    ),
    "model-costs": Measurement("models.md", _model_commands, (6, 7, 8, 9), _model_costs),
    "runtime-speed": Measurement(
        "runtime.md",
        _fixed(
            "python tools/benchmark.py detect --weights {yolov5n} --imgsz 640 --source {images} "
            "--rounds 3 --json {json}"
        ),
        (1, 2, 3, 4, 5, 6, 7, 8),
        _runtimes,
    ),
    "int8-ap": Measurement("quantisation.md", _fixed(*_int8_commands()), (2, 4, 5, 6), _int8_ap),
    "int8-speed": Measurement(
        "quantisation.md",
        _fixed(
            f"{BENCHMARK_INT8} --weights {{yolov5n}} --imgsz 640 --files {{yolov5n_files}}",
            f"{BENCHMARK_INT8} --weights {{yolox_nano}} --imgsz 416 --files {{yolox_nano_files}}",
        ),
        (1, 2, 3, 4),
        _int8_speed,
    ),
    "ssd-speed": Measurement(
        "ssd.md",
        _fixed("python tools/benchmark.py ssd --rounds 6 --json {json}"),
        (1, 2, 3, 4, 5),
        _ssd_speed,
    ),
}
"""Measurements by name: that of their markers on the page, and of the file that keeps them."""
