"""Run times of a network's operators, as its runtime profiles them."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class OperatorTime:
    """Time that one operator took, of all runs or of the last, as the runtime counts.

    Attributes:
        kind: type of the operator, by the runtime's name.
        kernel: the runtime's name of its implementation, which tells instructions and precision;
            empty if the runtime gives none.
        seconds: time.
    """

    kind: str
    kernel: str
    seconds: float


def of_openvino(request: Any) -> list[OperatorTime]:
    """Return the times of an openvino.InferRequest's last run; it was compiled to count them."""
    return [
        OperatorTime(one.node_type, one.exec_type, one.real_time.total_seconds())
        for one in request.get_profiling_info()
        if one.status == one.Status.EXECUTED
    ]


class OnnxProfile:
    """Files that ONNX Runtime writes profiles to: it has no other way to give them."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="detector-profile-")

    def enable(self, options: Any) -> None:
        """Let a session with these onnxruntime.SessionOptions count times."""
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(self._folder.name) / "profile")

    def read(self, session: Any) -> list[OperatorTime]:
        """End counting, and return the times of all operators in all runs of a session."""
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        self._folder.cleanup()
        return [
            OperatorTime(event["args"]["op_name"], "", event["dur"] / 1e6)
            for event in events
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
        ]
