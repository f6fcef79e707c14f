"""Programs that would need all memory there is are refused before they are run."""

from __future__ import annotations

import json
import resource
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from detector.export.program import trace
from detector.export.pt2.archive import GRAPH
from detector.export.pt2.backend import Pt2Backend
from detector.export.pt2.memory import check_memory
from detector.model.detector import build
from detector.runtime.backends.seal import UNSEALED, seal
from detector.utils.errors import DetectorError
from detector.utils.files import packaged_files

IMAGE = (1, 3, 32, 64)
HUGE = 1 << 40


class Network(nn.Module):
    """Returns what a function makes of images."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images * self.scale)


def program_of(function: Callable[[Tensor], Tensor]) -> GraphModule:
    program = torch.export.export(Network(function), (torch.zeros(IMAGE),))
    return program.module()


def changed(function: Callable[[Tensor], Tensor], old: int, new: int) -> GraphModule:
    """Trace a function and replace a number in it, since tracing it with ``new`` takes memory."""
    module = program_of(function)

    def replaced(argument: object) -> object:
        return new if argument == old and not isinstance(argument, bool) else argument

    for node in module.graph.nodes:
        node.args = torch.fx.node.map_aggregate(node.args, replaced)
    module.recompile()
    return module


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.relu(),
        lambda x: torch.full((7,), 1.5) * x.mean(),
        lambda x: torch.arange(7) * x.mean(),
        lambda x: torch.einsum("bchw,bdhw->bcd", x, x),
        lambda x: x.double().float().to(torch.float16),
        lambda x: nn.functional.one_hot(torch.arange(3), 7) * x.mean(),
        lambda x: nn.functional.scaled_dot_product_attention(x, x, x),
    ],
)
def test_networks(function: Callable[[Tensor], Tensor]) -> None:
    check_memory(program_of(function), IMAGE)


@pytest.mark.slow
@pytest.mark.parametrize("cfg", [name for name in packaged_files("cfg") if "/" not in name])
def test_each_packaged_network(cfg: str) -> None:
    model = build(cfg).eval()
    size_hw = model.preprocess.size_hw
    module = trace(model, size_hw, batch=1).module()
    check_memory(module, (1, 3, *size_hw))


def test_large_weights() -> None:
    """2¹³·2¹³ weights are more than an input of that size allows values, and are transposed."""
    weights = nn.Linear(1 << 13, 1 << 13, bias=False, device="meta")
    module = program_of(lambda x: x.new_zeros(1, 1 << 13) @ torch.zeros(1 << 13, 8) * x.mean())
    check_memory(module, IMAGE)
    linear = torch.export.export(weights, (torch.zeros(2, 1 << 13, device="meta"),)).module()
    check_memory(linear, (2, 1 << 13))


GROWN: dict[str, Callable[[Tensor], Tensor]] = {
    "full": lambda x: torch.full((7,), 1.5),
    "zeros": lambda x: torch.zeros(7),
    "ones": lambda x: torch.ones(7),
    "arange": lambda x: torch.arange(7),
    "expand": lambda x: x.mean().expand(7),
    "repeat": lambda x: x.mean().repeat(7),
    "pad": lambda x: nn.functional.pad(x, (7, 0)),
    "upsample": lambda x: nn.functional.interpolate(x, (7, 7)),
    "eye": lambda x: torch.eye(7),
}


@pytest.mark.parametrize("name", GROWN)
def test_what_asks_for_all_memory(name: str) -> None:
    module = changed(GROWN[name], 7, HUGE if name not in ("upsample", "eye") else 1 << 18)
    start, most = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"^needs more memory than a network: [\d,]+ values at "):
        check_memory(module, IMAGE)
    assert time.monotonic() - start < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most < 500_000  # KB


def test_the_message() -> None:
    with pytest.raises(ValueError) as caught:
        check_memory(changed(lambda x: torch.arange(7) * x.mean(), 7, 1 << 26), IMAGE)
    assert str(caught.value) == (
        "needs more memory than a network: 67,108,864 values at once from aten.arange.default "
        "on, at most 33,554,432 for an input of 2,048 pixels"
    )


def test_many_small_ones() -> None:
    """Each below the limit, all of them held: 9 · 4,194,304 values are above 33,554,432."""

    def held(x: Tensor) -> Tensor:
        return torch.stack([(torch.zeros(1 << 22) + x.mean()).max() for _ in range(9)])

    check_memory(program_of(held), IMAGE)

    def all_held(x: Tensor) -> Tensor:
        ones = [torch.zeros(1 << 22) + x.mean() for _ in range(9)]
        return torch.stack([one.max() for one in ones])

    with pytest.raises(ValueError, match="needs more memory than a network: 3"):
        check_memory(program_of(all_held), IMAGE)


def test_parts_of_an_operator() -> None:
    """An outer product of 2¹³ and 2¹³ values that are summed at once."""

    def outer(x: Tensor) -> Tensor:
        one = x.new_zeros(1 << 13)
        return torch.einsum("i,j->ij", one, one).sum()

    with pytest.raises(ValueError, match="needs more memory than a network: 67,1"):
        check_memory(program_of(outer), IMAGE)


def test_a_size_that_follows_from_the_image() -> None:
    class Found(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.nonzero()

    module = torch.export.export(Found(), (torch.zeros(IMAGE),)).module()
    with pytest.raises(ValueError, match=r"^the size of aten.nonzero.default 'nonzero' cannot be "):
        check_memory(module, IMAGE)


@pytest.fixture
def plant_graph(pt2_file: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function that changes the operators of a good file."""

    def plant(change: Callable[[list[Any]], None]) -> Path:
        planted = tmp_path / "planted.pt2"
        with zipfile.ZipFile(pt2_file) as good, zipfile.ZipFile(planted, "w") as bad:
            for member in good.namelist():
                data = good.read(member)
                if member.endswith(GRAPH):
                    content = json.loads(data)
                    change(content["graph_module"]["graph"]["nodes"])
                    data = json.dumps(content).encode()
                bad.writestr(member, data)
            bad.comment = UNSEALED.encode()
        seal(planted)
        return planted

    return plant


@pytest.mark.parametrize("name", ["cond", "while_loop", "scan", "map_impl", "associative_scan"])
def test_control_flow(name: str, plant_graph: Callable[..., Path]) -> None:
    def change(nodes: list[Any]) -> None:
        nodes[0]["target"] = f"torch.ops.higher_order.{name}"

    path = plant_graph(change)
    with pytest.raises(DetectorError) as caught:
        Pt2Backend(path)
    assert str(caught.value) == (
        f"{path}: refused, nothing in it was run: operator 'torch.ops.higher_order.{name}'"
    )


def test_a_planted_file(plant_graph: Callable[..., Path], pt2_file: Path) -> None:
    """A file with valid sizes in its metadata, and one constant of an operator changed."""
    Pt2Backend(pt2_file)

    def change(nodes: list[Any]) -> None:
        resized = next(node for node in nodes if node["target"].startswith("torch.ops.aten.arange"))
        for argument in resized["inputs"]:
            if "as_int" in argument["arg"] or "as_sym_int" in argument["arg"]:
                argument["arg"] = {"as_int": HUGE}

    path = plant_graph(change)
    start = time.monotonic()
    with pytest.raises(DetectorError) as caught:
        Pt2Backend(path)
    assert str(caught.value).startswith(f"{path}: refused, it was not run: needs more memory than ")
    assert time.monotonic() - start < 10
