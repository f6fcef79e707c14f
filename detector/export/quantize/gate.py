"""The gate: a file in INT8 is written only if AP, or accuracy, drops by no more than allowed."""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path

from detector.export.options import Save
from detector.export.proof.comparison import InputBatch
from detector.export.proof.measured import EvaluationImages, change_text
from detector.export.quantize.calibration import Calibration
from detector.export.quantize.quantizable import Quantizable
from detector.export.quantize.sensitivity import (
    MOST_IN_FLOAT,
    SENSITIVITY_IMAGES,
    RowLoss,
    fewest,
    sensitivities,
)
from detector.model.detector import Detector
from detector.model.torch_backend import TorchBackend
from detector.runtime.backends.backend import ModelMetadata
from detector.runtime.backends.certificate import Measured, Quantisation
from detector.runtime.backends.exported import ExportedBackend
from detector.utils.errors import DetectorError

logger = logging.getLogger(__name__)

NAMED = 3
"""Number of rows that an error names, the worst ones."""


@dataclass(frozen=True)
class Int8Request:
    """What a file in INT8 is made and judged by.

    Attributes:
        calibration: images that the ranges of activations are measured on.
        evaluation: annotated images that AP, or accuracy, is measured on.
        per_tensor: weights have one scale a layer, in place of one for each output channel.
    """

    calibration: Calibration
    evaluation: EvaluationImages
    per_tensor: bool = False


@dataclass(frozen=True)
class Accepted:
    """A network in INT8 that passed the gate.

    Attributes:
        save: writes it.
        measured: metrics before and after, with intervals.
        quantisation: how it was made, for the certificate.
    """

    save: Save
    measured: Measured
    quantisation: Quantisation


class Gate:
    """Measures a network in INT8 with some rows in float.

    Args:
        network: the network in INT8.
        request: evaluation images and the largest drop.
        original: the trained network.
        metadata: metadata of the file.
        open_saved: writes a file for a trial and opens it.

    Attributes:
        network: the network; with other ranges if they lose less.
        trials: by the rows in float, the function that writes the network, and what was measured.

    Raises:
        DetectorError: the images have no objects to measure on.
    """

    def __init__(
        self,
        network: Quantizable,
        request: Int8Request,
        original: Detector,
        metadata: ModelMetadata,
        open_saved: Callable[[Save, Path], ExportedBackend],
    ) -> None:
        self.network = network
        self.request = request
        self.trials: dict[tuple[int, ...], tuple[Save, Measured]] = {}
        self._open_saved = open_saved
        eager = TorchBackend(copy.deepcopy(original), preprocess=metadata.preprocess)
        self._settings = metadata.measured_nms
        self._before = request.evaluation.metrics(eager, self._settings)
        name, value = next(iter(self._before.by_name.items()))
        if value < 0:
            raise DetectorError(f"--precision int8: the images of --data have nothing for {name}")

    def passes(self, in_float: Collection[int]) -> bool:
        """Return whether the metric drops by no more than allowed with these rows in float."""
        save, evaluation = self.network.save(in_float), self.request.evaluation
        with tempfile.TemporaryDirectory() as folder:
            after = evaluation.metrics(self._open_saved(save, Path(folder)), self._settings)
        measured = evaluation.compared(self._before, after)
        self.trials[tuple(in_float)] = save, measured
        name, was, now = measured.main
        logger.info(f"INT8 with {len(in_float)} rows in float: {name} {was:.4f} → {now:.4f}")
        return now >= was - evaluation.max_drop


def accept_int8(gate: Gate, batches: Sequence[InputBatch], modules: Mapping[int, str]) -> Accepted:
    """Find the fewest rows to leave in float so that the gate lets the network pass.

    Args:
        gate: measures the network.
        batches: calibration images; the first ones serve to rank the rows.
        modules: name of each row's module.

    Raises:
        DetectorError: the metric drops by more than allowed, whichever rows are left in float.
    """
    in_float = [] if _ranges_pass(gate) else _fewest_in_float(gate, batches, modules)
    save, measured = gate.trials[tuple(in_float)]
    quantisation = Quantisation(
        calibration=gate.request.calibration.about,
        max_drop=gate.request.evaluation.max_drop,
        per_tensor=gate.request.per_tensor,
        rows=len(gate.network.rows),
        in_float=tuple(named(row, modules) for row in sorted(in_float)),
    )
    return Accepted(save, measured, quantisation)


def _ranges_pass(gate: Gate) -> bool:
    """Try the ranges of the network until one passes; else keep those that lose least."""
    tried = []
    for network in chain((gate.network,), gate.network.other_ranges()):
        gate.network, gate.trials = network, {}
        if gate.passes(()):
            return True
        tried.append((gate.trials[()][1].main[2], network, gate.trials))
        logger.info("INT8: trying other ranges of the activations")
    _, gate.network, gate.trials = max(tried, key=itemgetter(0))
    return False


def named(row: int, modules: Mapping[int, str]) -> str:
    """Return a row's name for a user.

    >>> named(2, {2: "C3"})
    'row 2 (C3)'
    """
    return f"row {row} ({modules[row]})"


def _fewest_in_float(
    gate: Gate, batches: Sequence[InputBatch], modules: Mapping[int, str]
) -> list[int]:
    """Return the fewest rows to leave in float so that the gate lets the network pass."""
    losses = _ranked(gate.network, batches, modules)
    found = fewest([loss.row for loss in losses], gate.passes)
    if found is None:
        _, plain = gate.trials[()]
        raise _refused(plain, gate.request.evaluation.max_drop, losses, modules)
    return found


def _ranked(
    network: Quantizable, batches: Sequence[InputBatch], modules: Mapping[int, str]
) -> list[RowLoss]:
    """Return the rows with what they lose, the worst first, and log the table."""
    losses = sensitivities(network, list(islice(batches, SENSITIVITY_IMAGES)))
    logger.info("change of the outputs with one row alone in INT8:")
    for loss in losses:
        logger.info(f"  {named(loss.row, modules):24s} {loss.error:.4f}")
    return losses


def _refused(
    plain: Measured, max_drop: float, losses: Sequence[RowLoss], modules: Mapping[int, str]
) -> DetectorError:
    name = plain.main[0]
    worst = ", ".join(named(loss.row, modules) for loss in losses[:NAMED])
    return DetectorError(
        f"--precision int8: {name} {change_text(plain)}, allowed is −{max_drop:g}, and leaving "
        f"{MOST_IN_FLOAT:.0%} of the rows in float does not help; the worst rows are {worst}; "
        "nothing was written; try other or more images (--calibrate, --calibration-images), "
        "--precision fp16, or a larger --max-drop"
    )
