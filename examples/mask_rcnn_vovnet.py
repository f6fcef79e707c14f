"""Train torchvision's Mask R-CNN or Faster R-CNN on a VoVNet, from random weights.

VoVNet's paper (arXiv 1904.09730, section 4.3) does so with group norms. Mask R-CNN learns drawn
disks and squares with masks; with --bccd FOLDER, Faster R-CNN learns BCCD's blood cells.

    python examples/mask_rcnn_vovnet.py --images 4 --steps 200
    python examples/mask_rcnn_vovnet.py --bccd BCCD --variant 39 --steps 2000 --side 320
"""

from __future__ import annotations

import argparse
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign, box_iou

import detector
from detector.data.dataset import open_dataset

LEVELS = ("P2", "P3", "P4", "P5")
DISK, SQUARE = 1, 2
Example = tuple[Tensor, dict[str, Tensor]]


class Pyramid(nn.Module):
    """VoVNet with group norms and a feature pyramid: what torchvision calls a backbone."""

    def __init__(self, variant: str, width: int = 64) -> None:
        super().__init__()
        self.body = detector.features("vovnet", variant, out=LEVELS, norm="group")
        self.fpn = FeaturePyramidNetwork(list(self.body.out_channels), width)
        self.out_channels = width

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Return features of ``out_channels`` channels by level."""
        found: OrderedDict[str, Tensor] = self.fpn(self.body(images))
        return found


def build(variant: str, classes: int, side: int, masks: bool) -> nn.Module:
    """Return the network; ``classes`` counts the background."""
    anchors = AnchorGenerator(((16,), (32,), (64,), (128,)), ((0.5, 1.0, 2.0),) * len(LEVELS))
    boxes = MultiScaleRoIAlign(list(LEVELS), output_size=7, sampling_ratio=2)
    options: dict[str, Any] = {
        "num_classes": classes,
        "rpn_anchor_generator": anchors,
        "box_roi_pool": boxes,
        "min_size": side,
        "max_size": side,
    }
    network: nn.Module
    if not masks:
        network = FasterRCNN(Pyramid(variant), **options)
        return network
    options["mask_roi_pool"] = MultiScaleRoIAlign(list(LEVELS), output_size=14, sampling_ratio=2)
    network = MaskRCNN(Pyramid(variant), **options)
    return network


def draw(number: int, side: int) -> Example:
    """Return image ``number``: two or three disks and squares on noise, with their masks."""
    rng = np.random.default_rng(number)
    image = rng.uniform(0, 0.3, (3, side, side))
    rows, columns = np.mgrid[:side, :side]
    masks: list[np.ndarray] = []
    labels: list[int] = []
    for _ in range(rng.integers(2, 4)):
        label = int(rng.integers(DISK, SQUARE + 1))
        radius = rng.uniform(side / 10, side / 5)
        y, x = rng.uniform(radius, side - radius, 2)
        distances = np.abs(rows - y), np.abs(columns - x)
        reach = np.hypot(*distances) if label == DISK else np.maximum(*distances)
        mask = reach <= radius
        image[:, mask] = rng.uniform(0.4, 1, (3, 1))
        masks = [one & ~mask for one in masks]
        masks.append(mask)
        labels.append(label)
    kept = [i for i, mask in enumerate(masks) if mask.sum() > side]
    found = torch.from_numpy(np.stack([masks[i] for i in kept]))
    target = {
        "boxes": torch.stack([box_of(mask) for mask in found]),
        "labels": torch.tensor([labels[i] for i in kept]),
        "masks": found.to(torch.uint8),
    }
    return torch.from_numpy(image).float(), target


def box_of(mask: Tensor) -> Tensor:
    """Return the box around a mask, xyxy pixels."""
    rows, columns = mask.nonzero().unbind(1)
    corners = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    return torch.stack(corners).float()


def read_cells(folder: Path, limit: int | None) -> tuple[list[Example], int]:
    """Return BCCD's training images with their boxes, and the number of its classes."""
    split = open_dataset("datasets/bccd.yaml", "train", folder, skip_bad=True, limit=limit)
    examples = []
    for sample in split.samples:
        image = torch.from_numpy(sample.read_image().transpose(2, 0, 1) / np.float32(255))
        labels = torch.from_numpy(sample.class_ids + 1)
        target = {"boxes": torch.from_numpy(sample.boxes_xyxy), "labels": labels}
        examples.append((image, target))
    return examples, len(split.names)


@torch.no_grad()
def found_share(network: nn.Module, examples: list[Example]) -> float:
    """Return the share of objects with a detection of their class, score and IoU at least 0.5.

    Where there are masks, their IoU must reach 0.5, too.
    """
    network.eval()
    found = []
    for image, target in examples:
        (result,) = network([image])
        kept = result["scores"] >= 0.5
        overlaps = box_iou(target["boxes"], result["boxes"][kept])
        good = (overlaps >= 0.5) & (target["labels"][:, None] == result["labels"][kept])
        if "masks" in target:
            good &= mask_iou(target["masks"] > 0, result["masks"][kept, 0] >= 0.5) >= 0.5
        found.append(good.any(1))
    return float(torch.cat(found).float().mean())


def mask_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the IoU of each of n masks with each of m: (n, h, w), (m, h, w) → (n, m)."""
    one, other = a.flatten(1).float(), b.flatten(1).float()
    common = one @ other.T
    return common / (one.sum(1)[:, None] + other.sum(1)[None] - common).clamp(min=1)


def main(words: list[str] | None = None) -> float:
    """Train, print the loss, and return the share of training objects that are found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bccd", type=Path, help="folder of BCCD; default: drawn objects, masks")
    parser.add_argument("--variant", default="27-slim", help="variant of cfg/vovnet.yaml")
    parser.add_argument("--images", type=int, default=4, help="number of training images")
    parser.add_argument("--side", type=int, default=128, help="side of the input, pixels")
    parser.add_argument("--batch", type=int, default=2, help="images per step")
    parser.add_argument("--steps", type=int, default=200, help="number of steps")
    parser.add_argument("--learning-rate", type=float, default=5e-4, help="of AdamW")
    asked = parser.parse_args(words)
    torch.manual_seed(0)
    if asked.bccd is None:
        examples, classes = [draw(number, asked.side) for number in range(asked.images)], 2
    else:
        examples, classes = read_cells(asked.bccd, asked.images)
    network = build(asked.variant, 1 + classes, asked.side, masks=asked.bccd is None)
    optimizer = torch.optim.AdamW(network.parameters(), asked.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, asked.learning_rate, asked.steps)
    order = np.random.default_rng(0)
    for step in range(1, asked.steps + 1):
        network.train()
        chosen = order.choice(len(examples), min(asked.batch, len(examples)), replace=False)
        images, targets = zip(*(examples[index] for index in chosen), strict=True)
        losses = network(list(images), list(targets))
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        schedule.step()
        if step % 20 == 0 or step == asked.steps:
            parts = ", ".join(f"{name[5:]} {float(one):.3f}" for name, one in losses.items())
            print(f"step {step}/{asked.steps}: {float(total):.3f} ({parts})", flush=True)
    share = found_share(network, examples)
    print(f"objects of the training images that are found: {share:.3f}")
    return share


if __name__ == "__main__":
    main()
