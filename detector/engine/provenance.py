"""Where weights come from: the command, versions, machine, settings and data of a training."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from detector import __version__
from detector.settings import TrainSettings

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "opencv-python",
    "opencv-python-headless",
    "albumentations",
    "pycocotools",
    "accelerate",
)
"""What the weights depend on."""

PRIVATE = {"project", "name", "json_file", "debug", "resume"}
"""Settings that change no weight."""


def provenance(settings: TrainSettings, data: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values, for JSON.

    Args:
        settings: of the run.
        data: a fingerprint by split.
    """
    return {
        "command": shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]]),
        "versions": {"detector": __version__, "python": platform.python_version(), **_versions()},
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "settings": settings.model_dump(mode="json", exclude=PRIVATE),
        "data": dict(data),
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # of OpenCV's two builds one may be missing
            continue
    return found
