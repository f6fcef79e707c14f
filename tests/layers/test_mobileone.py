"""MobileOne as a network: timm's, with its names mapped, computes the same."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from detector.layers.branches import IdentityNorm
from detector.layers.mobileone import MobileOneBlock
from detector.layers.repvgg import randomise_batch_norms
from detector.model.deploy import deploy
from detector.model.detector import Detector, build


def with_our_names(model: Detector, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return timm's tensors under the names of ``cfg/mobileone.yaml``."""
    return {our_name(model, name): tensor for name, tensor in state.items()}


def our_name(model: Detector, name: str) -> str:
    """``stages.0.1.conv_kxk.2.bn.bias`` → ``rows.1.1.branches.2.bn.bias``."""
    if name.startswith("head.fc."):
        return name.replace("head.fc", f"rows.{len(model.rows) - 1}.layers.2")
    name = re.sub(r"^stages\.(\d+)", lambda match: f"rows.{int(match[1]) + 1}", name)
    name = re.sub(r"^stem", "rows.0", name)
    path = re.match(r"rows\.\d+(\.\d+)?(?=\.[a-z])", name)
    assert path is not None
    block = model.get_submodule(path[0])
    assert isinstance(block, MobileOneBlock)
    last = len(block.branches) - 1
    scale = last - isinstance(block.branches[last], IdentityNorm)
    for theirs, ours in (
        ("conv_kxk", "branches"),
        ("conv_scale", f"branches.{scale}"),
        ("identity", f"branches.{last}.bn"),
        ("attn.fc1", "se.down"),
        ("attn.fc2", "se.up"),
    ):
        name = name.replace(f"{path[0]}.{theirs}", f"{path[0]}.{ours}")
    return name


@pytest.mark.parametrize("variant", ["s0", pytest.param("s4", marks=pytest.mark.slow)])
@torch.no_grad()
def test_outputs_are_timm_s(variant: str) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    reference: nn.Module = timm.create_model(f"mobileone_{variant}", num_classes=10).eval()
    randomise_batch_norms(reference)
    model = build("mobileone", 10, variant).eval()
    model.load_state_dict(with_our_names(model, reference.state_dict()))
    reference.double()
    model.double()
    x = torch.rand(2, 3, 64, 96, dtype=torch.float64)
    expected, found = reference(x), model(x)["logits"]
    assert float((found - expected).abs().max() / expected.abs().max()) <= 1e-10
    fused, report = deploy(model)
    assert report.difference_fp64 <= 1e-10
    found = fused(x)["logits"]
    assert float((found - expected).abs().max() / expected.abs().max()) <= 1e-10
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
