"""Gradient checkpointing: the same outputs, gradients and statistics from less memory."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from detector.model.deploy import deploy
from detector.model.detector import Detector, build
from detector.model.recompute import recomputed

NETWORKS = {
    "yolov5n": None,
    "yolov5_repvgg": "n",
    "yolox": "nano",
    "densenet40": None,
}
"""Model files and variants: with RepVGG's branches, decoupled heads, dense blocks."""

SIDE = 64


def tensors(outputs: Any) -> list[Tensor]:
    """All tensors of a head's raw outputs."""
    if isinstance(outputs, Tensor):
        return [outputs]
    values = outputs.values() if isinstance(outputs, dict) else outputs
    return [tensor for value in values for tensor in tensors(value)]


def images(side: int = SIDE, count: int = 2) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def loss_of(model: Detector, inputs: Tensor) -> Tensor:
    return torch.stack([one.float().square().mean() for one in tensors(model(inputs))]).sum()


def gradients(model: Detector, passes: int = 1, side: int = SIDE) -> dict[str, Tensor]:
    """Gradients, buffers and loss after forward passes and one backward."""
    torch.manual_seed(0)
    loss = torch.stack([loss_of(model, images(side) + i) for i in range(passes)]).sum()
    loss.backward()
    found = {name: weight.grad for name, weight in model.named_parameters()}
    return {
        **{name: grad for name, grad in found.items() if grad is not None},
        **dict(model.named_buffers()),
        "loss": loss.detach(),
    }


def check_equal(model: Detector, run: Callable[[Detector], dict[str, Tensor]] = gradients) -> None:
    """Compare training with and without recomputation, bit for bit."""
    model.train()
    other = copy.deepcopy(model)
    other.recomputes = True
    expected, found = run(model), run(other)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("cfg", NETWORKS)
def test_gradients_and_statistics_are_equal(cfg: str):
    torch.manual_seed(0)
    model = build(cfg, variant=NETWORKS[cfg])
    check_equal(model.to(memory_format=torch.channels_last))
    counts = {int(b) for name, b in model.named_buffers() if name.endswith("batches_tracked")}
    assert counts == {1}


def saved_bytes(model: Detector, side: int) -> int:
    """Bytes that autograd keeps between forward and backward, without the weights."""
    storages: dict[int, int] = {}
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    kept = []
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        kept.append(loss_of(model, images(side, 1)))
    return sum(storages.values())


@pytest.mark.parametrize(("cfg", "share"), [("yolov5n", 0.3), ("yolov5_repvgg", 0.4)])
def test_memory_between_forward_and_backward(cfg: str, share: float):
    model = build(cfg, variant=NETWORKS[cfg]).train()
    before = saved_bytes(model, 128)
    model.recomputes = True
    assert saved_bytes(model, 128) < share * before


def test_statistics_of_two_passes_before_one_backward():
    check_equal(build("yolov5n"), lambda model: gradients(model, passes=2))


def test_frozen_rows_stay_as_they_are():
    model = build("yolov5n").train()
    model.rows[:4].requires_grad_(False)
    before = copy.deepcopy(model.state_dict())

    def run(one: Detector) -> dict[str, Tensor]:
        one.rows[:4].eval()
        return gradients(one)

    check_equal(model, run)
    for name, value in model.state_dict().items():
        if int(name.split(".")[1]) < 4:
            assert torch.equal(value, before[name]), name


def test_rounding_to_8_bits_is_repeated():
    model, _ = deploy(build("yolov5n"))
    model.rounds = True
    model.requires_grad_()
    check_equal(model)


@pytest.mark.slow
def test_mixed_precision():
    def run(model: Detector) -> dict[str, Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            return gradients(model)

    check_equal(build("yolox", variant="nano"), run)


def test_evaluation_keeps_nothing():
    """Neither evaluation nor a pass without gradients runs anything twice."""
    model = build("yolov5n")
    model.recomputes = True
    calls: list[int] = []
    model.rows[0].register_forward_pre_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        model.train()(images())
    model.eval()(images())
    assert len(calls) == 2
    loss_of(model.train(), images()).backward()
    assert len(calls) == 4


class Counted(nn.Module):
    """A block of another package: its output depends on what it keeps, and on random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += x.detach().mean()
        return nn.functional.dropout(x * self.weight * self.seen, 0.5).exp()


def test_a_block_whose_output_depends_on_its_buffers():
    """The second run starts from the buffers, and the random numbers, of the first."""
    found = []
    for again in (False, True):
        torch.manual_seed(0)
        block, x = Counted(), torch.arange(1.0, 9.0, requires_grad=True)
        out = recomputed(block, block, x) if again else block(x)
        out.sum().backward()
        found.append((out.detach(), x.grad, block.weight.grad, block.seen))
    assert float(found[0][3]) == 4.5
    for plain, other in zip(*found, strict=True):
        assert torch.equal(plain, other)
