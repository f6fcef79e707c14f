"""Pyramids of max-pools, written out."""

from __future__ import annotations

import torch
from torch import nn

from detector.layers.spp import C3SPP, SPP, SPPCSPC, Pyramid


def pools(x: torch.Tensor, *kernels: int) -> list[torch.Tensor]:
    """Return the largest value of each window; windows end at the border of the features."""
    h, w = x.shape[2:]
    found = []
    for kernel in kernels:
        r = kernel // 2
        out = torch.empty_like(x)
        for i in range(h):
            for j in range(w):
                window = x[..., max(i - r, 0) : i + r + 1, max(j - r, 0) : j + r + 1]
                out[..., i, j] = window.amax((2, 3))
        found.append(out)
    return found


def test_pyramid() -> None:
    x = torch.randn(2, 3, 10, 7)
    assert Pyramid([5, 9, 13])(x).equal(torch.cat([x, *pools(x, 5, 9, 13)], 1))


def test_spp_by_definition() -> None:
    block = SPP(16, 24, [3, 5]).eval()
    x = torch.randn(1, 16, 6, 6)
    first = block.cv1(x)
    assert first.shape[1] == 8
    expected = block.cv2(torch.cat([first, *pools(first, 3, 5)], 1))
    torch.testing.assert_close(block(x), expected)


def test_spp_has_yolov5ms_params() -> None:
    # 768 · 384 + 2 · 384 and (4 · 384) · 768 + 2 · 768, as its training log says
    assert sum(p.numel() for p in SPP(768, 768, [5, 9, 13]).parameters()) == 1_476_864


def test_c3spp_by_definition() -> None:
    block = C3SPP(8, 16, [3], activation="ReLU").eval()
    x = torch.randn(1, 8, 5, 5)
    assert isinstance(block.m, SPP)
    first = block.m(block.cv1(x))
    torch.testing.assert_close(block(x), block.cv3(torch.cat([first, block.cv2(x)], 1)))
    assert not any(isinstance(module, nn.SiLU) for module in block.modules())


def test_c3spp_has_yolov5s_names() -> None:
    """Names in YOLOv5's checkpoints are ``m.cv1``, and ``number`` stacks entire blocks."""
    convolutions = [name for name, _ in C3SPP(8, 16).named_parameters() if "conv" in name]
    assert convolutions == [
        f"{path}.conv.weight" for path in ("cv1", "cv2", "cv3", "m.cv1", "m.cv2")
    ]


def test_sppcspc_by_definition() -> None:
    block = SPPCSPC(8, 4, activation="nn.LeakyReLU(0.1)").eval()
    x = torch.randn(1, 8, 9, 9)
    first = block.cv4(block.cv3(block.cv1(x)))
    deep = block.cv6(block.cv5(torch.cat([first, *pools(first, 5, 9, 13)], 1)))
    torch.testing.assert_close(block(x), block.cv7(torch.cat([deep, block.cv2(x)], 1)))
    assert [block.cv1.conv.kernel_size, block.cv3.conv.kernel_size] == [(1, 1), (3, 3)]
    assert [block.cv5.conv.kernel_size, block.cv6.conv.kernel_size] == [(1, 1), (3, 3)]


def test_sppcspc_params_by_hand() -> None:
    # c_in 1024, c 512: two 1×1 of c_in · c, 1×1 of c², two 3×3, 1×1 of 4c², 1×1 of 2c²; 7 norms
    c_in, c = 1024, 512
    expected = 2 * c_in * c + c * c + 2 * 9 * c * c + 4 * c * c + 2 * c * c + 7 * 2 * c
    assert sum(p.numel() for p in SPPCSPC(c_in, c).parameters()) == expected == 7_609_344
