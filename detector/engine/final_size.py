"""A larger input in the last epochs: the images of all others are shrunk before the network."""

from __future__ import annotations

from dataclasses import dataclass

from detector.engine.multi_scale import resized
from detector.engine.tasks import Resize
from detector.model.detector import Detector
from detector.settings.train import TrainSettings
from detector.structures.preprocess import imgsz_text
from detector.structures.samples import Batch
from detector.utils.errors import DetectorError


@dataclass(frozen=True)
class FinalSize:
    """Resizes the batches of all but the last epochs, which come in at the final size.

    Attributes:
        size_hw: height and width in those epochs, pixels.
        until_epoch: from this epoch on batches stay as they are.
    """

    size_hw: tuple[int, int]
    until_epoch: int

    def __call__(self, batch: Batch, epoch: int, number: int) -> Batch:
        """Resize a batch, images and boxes, on the device where it is."""
        return batch if epoch >= self.until_epoch else resized(batch, self.size_hw)


def final_size(model: Detector, settings: TrainSettings) -> Resize | None:
    """Return what resizes the batches of a training with ``final_imgsz``; None without.

    Args:
        model: network, whose preprocessing has the final size.
        settings: with ``imgsz``, the size of the other epochs.

    Raises:
        DetectorError: the sizes differ with ``multi_scale``, too, or no epoch has one of both.
    """
    if settings.final_imgsz is None:
        return None
    for name in ("imgsz", "final_epochs"):
        if getattr(settings, name) is None:
            raise DetectorError(f"--final-imgsz needs --{name.replace('_', '-')}")
    assert settings.imgsz is not None
    assert settings.final_epochs is not None
    size_hw = model.size_of(settings.imgsz)
    if getattr(settings, "multi_scale", 0):
        raise DetectorError("--final-imgsz does not go with --multi-scale")
    if size_hw == model.preprocess.size_hw:
        raise DetectorError(f"--final-imgsz is that of all epochs, --imgsz {imgsz_text(size_hw)}")
    if settings.final_epochs >= settings.epochs:
        raise DetectorError(
            f"--final-epochs {settings.final_epochs}: expected fewer than --epochs "
            f"{settings.epochs}"
        )
    return FinalSize(size_hw, settings.epochs - settings.final_epochs)
