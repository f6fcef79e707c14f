"""What runs on a GPU: ``python -m pytest -m gpu -n 0``; figures go to ``runs/gpu.json``.

``DETECTOR_TEST_DEVICE=cpu`` tries the tests themselves where there is no GPU.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

ASKED = os.environ.get("DETECTOR_TEST_DEVICE", "cuda")
RESULTS = Path(__file__).parents[2] / "runs/gpu.json"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    reason = "torch sees no CUDA device; DETECTOR_TEST_DEVICE=cpu tries these tests without one"
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if ASKED == "cuda" and not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The device that is tested."""
    return torch.device(ASKED)


@pytest.fixture(scope="session")
def figures(device: torch.device) -> Iterator[dict[str, Any]]:
    """Measured values by name, written as JSON at the end."""
    found: dict[str, Any] = {"device": str(device), "torch": torch.__version__}
    if device.type == "cuda":
        found |= {"name": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    yield found
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


@pytest.fixture
def record(figures: dict[str, Any], request: pytest.FixtureRequest) -> Callable[..., None]:
    """A function that keeps values under the test's name."""

    def record(**values: Any) -> None:
        figures.setdefault(request.node.name, {}).update(values)

    return record
