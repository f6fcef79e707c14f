"""Batches at sizes of their own."""

from __future__ import annotations

import torch

from detector.engine.multi_scale import MultiScale, resized
from detector.structures.samples import Batch, Targets


def batch(size_hw: tuple[int, int] = (64, 96)) -> Batch:
    """Two images, black at the left and white at the right half, each with one box."""
    images = torch.zeros(2, 3, *size_hw, dtype=torch.uint8)
    images[..., size_hw[1] // 2 :] = 255
    boxes_xyxy = torch.tensor([[0.0, 0, 48, 64], [48, 32, 96, 64]])
    return Batch(images, Targets(boxes_xyxy, torch.tensor([0, 1]), torch.tensor([0, 1])))


def scaler(fraction: float = 0.5, seed: int = 0) -> MultiScale:
    return MultiScale((64, 96), stride=32, fraction=fraction, seed=seed, until_epoch=2)


def test_boxes_follow_their_image() -> None:
    found = resized(batch(), (32, 192))
    assert found.images.shape == (2, 3, 32, 192)
    assert found.images.dtype == torch.uint8
    assert found.images[..., :90].max() == 0
    assert found.images[..., 102:].min() == 255
    assert found.targets.boxes_xyxy.tolist() == [[0, 0, 96, 32], [96, 16, 192, 32]]
    assert found.targets.class_ids.tolist() == [0, 1]


def test_sizes_are_multiples_of_the_stride_within_the_fraction() -> None:
    sizes = {scaler().size_of(epoch, number) for epoch in range(3) for number in range(100)}
    # 64 · 0.5…1.5 is 1…3 strides of 32, 96 · 0.5…1.5 is 1.5…4.5: 2 (half to even) to 4
    assert {height for height, _ in sizes} == {32, 64, 96}
    assert {width for _, width in sizes} == {64, 96, 128}
    assert all(size == (64, 96) for size in (scaler(0.1).size_of(0, n) for n in range(50)))


def test_seed_epoch_and_number_decide() -> None:
    def sizes(epoch: int, seed: int = 0) -> list[tuple[int, int]]:
        return [scaler(seed=seed).size_of(epoch, number) for number in range(30)]

    assert sizes(1) == sizes(1)
    assert sizes(1) != sizes(0)
    assert sizes(1) != sizes(1, seed=1)


def test_it_ends_and_is_off_by_default() -> None:
    whole = batch()
    assert scaler(0.0)(whole, 0, 0) is whole
    assert scaler()(whole, 2, 0) is whole
    assert any(scaler()(whole, 0, n).images.shape != whole.images.shape for n in range(10))
