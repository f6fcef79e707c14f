"""Backbones for other programs: build one, with start weights, by the name of its model file."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from pathlib import Path

from detector.model.detector import Detector, build
from detector.model.features import Features, NormName, replace_norms
from detector.utils.errors import DetectorError, nearest, shown
from detector.utils.keywords import refuses_unknown_keywords
from detector.weights.interop.blocks import backbone_rows
from detector.weights.transfer import start_backbone_from


@refuses_unknown_keywords
def features(
    cfg: str | Path,
    variant: str | None = None,
    out: Sequence[str] = ("P3", "P4", "P5"),
    weights: str | Path | None = None,
    norm: NormName = "batch",
) -> Features:
    """Return the backbone of a model file as a plain module, for a head of your own.

    Args:
        cfg: path of a model file, or name of a packaged one (``vovnet``).
        variant: name of one of the file's variants.
        out: levels to return, such as ``P3``, of stride 2³: the last backbone row of the stride.
        weights: start weights of the backbone, of this package or another project.
        norm: ``batch``; ``frozen`` for batch norms that stay as they are; ``group`` for group
            norms, which train from random weights with few images a batch.

    Raises:
        DetectorError: the network cannot be built, has no such level, or the weights do not fit.

    Example:
        >>> backbone = features("vovnet", "27-slim", out=["P4", "P5"])
        >>> backbone.out_channels, backbone.strides
        ((384, 512), (16, 32))
    """
    norms = typing.get_args(NormName)
    if norm not in norms:
        hint = nearest(str(norm), norms) or f"; expected {', '.join(norms)}"
        raise DetectorError(f"norm: unknown {shown(norm)}{hint}")
    if norm == "group" and weights is not None:
        raise DetectorError(
            "norm: weights are trained with batch norms, expected 'batch' or 'frozen', "
            "found 'group'"
        )
    model = build(cfg, variant=variant)
    rows = _rows_of_levels(model, out)
    if weights is not None:
        start_backbone_from(model, Path(weights))
    found = Features(model, rows)
    replace_norms(found, norm)
    return found


def _rows_of_levels(model: Detector, out: Sequence[str]) -> dict[str, int]:
    """Return the index of the last backbone row of each level's stride, by level."""
    last: dict[str, int] = {}
    for index in backbone_rows(model):
        row = model.plan[index]
        if row.channels and row.stride.denominator == 1:
            last[f"P{int(row.stride).bit_length() - 1}"] = index
    levels = [out] if isinstance(out, str) else list(out)
    for level in levels:
        if level not in last:
            raise DetectorError(f"out: no level {shown(level)}, expected some of {', '.join(last)}")
    if not levels or levels != sorted(set(levels), key=lambda level: int(level[1:])):
        raise DetectorError(f"out: expected rising levels such as P3, P4; found {levels}")
    return {level: last[level] for level in levels}
