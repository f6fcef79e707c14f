"""Where weights come from: the command, versions, machine, settings and data of a training."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Mapping
from typing import Any

import torch

from detector import __version__
from detector.settings import TrainSettings
from detector.versions import installed_versions

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
    """Plain values, for JSON; the first command started the run, others went on with it.

    Args:
        settings: of the run.
        data: a fingerprint by split.
    """
    return {
        "commands": [shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]])],
        "versions": {
            "detector": __version__,
            "python": platform.python_version(),
            **installed_versions(PACKAGES),
        },
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "settings": settings.model_dump(mode="json", exclude=PRIVATE),
        "data": dict(data),
    }
