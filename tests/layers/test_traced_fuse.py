"""What one run shows of a network: which batch norms alone read a convolution's output."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detector.layers.repvgg import randomise_batch_norms
from detector.layers.traced_fuse import Trace, fold_batch_norms, trace


class Network(nn.Module):
    """One case of everything that may and may not be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.read_twice, self.of_read_twice = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.used_twice = nn.Conv2d(4, 4, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(2))
        self.standardized, self.of_standardized = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.grouped, self.of_grouped = nn.Conv2d(4, 8, 3, groups=2, bias=False), nn.BatchNorm2d(8)
        self.shared_norm = nn.BatchNorm2d(8)
        self.returned, self.of_returned = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.alias = self.of_grouped  # the same module under a second name

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.relu(self.first_norm(self.first(x)))
        y = self.read_twice(x)
        x = y + self.of_read_twice(y)
        x = self.norms[1](self.used_twice(self.norms[0](self.used_twice(x))))
        weight = self.standardized.weight * 2
        x = self.of_standardized(F.conv2d(x, weight, self.standardized.bias))
        x = self.of_grouped(self.grouped(x))
        x = self.shared_norm(self.shared_norm(x))
        y = self.returned(x)
        return [y, self.of_returned(y)]


FOUND = Trace({"first": "first_norm", "grouped": "of_grouped"}, ("first",), {"first": "first_norm"})


def test_what_is_found() -> None:
    network = Network()
    assert trace(network, (32, 32)) == FOUND
    assert trace(network.double(), (32, 48)) == FOUND
    assert network.training
    assert next(network.parameters()).device.type == "cpu"


def test_what_is_folded() -> None:
    torch.manual_seed(0)
    network = Network().double().eval()
    randomise_batch_norms(network)
    folded = copy.deepcopy(network)
    fold_batch_norms(folded, trace(folded, (32, 32)))
    assert isinstance(folded.first_norm, nn.Identity)
    assert isinstance(folded.of_grouped, nn.Identity)
    assert folded.alias is not network.alias
    assert isinstance(folded.alias, nn.Identity)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in folded.modules()) == 6
    image = torch.rand(2, 3, 32, 48, dtype=torch.float64)
    for expected, found in zip(network(image), folded(image), strict=True):
        assert float((expected - found).abs().max() / expected.abs().max()) < 1e-14


def test_an_image_that_something_else_reads() -> None:
    class Padded(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(F.pad(x, (0, 1, 0, 1)))

    network = Padded(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    assert trace(network, (8, 8)) == Trace({"0": "1"}, ())


def test_a_norm_with_a_hook_stays() -> None:
    """A hook on the norm would be lost."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    network[1].register_forward_hook(lambda *_: None)
    assert trace(network, (8, 8)) == Trace({}, ("0",))


def test_a_network_without_convolutions() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.factor

    network = Plain()
    assert trace(network, (8, 8)) == Trace({}, ())
    fold_batch_norms(network, Trace({}, ()))
