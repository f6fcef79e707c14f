"""Operators of blocks in use: a program with each is accepted, and computes the same when read."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from detector.export.pt2.archive import clean, refused_operator

W = torch.linspace(-1, 1, 64).view(8, 8)
K = torch.linspace(-1, 1, 576).view(8, 8, 3, 3)
THETA = torch.tensor([[[0.9, 0.1, 0.0], [0.0, 0.8, 0.1]]])


def upsampled(**how: object) -> Callable[[Tensor], Tensor]:
    return lambda x: F.interpolate(x, scale_factor=2, **how)  # type: ignore[arg-type]


def attended(x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2).unsqueeze(1)
    return F.scaled_dot_product_attention(tokens, tokens, tokens)


BLOCKS: dict[str, Callable[[Tensor], Tensor]] = {
    "adaptive average pool": lambda x: F.adaptive_avg_pool2d(x, 3),
    "adaptive max pool": lambda x: F.adaptive_max_pool2d(x, 3),
    "affine grid": lambda x: F.grid_sample(
        x, F.affine_grid(THETA, [1, 8, 6, 4], align_corners=False), align_corners=False
    ),
    "argsort": lambda x: x.gather(1, x.argsort(1)),
    "addcmul": lambda x: torch.addcmul(x, x, x, value=0.5),
    "baddbmm": lambda x: torch.baddbmm(x.flatten(2), W.expand(1, 8, 8), x.flatten(2)),
    "bilinear": lambda x: F.bilinear(x.flatten(2).mT, x.flatten(2).mT, W.expand(2, 8, 8)),
    "cdist": lambda x: torch.cdist(x.flatten(2), x.flatten(2)),
    "channel shuffle": lambda x: F.channel_shuffle(x, 2),
    "col2im": lambda x: F.fold(F.unfold(x, 3, padding=1), x.shape[2:], 3, padding=1),
    "complex": lambda x: torch.fft.ifft2(torch.complex(x, x + 1)).imag,
    "deform_conv2d": lambda x: torchvision.ops.deform_conv2d(
        x, x[:, :1].sigmoid().expand(-1, 18, -1, -1), K, padding=1
    ),
    "deform_conv2d with a mask": lambda x: torchvision.ops.deform_conv2d(
        x, x[:, :1].expand(-1, 18, -1, -1), K, padding=1, mask=x[:, :1].expand(-1, 9, -1, -1)
    ),
    "einsum": lambda x: torch.einsum("bchw,cd->bdhw", x, W),
    "einsum with dots": lambda x: torch.einsum("b...w, w d -> b...d", x, W[:4]),
    "fft": lambda x: torch.fft.ifft2(torch.fft.fft2(x) * (1 + 0.5j)).real,
    "fft of real values": lambda x: torch.fft.irfft2(torch.fft.rfft2(x, norm="ortho"), (6, 4)),
    "fft shifted": lambda x: torch.fft.ifftshift(torch.fft.fftshift(torch.fft.fft2(x))).abs(),
    "fft of one axis": lambda x: torch.fft.irfft(torch.fft.rfft(x, dim=2), 6, dim=2),
    "gelu": F.gelu,
    "gelu by tanh": lambda x: F.gelu(x, approximate="tanh"),
    "glu": lambda x: F.glu(x, 1),
    "grid_sample": lambda x: F.grid_sample(
        x, x[:, :2].permute(0, 2, 3, 1).tanh(), mode="bicubic", padding_mode="reflection"
    ),
    "hardshrink": F.hardshrink,
    "hardswish": F.hardswish,
    "hstack": lambda x: torch.hstack(x.split((3, 5), 1)),
    "im2col": lambda x: F.unfold(x, 3, padding=1),
    "interpolate area": upsampled(mode="area"),
    "interpolate bicubic": upsampled(mode="bicubic"),
    "interpolate bilinear": upsampled(mode="bilinear"),
    "interpolate bilinear by corners": upsampled(mode="bilinear", align_corners=True),
    "interpolate bilinear smoothed": upsampled(mode="bilinear", antialias=True),
    "interpolate bicubic smoothed": upsampled(mode="bicubic", antialias=True),
    "interpolate nearest": upsampled(mode="nearest"),
    "interpolate nearest-exact": upsampled(mode="nearest-exact"),
    "kron": lambda x: F.conv2d(x, torch.kron(W[:4, :4], W[:2, :2])[..., None, None]),
    "layer_norm": lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (8,)),
    "lerp": lambda x: torch.lerp(x, x.relu(), 0.3),
    "log_softmax": lambda x: x.log_softmax(1),
    "logsumexp": lambda x: x.logsumexp(1),
    "masked_fill": lambda x: x.masked_fill(x < 0, 0.5),
    "max_unpool2d": lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
    "median": lambda x: x.median(1).values,
    "nan_to_num": lambda x: x.log().nan_to_num(),
    "outer": lambda x: x + torch.outer(W[0], W[1])[0, :4],
    "pixel_shuffle": lambda x: F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2),
    "repeat_interleave": lambda x: x.repeat_interleave(2, 2),
    "rms_norm": lambda x: F.rms_norm(x, (4,)),
    "roi_align": lambda x: torchvision.ops.roi_align(x, torch.tensor([[0.0, 0, 0, 4, 4]]), 2),
    "roll": lambda x: x.roll((2, -1), (2, 3)),
    "rot90": lambda x: x.rot90(1, (2, 3)),
    "scaled_dot_product_attention": attended,
    "scatter": lambda x: torch.zeros_like(x).scatter(1, x.argsort(1), x),
    "softshrink": F.softshrink,
    "std": lambda x: x / (x.std((2, 3), keepdim=True) + 1),
    "tensor_split": lambda x: torch.cat(x.tensor_split(2, 1)[::-1], 1),
    "tensordot": lambda x: torch.tensordot(x, W, dims=([1], [0])),  # type: ignore[no-untyped-call]
    "tril": lambda x: x.flatten(2).mT @ W.tril() + x.flatten(2).mT @ W.triu(),
    "unfold": lambda x: F.pad(x, (1, 1, 1, 1)).unfold(2, 3, 1).mean(-1),
    "view_as_complex": lambda x: torch.view_as_real(
        torch.view_as_complex(x.view(1, 8, 12, 2)) * 1j
    ),
}


class Block(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def check(block: nn.Module) -> None:
    x = torch.rand(1, 8, 6, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        program = torch.export.export(block.eval(), (x,))
        written = io.BytesIO()
        torch.export.save(program, written)
        content, _ = clean("a.pt2", written)
        read = torch.export.load(io.BytesIO(content)).module()
        torch.testing.assert_close(read(x), block(x))


@pytest.mark.parametrize("name", BLOCKS)
def test_read_programs_compute_the_same(name: str) -> None:
    check(Block(BLOCKS[name]))


@pytest.mark.parametrize(
    "block",
    [
        parametrizations.weight_norm(nn.Conv2d(8, 8, 1)),
        parametrizations.spectral_norm(nn.Conv2d(8, 8, 1)),
        torchvision.ops.SqueezeExcitation(8, 2),
        torchvision.ops.Conv2dNormActivation(8, 8),
    ],
    ids=["weight_norm", "spectral_norm", "SqueezeExcitation", "Conv2dNormActivation"],
)
def test_modules(block: nn.Module) -> None:
    check(block)


@pytest.mark.parametrize(
    "operator",
    [
        torch.ops.aten.from_file.default,
        torch.ops.aten.set_.source_Storage,
        torch.ops.aten.lstm.input,
        torch.ops.torchvision.nms.default,
        torch.ops.higher_order.cond,
    ],
)
def test_refused(operator: object) -> None:
    assert refused_operator(operator) == str(operator)
