"""Shares of a network's run time by kind of operator, and by the instructions that ran."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detector.benchmarks.settings import Runner
from detector.runtime.backends.onnx import OnnxBackend
from detector.runtime.backends.openvino import OpenVinoBackend
from detector.runtime.backends.operator_times import OperatorTime
from detector.settings.values import RunPrecision

RUNS = 5
"""Number of runs on an image; the first one prepares buffers."""
MOST = 6
"""Number of kinds that are listed by name."""
INSTRUCTIONS = {
    "amx": "AMX",
    "vnni": "VNNI",
    "avx512": "AVX-512",
    "avx2": "AVX2",
    "sse41": "SSE4.1",
}
"""Instruction sets by their names in OpenVINO's kernels, the widest first."""
UNKNOWN = "not told by name"


@dataclass(frozen=True)
class OperatorShares:
    """Shares of the time of all operators, 0..1, the largest first.

    Attributes:
        kinds: by kind of operator.
        instructions: by instruction set; empty if the runtime does not tell.
    """

    kinds: dict[str, float]
    instructions: dict[str, float]

    def lines(self) -> list[str]:
        """Return both as text."""
        kinds = list(self.kinds.items())
        rest = sum(share for _, share in kinds[MOST:])
        shown = [*kinds[:MOST], *([("others", rest)] if rest else [])]
        found = [f"  operators: {_text(shown)}"]
        if self.instructions:
            found.append(f"  instructions: {_text(list(self.instructions.items()))}")
        return found


def measure_shares(
    runner: Runner, path: Path, threads: int, precision: RunPrecision
) -> OperatorShares | None:
    """Run a file on an empty image and return the shares of its operators.

    None for runtimes that do not count times.
    """
    backend: OnnxBackend | OpenVinoBackend
    if runner == "onnx":
        backend = OnnxBackend(path, threads, profiled=True)
    elif runner == "openvino":
        backend = OpenVinoBackend(path, threads, precision=precision, profiled=True)
    else:
        return None
    image = np.zeros(backend.input_shape, np.float32)
    for _ in range(RUNS):
        backend(image)
    return shares_of(backend.operator_times())


def shares_of(times: Sequence[OperatorTime]) -> OperatorShares:
    """Return the shares of operators in the time of all."""
    kinds = _shares(times, lambda one: one.kind)
    told = any(one.kernel for one in times)
    return OperatorShares(kinds, _shares(times, _instructions) if told else {})


def _shares(times: Sequence[OperatorTime], key: Callable[[OperatorTime], str]) -> dict[str, float]:
    seconds: defaultdict[str, float] = defaultdict(float)
    for one in times:
        seconds[key(one)] += one.seconds
    total = sum(seconds.values()) or 1
    largest_first = sorted(seconds.items(), key=lambda item: -item[1])
    return {name: value / total for name, value in largest_first}


def _instructions(one: OperatorTime) -> str:
    """Return the instruction set and the type of numbers of a kernel.

    >>> _instructions(OperatorTime("Convolution", "brgconv_avx512_amx_1x1_bf16", 0.0))
    'AMX bf16'
    """
    words = one.kernel.split("_")
    found = next((name for word, name in INSTRUCTIONS.items() if word in words), None)
    return UNKNOWN if found is None else f"{found} {words[-1]}"


def _text(shares: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in shares)
