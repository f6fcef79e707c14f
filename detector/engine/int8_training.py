"""Start of quantisation-aware training: a trained network, fused, that rounds to 8 bits."""

from __future__ import annotations

import logging

from detector.model.deploy import deploy
from detector.model.detector import Detector
from detector.settings.train import TrainSettings
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import load
from detector.weights.interop.input_layers import fit_input_layers

logger = logging.getLogger(__name__)

PIXEL_MAX = 255.0
LARGEST_INPUT = 16.0
"""Largest input of a network that trains without batch norms; ImageNet's scale gives 2.6."""


def fused_start(settings: TrainSettings, names: tuple[str, ...]) -> Detector:
    """Load the network of ``weights`` and fuse it, since an INT8 file holds the fused weights.

    Args:
        settings: ``qat`` is set.
        names: class names of the data.

    Raises:
        DetectorError: no weights, another network asked for as well, or other classes.
    """
    if settings.weights is None or settings.cfg is not None or settings.variant is not None:
        raise DetectorError(
            "--qat goes on training the network of --weights; give --weights, without --cfg"
        )
    if settings.backbone_weights is not None or settings.download:
        raise DetectorError("--qat goes on training the network of --weights, backbone included")
    model = load(settings.weights)
    if model.names != names:
        raise DetectorError(
            f"--qat: has the classes {_shown(model.names)}, the data {_shown(names)}; train it on "
            "them first, without --qat",
            file=settings.weights,
        )
    fused, report = deploy(model)
    if report.fused_blocks:
        logger.info(f"--qat: {report.fused_blocks} blocks fused")
    with_small_inputs(fused)
    return fused


def with_small_inputs(model: Detector) -> None:
    """Let a network that reads pixels of 0 to 255 read them divided by 255; it computes the same.

    Without a batch norm behind it, the first convolution's step grows with the square of its input:
    on pixels of 0 to 255 any usual learning rate throws its weights away.
    """
    before = model.preprocess
    largest = PIXEL_MAX / min(before.scale_rgb)
    if largest <= LARGEST_INPUT:
        return
    model.preprocess = before.model_copy(update={"scale_rgb": (PIXEL_MAX,) * 3})
    try:
        model.load_state_dict(fit_input_layers(model.state_dict(), before, model))
    except DetectorError:  # what reads the image is no convolution
        model.preprocess = before
        logger.warning(
            f"--qat: the network reads numbers up to {largest:g}, and its first layers cannot be "
            "converted to smaller ones; steps may be too large for them"
        )
        return
    logger.info(
        f"--qat: pixels are divided by {PIXEL_MAX:g}, and the first weights multiplied by it, so "
        "that steps suit them"
    )


def _shown(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown}, … ({len(names)})"
