"""Deployment: a fused copy of a network, and measurements that it computes the same.

RepVGG (arXiv 2101.03697, section 3.3). Each block implements its own ``fuse``; :func:`deploy`
fuses a copy in float64, compares each block and the entire network, and casts to the original
precision last.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from detector.heads.head import hook
from detector.model.builder import IMAGE, LEFT_OUT, Row, with_frees
from detector.model.detector import Detector, check_detector
from detector.utils.errors import DetectorError
from detector.utils.keywords import refuses_unknown_keywords

TOLERANCE_FP64, TOLERANCE_FP32 = 1e-10, 1e-4
"""Largest allowed differences, relative to the largest output."""
SHORT_PRECISIONS = {torch.float16: "fp16", torch.bfloat16: "bf16"}
"""Precisions whose rounding exceeds these."""
OWN_ROUNDINGS = 8
"""Largest allowed difference in fp16 and bf16, relative to the network's own rounding: that of its
outputs in this precision from those in float64."""
RANDOM_SIZE_STRIDES = (2, 3)
"""Height and width of the random images in multiples of the largest stride; not square."""


@dataclass(frozen=True)
class FusionReport:
    """Differences that ``deploy`` measured, each ``max |Δ| / max |reference|``.

    Attributes:
        difference_fp64: difference of the raw outputs, both networks in float64.
        difference_fp32: difference of the raw outputs, both networks in their own precision.
        worst_block: path of the block that differs most, each run on its input in the network.
        worst_block_difference: difference of that block's outputs in float64.
        fused_blocks: number of blocks that were fused.
        images: number of images compared, random ones included.
        params_before: parameters of the network as trained.
        params_after: parameters of the fused network.
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
        """Return the fields as plain values, for JSON."""
        return asdict(self)


def fuse_modules(model: Detector) -> Detector:
    """Return a fused copy in eval mode, without any comparison; see :func:`deploy`."""
    fused = copy.deepcopy(model).eval()
    for path, block in list(_fusable(fused)):
        parent, _, name = path.rpartition(".")
        setattr(fused.get_submodule(parent), name, block.fuse().eval())  # type: ignore[operator]
    fused.deployed = True
    _drop_training_rows(fused, model.head)
    return fused


def _drop_training_rows(fused: Detector, head: nn.Module) -> None:
    """Leave out sources that the head needs in training only, and the rows that feed only them."""
    *rows, last = fused.plan
    count = hook(head, "inference_sources")(len(last.sources))
    kept = [*rows, replace(last, sources=last.sources[:count])]
    for index in sorted(_needed(fused.plan) - _needed(kept)):
        source = kept[index].sources[0]
        channels, stride = (3, Fraction(1)) if source == IMAGE else _output(kept[source])
        kept[index] = replace(
            kept[index],
            sources=(source,),
            module=LEFT_OUT,
            number=0,
            arguments={},
            channels=channels,
            stride=stride,
        )
        fused.rows[index] = nn.Identity()
    fused.plan = with_frees(kept)


def _output(row: Row) -> tuple[int, Fraction]:
    return row.channels, row.stride


def _needed(plan: Sequence[Row]) -> set[int]:
    """Return the indices of the rows that the head reads, directly or through others."""
    needed = {plan[-1].index}
    for row in reversed(plan):
        if row.index in needed:
            needed.update(source for source in row.sources if source != IMAGE)
    return needed


@torch.no_grad()
@refuses_unknown_keywords
def deploy(
    model: Detector, images: Sequence[Tensor] | None = None
) -> tuple[Detector, FusionReport]:
    """Fuse every block of a copy of a network and verify that its outputs stay the same.

    Args:
        model: network to fuse; not modified. One that is deployed already is copied.
        images: normalized (b, 3, h, w) batches to compare on, besides a random one.

    Returns:
        The fused copy in eval mode and the measured differences.

    Raises:
        DetectorError: the outputs differ by more than the tolerance (the message names the worst
            block), or a batch has no image.
    """
    check_detector(model)
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
    allowed_fp32 = TOLERANCE_FP32
    if dtype in SHORT_PRECISIONS:
        rounding = max(_compare(reference64, reference, batches), torch.finfo(dtype).eps)
        allowed_fp32 = OWN_ROUNDINGS * rounding
    for found, allowed, precision in (
        (difference_fp64, TOLERANCE_FP64, "fp64"),
        (difference_fp32, allowed_fp32, SHORT_PRECISIONS.get(dtype, "fp32")),
    ):
        if not found <= allowed:
            raise DetectorError(
                f"fusing changes the network: its raw outputs differ by {found:.2e} in "
                f"{precision}, allowed are {allowed:.0e}; the worst block is {worst_block!r}"
            )
    report = FusionReport(
        difference_fp64=difference_fp64,
        difference_fp32=difference_fp32,
        worst_block=worst_block,
        worst_block_difference=block_difference,
        fused_blocks=sum(
            _changed(block, fused.get_submodule(path)) for path, block in _kept_blocks(model, fused)
        ),
        images=sum(len(batch) for batch in batches),
        params_before=sum(p.numel() for p in model.parameters()),
        params_after=sum(p.numel() for p in fused.parameters()),
    )
    return fused, report


