"""Compared networks compute the same; a missing reference is named."""

from __future__ import annotations

import sys

import pytest
import torch

from detector.benchmarks.backbones import _networks, benchmark
from detector.benchmarks.settings import BackboneBenchmarkSettings
from detector.utils.errors import DetectorError


def test_networks_have_the_same_weights() -> None:
    pytest.importorskip("timm")
    networks = _networks("A0")
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        train, deployed = (networks[name](images)["logits"] for name in ("train", "deployed"))
        theirs = networks["timm, train"](images)
    scale = theirs.abs().max()
    assert (train - theirs).abs().max() <= 1e-5 * scale
    assert (deployed - theirs).abs().max() <= 1e-4 * scale


def test_timm_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(DetectorError) as caught:
        benchmark(BackboneBenchmarkSettings())
    assert str(caught.value) == "timm is not installed; run: pip install -r requirements-dev.txt"
