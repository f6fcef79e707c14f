"""Deployment: a fused copy of a network, and the proof that it computes the same.

RepVGG (arXiv 2101.03697, section 3.3): each block knows how to fuse itself; the walker here works
on a copy in float64, compares block by block and as a whole, and casts last.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from detector.heads.head import hook
from detector.model.detector import Detector
from detector.utils.errors import DetectorError
from detector.utils.keywords import refuses_unknown_keywords

TOLERANCE_FP64 = 1e-10
TOLERANCE_FP32 = 1e-4
"""Of the largest output."""
RANDOM_SIZE_STRIDES = (2, 3)
"""Height and width of the random images, in multiples of the largest stride; not square."""


@dataclass(frozen=True)
class Certificate:
    """What :func:`deploy` measured. Differences are max |Δ| / max |reference|.

    Attributes:
        difference_fp64: of the raw maps, both networks in float64.
        difference_fp32: of the raw maps, both networks in their own precision.
        worst_block: the block that differs most, each on the input it really receives.
        worst_block_difference: and by how much, in float64.
        fused_blocks: number of blocks that were fused.
        images: number of images compared, the random ones included.
        params_before: of the network as trained.
        params_after: of the fused network.
    """

    difference_fp64: float
    difference_fp32: float
    worst_block: str
    worst_block_difference: float
    fused_blocks: int
    images: int
    params_before: int
    params_after: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def fuse_modules(model: Detector) -> Detector:
    """A fused copy, in eval mode and not compared with anything; see :func:`deploy`."""
    fused = copy.deepcopy(model).eval()
    for path, block in list(_fusable(fused)):
        parent, _, name = path.rpartition(".")
        setattr(fused.get_submodule(parent), name, block.fuse().eval())  # type: ignore[operator]
    fused.deployed = True
    return fused


@torch.no_grad()
@refuses_unknown_keywords
def deploy(model: Detector, images: Sequence[Tensor] | None = None) -> tuple[Detector, Certificate]:
    """Fuse every block of a network and prove that nothing else changed.

    Args:
        model: stays as it is. A network that is deployed already is copied.
        images: normalised (b, 3, h, w) batches to compare on, besides a random one.

    Returns:
        The fused copy in eval mode and the measured differences.

    Raises:
        DetectorError: the copies differ by more than the tolerance; names the worst block. Or a
            batch has no image.
    """
    if not all(map(len, images or ())):
        raise DetectorError("a batch to compare the fused network on has no image")
    reference = copy.deepcopy(model).eval()
    batches = [_random_images(model), *(images or ())]
    dtype = next(model.parameters()).dtype
    reference64 = copy.deepcopy(reference).double()
    fused64 = fuse_modules(reference64)

    worst_block, block_difference = _compare_blocks(reference64, fused64, batches)
    if not block_difference <= TOLERANCE_FP64:
        raise DetectorError(
            f"fusing changes the network: block {worst_block!r} differs by "
            f"{block_difference:.2e} of its largest output, allowed are {TOLERANCE_FP64:.0e}"
        )
    difference_fp64 = _compare(reference64, fused64, batches)
    fused = copy.deepcopy(fused64).to(dtype)
    difference_fp32 = _compare(reference, fused, batches)
    for found, allowed, precision in (
        (difference_fp64, TOLERANCE_FP64, "fp64"),
        (difference_fp32, TOLERANCE_FP32, "fp32"),
    ):
        if not found <= allowed:
            raise DetectorError(
                f"fusing changes the network: its maps differ by {found:.2e} in {precision}, "
                f"allowed are {allowed:.0e}; the worst block is {worst_block!r}"
            )
    certificate = Certificate(
        difference_fp64=difference_fp64,
        difference_fp32=difference_fp32,
        worst_block=worst_block,
        worst_block_difference=block_difference,
        fused_blocks=sum(
            _changed(block, fused.get_submodule(path)) for path, block in _fusable(model)
        ),
        images=sum(len(batch) for batch in batches),
        params_before=sum(p.numel() for p in model.parameters()),
        params_after=sum(p.numel() for p in fused.parameters()),
    )
    return fused, certificate


def _fusable(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Outermost blocks that know how to fuse themselves, with their paths."""
    for name, child in module.named_children():
        path = f"{prefix}.{name}" if prefix else name
        if callable(getattr(child, "fuse", None)):
            yield path, child
        else:
            yield from _fusable(child, path)


def _changed(block: nn.Module, fused: nn.Module) -> bool:
    """Whether there was something to fuse: a classifier's head has only auxiliary ones to lose."""
    return block.state_dict().keys() != fused.state_dict().keys()


def _compare_blocks(
    reference: Detector, fused: Detector, batches: Sequence[Tensor]
) -> tuple[str, float]:
    """Largest difference of a block from its fused form, on the input it really receives."""
    worst: dict[str, float] = {}

    def watch(path: str, block: nn.Module) -> Any:
        def compare(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            for expected, found in _pairs(module, output, block(*inputs)):
                worst[path] = _larger(worst.get(path, 0.0), _difference(expected, found))

        return compare

    handles = [
        block.register_forward_hook(watch(path, fused.get_submodule(path)))
        for path, block in _fusable(reference)
    ]
    try:
        for images in batches:
            reference(images.double())
    finally:
        for handle in handles:
            handle.remove()
    if not worst:
        return "", 0.0
    name = max(worst, key=lambda path: (math.isnan(worst[path]), worst[path]))
    return name, worst[name]


def _compare(reference: Detector, fused: Detector, batches: Sequence[Tensor]) -> float:
    dtype = next(reference.parameters()).dtype
    difference = 0.0
    for images in batches:
        cast = images.to(dtype)
        for expected, found in _pairs(reference.head, reference(cast), fused(cast)):
            difference = _larger(difference, _difference(expected, found))
    return difference


def _difference(expected: Tensor, found: Tensor) -> float:
    """Measure max |Δ| / max |expected|; not a number where either is not finite."""
    scale = expected.abs().max().clamp(min=torch.finfo(expected.dtype).tiny)
    return float((expected - found).abs().max() / scale)


def _larger(a: float, b: float) -> float:
    """The larger one, where not-a-number is the largest of all."""
    return a if math.isnan(a) or a >= b else b


def _pairs(module: nn.Module, expected: Any, found: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Pair the tensors of a module's outputs, without those that exist in training only."""
    remaining = hook(module, "inference_outputs")
    return zip(_tensors(remaining(expected)), _tensors(remaining(found)), strict=True)


def _tensors(maps: Any) -> Iterator[Tensor]:
    """Yield all tensors of raw outputs."""
    if isinstance(maps, Tensor):
        yield maps
    else:
        for part in maps.values() if isinstance(maps, dict) else maps:
            yield from _tensors(part)


def _random_images(model: Detector) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    sides = (model.max_stride * n for n in RANDOM_SIZE_STRIDES)
    height, width = model.fixed_size_hw or sides
    device = next(model.parameters()).device
    return torch.rand(1, 3, height, width, generator=generator).to(device)