def _fusable(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the outermost blocks that have a method ``fuse``, with their paths."""
    for name, child in module.named_children():
        path = f"{prefix}.{name}" if prefix else name
        if callable(getattr(child, "fuse", None)):
            yield path, child
        else:
            yield from _fusable(child, path)


def _kept_blocks(model: Detector, fused: Detector) -> Iterator[tuple[str, nn.Module]]:
    """Yield the blocks that can be fused, with their paths, but for rows that are left out."""
    left_out = tuple(f"rows.{row.index}." for row in fused.plan if row.number == 0)
    return ((path, b) for path, b in _fusable(model) if not f"{path}.".startswith(left_out))


def _changed(block: nn.Module, fused: nn.Module) -> bool:
    """Return whether fusing changed a block; a Classify head without auxiliaries stays as it is."""
    return block.state_dict().keys() != fused.state_dict().keys()


def _compare_blocks(
    reference: Detector, fused: Detector, batches: Sequence[Tensor]
) -> tuple[str, float]:
    """Return the block that differs most from its fused form on its real input, and by how much."""
    worst: dict[str, float] = {}

    def watch(path: str, block: nn.Module) -> Any:
        def compare(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if module is reference.head:
                count = hook(module, "inference_sources")(len(inputs[0]))
                inputs = (inputs[0][:count],)
            for expected, found in _pairs(module, output, block(*inputs)):
                worst[path] = _larger(worst.get(path, 0.0), _difference(expected, found))

        return compare

    handles = [
        block.register_forward_hook(watch(path, fused.get_submodule(path)))
        for path, block in _kept_blocks(reference, fused)
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


def _compare(reference: Detector, other: Detector, batches: Sequence[Tensor]) -> float:
    """Return the largest difference of raw outputs, each network in its own precision."""
    dtypes = [next(model.parameters()).dtype for model in (reference, other)]
    difference = 0.0
    for images in batches:
        expected, found = (
            model(images.to(dtype)) for model, dtype in zip((reference, other), dtypes, strict=True)
        )
        for pair in _pairs(reference.head, expected, found):
            difference = _larger(difference, _difference(*pair))
    return difference


def _difference(expected: Tensor, found: Tensor) -> float:
    """Return max |Δ| / max |expected|; NaN where either is not finite."""
    scale = expected.abs().max().clamp(min=torch.finfo(expected.dtype).tiny)
    return float((expected - found).abs().max() / scale)


def _larger(a: float, b: float) -> float:
    """Return the larger value; NaN counts as larger than any number."""
    return a if math.isnan(a) or a >= b else b


def _pairs(module: nn.Module, expected: Any, found: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Pair the tensors of a module's outputs, without those that exist in training only."""
    remaining = hook(module, "inference_outputs")
    return zip(_tensors(remaining(expected)), _tensors(remaining(found)), strict=True)


def _tensors(outputs: Any) -> Iterator[Tensor]:
    """Yield all tensors of a module's outputs, nested in dictionaries and sequences."""
    if isinstance(outputs, Tensor):
        yield outputs
    else:
        for part in outputs.values() if isinstance(outputs, dict) else outputs:
            yield from _tensors(part)


def _random_images(model: Detector) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    sides = (model.max_stride * n for n in RANDOM_SIZE_STRIDES)
    height, width = model.fixed_size_hw or sides
    device = next(model.parameters()).device
    return torch.rand(1, 3, height, width, generator=generator).to(device)
