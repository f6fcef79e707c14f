"""Choice of the fastest of several exported files of one network, among those that lose little.

What a file loses is in its certificate; its time on this machine is measured on a blank image.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detector.runtime.backends.backend import Backend
from detector.runtime.backends.certificate import Certificate
from detector.runtime.backends.exported import ExportedBackend
from detector.utils.errors import DetectorError

EXPORTED = (".onnx", ".xml", ".pt2")
"""Suffixes of exported files."""

WARM_UP_RUNS = 2
"""Number of runs of each file that are not timed."""

TIMED_RUNS = 10
"""Number of runs of each file whose median is its time."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """One of the files.

    Attributes:
        backend: the open file.
        certificate: its certificate.
    """

    backend: ExportedBackend
    certificate: Certificate

    @property
    def path(self) -> Path:
        """The file."""
        return self.backend.path

    @property
    def drop(self) -> float | None:
        """Drop of the main metric by the export; None if it is not known.

        The outputs of a file in fp32 are those of the network, so that it needs no measurement.
        """
        if self.certificate.measured is not None:
            _, before, after = self.certificate.measured.main
            return before - after
        return 0.0 if self.certificate.precision == "fp32" else None

    def is_within(self, max_drop: float) -> bool:
        """Return whether the certificate allows the file."""
        return self.drop is not None and self.drop <= max_drop

    @property
    def kind(self) -> dict[str, Any]:
        """What the files have in common besides the weights, by its name in errors."""
        backend = self.backend
        return {
            "class names": backend.names,
            "preprocessing": backend.preprocess,
            "NMS inside": backend.metadata.nms,
        }

    def describe(self) -> str:
        """Return precision and metric before and after, as text."""
        measured = self.certificate.measured
        precision = self.certificate.precision
        if measured is None:
            known = "outputs as the network's" if self.drop is not None else "no metric measured"
            return f"{precision}, {known}"
        name, before, after = measured.main
        return f"{precision}, {name} {before:.4f} → {after:.4f} on {measured.images} images"


@dataclass(frozen=True)
class Choice:
    """The chosen file, and what it was chosen by.

    Attributes:
        path: the file.
        ms_per_image: median time of each file that the certificates allow, ms.
        left_out: the other files.
    """

    path: Path
    ms_per_image: dict[Path, float]
    left_out: tuple[Path, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "path": str(self.path),
            "ms_per_image": {str(path): ms for path, ms in self.ms_per_image.items()},
            "left_out": [str(path) for path in self.left_out],
        }


def exported_files(weights: Iterable[Path]) -> list[Path]:
    """Return the files, and in place of each folder the exported files in it, by name.

    Raises:
        DetectorError: a folder holds none.
    """
    files: list[Path] = []
    for path in weights:
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(one for one in path.iterdir() if one.suffix.lower() in EXPORTED)
        if not inside:
            raise DetectorError(
                f"is a folder without exported files ({', '.join(EXPORTED)}); expected weights",
                file=path,
            )
        files += inside
    return files


def choose_file(
    paths: Sequence[Path],
    open_file: Callable[[Path], Backend],
    max_drop: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Choice:
    """Choose the fastest file among those whose certificate allows it, and say why.

    Args:
        paths: exported files of one network.
        open_file: opens one for the run that is to follow.
        max_drop: largest drop of the main metric, AP or accuracy.
        clock: returns the time in seconds.

    Raises:
        DetectorError: a file has no certificate, or is of another network or input than the first;
            or none is allowed.
    """
    candidates = [_open_candidate(path, open_file) for path in paths]
    for other in candidates[1:]:
        _check_same(candidates[0], other)
    allowed = [one for one in candidates if one.is_within(max_drop)]
    left_out = [one for one in candidates if not one.is_within(max_drop)]
    for one in left_out:
        logger.info("%s: %s; left out, allowed is a drop of %g", one.path, one.describe(), max_drop)
    if not allowed:
        raise DetectorError(
            f"no file is certified for a drop of at most {max_drop:g} (--max-drop): "
            f"{', '.join(path.name for path in paths)}; export one in fp32"
        )
    times = ms_per_image([one.backend for one in allowed], clock)
    for one, ms in zip(allowed, times, strict=True):
        logger.info("%s: %s; %.1f ms an image", one.path, one.describe(), ms)
    by_path = {one.path: ms for one, ms in zip(allowed, times, strict=True)}
    fastest = min(by_path, key=by_path.__getitem__)
    logger.info("%s: the fastest here, by %d runs on a blank image", fastest, TIMED_RUNS)
    return Choice(fastest, by_path, tuple(one.path for one in left_out))


def ms_per_image(
    backends: Sequence[ExportedBackend], clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Run each network on a blank image, in turns; return the median times an image, ms."""
    inputs = [np.zeros(backend.input_shape, np.float32) for backend in backends]
    seconds: list[list[float]] = [[] for _ in backends]
    for turn in range(WARM_UP_RUNS + TIMED_RUNS):
        for backend, blank, own in zip(backends, inputs, seconds, strict=True):
            start = clock()
            backend(blank)
            if turn >= WARM_UP_RUNS:
                own.append((clock() - start) / len(blank))
    return [1000 * statistics.median(own) for own in seconds]


def _open_candidate(path: Path, open_file: Callable[[Path], Backend]) -> Candidate:
    if path.is_file() and path.suffix.lower() not in EXPORTED:
        raise DetectorError(
            f"not an exported file ({', '.join(EXPORTED)}); of several, one is chosen by their "
            "certificates",
            file=path,
        )
    backend = open_file(path)
    certificate = backend.metadata.certificate if isinstance(backend, ExportedBackend) else None
    if not isinstance(backend, ExportedBackend) or certificate is None:
        raise DetectorError(
            "has no certificate, by which one of several files is chosen", file=path
        )
    return Candidate(backend, certificate)


def _check_same(first: Candidate, other: Candidate) -> None:
    expected, found = (one.certificate.weights_sha256 for one in (first, other))
    if found != expected:
        raise DetectorError(
            f"made from weights {found[:12]}…, {first.path.name} from {expected[:12]}…; expected "
            "files of one network",
            file=other.path,
        )
    for name, value in first.kind.items():
        if other.kind[name] != value:
            raise DetectorError(
                f"differs from {first.path.name} in its {name}; expected files of one kind",
                file=other.path,
            )
