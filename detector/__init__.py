"""Object detectors described in YAML: train, measure, fuse, export, detect.

``import detector`` reads nothing but this file: each name below is imported when it is first used,
so detecting with an exported file never needs torch.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detector.api import (
        ModelInfo,
        analyse,
        check,
        compare,
        convert,
        cross_validate,
        list_models,
        save,
        train,
        validate,
    )
    from detector.data.checks.finding import DataReport
    from detector.engine.callbacks import Callback
    from detector.engine.tasks import register_task
    from detector.engine.training import TrainingResult
    from detector.export.request import export
    from detector.model.deploy import deploy
    from detector.model.detector import build
    from detector.predict import Predictor
    from detector.registry import register
    from detector.settings.nms import NmsSettings
    from detector.structures.detections import Detections
    from detector.utils.errors import DetectorError
    from detector.weights.checkpoint import load
    from detector.weights.features import features

__version__ = "0.1.0"

__all__ = [
    "Callback",
    "DataReport",
    "Detections",
    "DetectorError",
    "ModelInfo",
    "NmsSettings",
    "Predictor",
    "TrainingResult",
    "analyse",
    "build",
    "check",
    "convert",
    "compare",
    "cross_validate",
    "deploy",
    "export",
    "features",
    "list_models",
    "load",
    "register",
    "register_task",
    "save",
    "train",
    "validate",
]

_HOMES = {
    "Callback": "detector.engine.callbacks",
    "DataReport": "detector.data.checks.finding",
    "Detections": "detector.structures.detections",
    "DetectorError": "detector.utils.errors",
    "ModelInfo": "detector.api",
    "NmsSettings": "detector.settings.nms",
    "Predictor": "detector.predict",
    "TrainingResult": "detector.engine.training",
    "analyse": "detector.api",
    "build": "detector.model.detector",
    "check": "detector.api",
    "convert": "detector.api",
    "compare": "detector.api",
    "cross_validate": "detector.api",
    "deploy": "detector.model.deploy",
    "features": "detector.weights.features",
    "list_models": "detector.api",
    "load": "detector.weights.checkpoint",
    "register": "detector.registry",
    "register_task": "detector.engine.tasks",
    "save": "detector.api",
    "train": "detector.api",
    "validate": "detector.api",
}

# Silent until a program asks for messages, with logging.basicConfig(level="INFO") say.
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name == "export":  # the room, which can be called
        return importlib.import_module("detector.export")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # next time Python finds it without asking here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
