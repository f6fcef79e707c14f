"""Training batches from a data set, identical for any number of workers.

An example's key is (epoch, index, repeat): all its randomness follows from the seed and the key.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from detector.data.augment.mixing import copy_paste, mixup
from detector.data.augment.transforms import MOSAIC_IMAGES, Augment, Example, Mixing
from detector.data.balance import epoch_length, repeat_counts, repeat_factors
from detector.data.cache import image_cache
from detector.data.dataset import DetectionDataset
from detector.settings.train import TrainSettings
from detector.settings.values import CacheKind
from detector.structures.preprocess import Preprocess
from detector.structures.samples import Batch, Sample, Targets
from detector.utils import system
from detector.utils.errors import DetectorError
from detector.utils.opencv import cv2

ExampleKey = tuple[int, int, int]
"""Epoch, index of the image, and number of times that the epoch has shown it before."""

MAX_DEFAULT_WORKERS = 8
"""Largest number of worker processes that is chosen by default."""


class Augmentation(Protocol):
    """Random augmentation of training images.

    Attributes:
        mixing: probabilities that an example is made of more than one image.
        source_scale: multiple of the input's size that source images are shrunk to fit.
    """

    @property
    def mixing(self) -> Mixing:
        """Probabilities that an example is made of more than one image."""
        ...

    @property
    def source_scale(self) -> int:
        """Multiple of the input's size that source images are shrunk to fit."""
        ...

    def __call__(self, examples: Sequence[Example], rng: np.random.Generator) -> Example:
        """Return a training example of the input's size; all randomness is drawn from ``rng``."""
        ...


class TrainingSet(Dataset[Example]):
    """Training examples by key (epoch, index, repeat).

    Args:
        samples: annotated images; crowd regions are left out.
        preprocess: preprocessing of the network.
        augment: random augmentation; None fits each image as in validation.
        seed: seed of every random choice.
        epochs: length of the training; None never switches mixing off for its last epochs.
        cache: where decoded images are cached.
        cache_dir: cache folder for ``cache="disk"``.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        preprocess: Preprocess,
        augment: Augmentation | None,
        *,
        seed: int = 0,
        epochs: int | None = None,
        cache: CacheKind = "none",
        cache_dir: Path = Path(),
    ) -> None:
        self.samples = samples
        self.preprocess = preprocess
        self.seed = seed
        self.epochs = epochs
        self.augment = augment
        scale = 1 if augment is None else augment.source_scale
        kept_hw = (preprocess.size_hw[0] * scale, preprocess.size_hw[1] * scale)
        self.images = image_cache(
            cache,
            [sample.path for sample in samples],
            kept_hw,
            cache_dir,
            [sample.window_xyxy for sample in samples],
        )

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def close_epochs(self) -> int:
        """Number of last epochs in which each example is made of one image."""
        return 0 if self.augment is None else self.augment.mixing.close_epochs

    def __getitem__(self, key: ExampleKey) -> Example:
        """Return the example of a key.

        Raises:
            DetectorError: the transforms gave an image that is not uint8 or has another size, or a
                non-finite box.
        """
        example, used = self._make(key)
        issue = _issue(example, self.preprocess.size_hw)
        if issue:
            paths = ", ".join(str(path) for path in self._paths(used))
            raise DetectorError(f"the transforms gave {issue}, from {paths}")
        return example

    def sources(self, key: ExampleKey) -> list[Path]:
        """Return the image files that the example of a key is made of; its own comes first."""
        return self._paths(self._make(key)[1])

    def _paths(self, indices: Sequence[int]) -> list[Path]:
        return [self.samples[index].path for index in dict.fromkeys(indices)]

    def _make(self, key: ExampleKey) -> tuple[Example, list[int]]:
        """Return the example of a key, and the indices of the images in it."""
        epoch, index, _ = key
        if self.augment is None:
            return self._fit(index), [index]
        rng, used = np.random.default_rng([self.seed, *key]), [index]
        if self.epochs is not None and epoch >= self.epochs - self.close_epochs:
            return self._augmented(index, rng, Mixing(), used), used
        mixing = self.augment.mixing
        example = self._augmented(index, rng, mixing, used)
        for mix, probability in ((copy_paste, mixing.copy_paste), (mixup, mixing.mixup)):
            (own,) = rng.spawn(1)  # changing one probability must not change other draws
            if own.random() < probability:
                other = self._augmented(int(own.integers(len(self))), own, mixing, used)
                example = mix(example, other, own)
        return example, used

    def _augmented(
        self, index: int, rng: np.random.Generator, mixing: Mixing, used: list[int]
    ) -> Example:
        """Augment one image, or a mosaic of it and three others; add their indices to ``used``."""
        assert self.augment is not None
        indices = [index]
        if rng.random() < mixing.mosaic:
            indices += rng.integers(len(self), size=MOSAIC_IMAGES - 1).tolist()
            used += indices
            rng.shuffle(indices)
        else:
            used.append(index)
        return self.augment([self._source(i) for i in indices], rng)

    def _source(self, index: int) -> Example:
        """Return an image at its cached size, with boxes in pixels of that size."""
        sample, image = self.samples[index], self.images[index]
        (height, width), keep = sample.size_hw, ~sample.crowd
        ratio = np.array([image.shape[1] / width, image.shape[0] / height] * 2, np.float32)
        return Example(image, sample.boxes_xyxy[keep] * ratio, sample.class_ids[keep])

    def _fit(self, index: int) -> Example:
        """Return an image and its boxes, fitted to the input as in validation."""
        sample, keep = self.samples[index], ~self.samples[index].crowd
        image, placement = self.preprocess.fit(sample.read_image())
        return Example(image, placement.to_input(sample.boxes_xyxy[keep]), sample.class_ids[keep])


def _issue(example: Example, size_hw: tuple[int, int]) -> str | None:
    """Return why a network for inputs of a size cannot be trained on an example, or None."""
    if example.image.dtype != np.uint8:
        finite = "" if np.isfinite(example.image).all() else " with values that are not finite"
        return f"an image of {example.image.dtype}{finite} (expected uint8)"
    if example.image.shape[:2] != size_hw:
        found, expected = ("×".join(map(str, hw)) for hw in (example.image.shape[:2], size_hw))
        return f"an image of {found} px (expected {expected})"
    if not np.isfinite(example.boxes_xyxy).all():
        return "a box that is not finite"
    return None


class EpochBatches(Sampler[list[ExampleKey]]):
    """Batches of keys (epoch, index, repeat) in a seeded order, a new permutation each epoch.

    The last batch of an epoch may be smaller. A single image that is left over joins the batch
    before it: BN cannot compute statistics of one 1×1 feature map, which SSD's last one is. Among n
    processes each gets every n-th key of each batch; of a batch smaller than n, some get none.

    Args:
        factors: (n,) mean number of times that an epoch shows each image; 1 or more.
        batch_size: images in a batch, over all processes.
        seed: seed of the permutations.
        rank: index of this process.
        world_size: number of processes.
    """

    drop_last = False

    def __init__(
        self,
        factors: NDArray[np.float64],
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.factors = factors
        self.length = epoch_length(factors)
        self.batch_size = batch_size
        self.seed = seed
        self.share = slice(rank, None, world_size)
        whole, left = divmod(self.length, batch_size)
        self.count = max(whole + (left > 1), 1)
        self.set_epoch(0)

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Choose the epoch of the next pass, and the batch that it starts at."""
        self.epoch = epoch
        self.start_batch = start_batch

    def __iter__(self) -> Iterator[list[ExampleKey]]:
        for batch in self.batches()[self.start_batch :]:
            yield batch[self.share]

    def batches(self) -> list[list[ExampleKey]]:
        """Return all batches of the epoch, with the keys of all processes."""
        keys = self._keys()
        starts = [i * self.batch_size for i in range(self.count)]
        return [keys[i:j] for i, j in zip(starts, [*starts[1:], self.length], strict=True)]

    def _keys(self) -> list[ExampleKey]:
        """Return all keys of the epoch, in order."""
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(self.length)
        counts = repeat_counts(self.factors, rng)
        shown = [(index, n) for index, count in enumerate(counts.tolist()) for n in range(count)]
        return [(self.epoch, *shown[place]) for place in order.tolist()]

    def __len__(self) -> int:
        return max(self.count - self.start_batch, 0)


def collate(examples: Sequence[Example], size_hw: tuple[int, int]) -> Batch:
    """Stack examples of one size into a batch, which may be empty."""
    images = np.empty((len(examples), 3, *size_hw), np.uint8)
    for plane, example in zip(images, examples, strict=True):
        plane[...] = example.image.transpose(2, 0, 1)
    counts = np.array([len(example.class_ids) for example in examples], np.int64)
    boxes_xyxy = [np.zeros((0, 4), np.float32), *(e.boxes_xyxy for e in examples)]
    class_ids = [np.zeros(0, np.int64), *(e.class_ids for e in examples)]
    return Batch(
        images=torch.from_numpy(images),
        targets=Targets(
            boxes_xyxy=torch.from_numpy(np.concatenate(boxes_xyxy)),
            class_ids=torch.from_numpy(np.concatenate(class_ids)),
            image_index=torch.from_numpy(np.repeat(np.arange(len(examples)), counts)),
        ),
    )


class TrainingLoader(DataLoader[Example]):
    """DataLoader that reduces errors of worker processes to one line."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        try:
            yield from super().__iter__()
        except DetectorError as error:  # torch prefixes the worker's traceback
            line = str(error).splitlines()[-1]
            raise DetectorError(
                line.removeprefix("detector.utils.errors.DetectorError: ")
            ) from None


def training_loader(
    dataset: DetectionDataset,
    preprocess: Preprocess,
    settings: TrainSettings,
    augmentation: Callable[[Any, Preprocess], Augmentation] = Augment,
) -> TrainingLoader:
    """Return a loader of training batches; each pass needs ``loader.batch_sampler.set_epoch``.

    Args:
        dataset: images to train on.
        preprocess: preprocessing of the network.
        settings: batch size, workers, cache, seed, and the settings of the augmentation.
        augmentation: builds the augmentation from the settings and the preprocessing.
    """
    examples = TrainingSet(
        dataset.samples,
        preprocess,
        augmentation(settings, preprocess) if settings.augment else None,
        seed=settings.seed,
        epochs=settings.epochs,
        cache=settings.cache,
        cache_dir=settings.cache_dir,
    )
    factors = repeat_factors(dataset.samples, settings.balance_classes)
    batches = EpochBatches(
        factors, settings.batch, settings.seed, system.rank(), system.world_size()
    )
    workers = min(settings.workers or 0, len(batches))
    if workers and examples.images.is_shared:
        examples.images.fill()  # once, for all workers
    elif workers:  # each worker has a cache of its own
        examples.images.bytes_left //= workers
    return TrainingLoader(
        examples,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=partial(collate, size_hw=preprocess.size_hw),
        worker_init_fn=quiet_worker,
        persistent_workers=workers > 0,
        generator=torch.Generator().manual_seed(settings.seed),
    )


def default_workers(device: torch.device) -> int:
    """Return the default number of worker processes that load images.

    On a CPU, workers take cores from the network, and one core loads several times as many images
    as the others train on (docs/training.md). The process that feeds a GPU needs its own core.
    """
    cores = system.available_cores() // system.local_world_size()
    return min(cores // 4 if device.type == "cpu" else max(cores - 1, 0), MAX_DEFAULT_WORKERS)


def quiet_worker(worker: int) -> None:
    """Limit a worker process to one thread, since the workers share the cores; ignore Ctrl-C.

    A terminal sends Ctrl-C to the workers too, but only the main process may answer it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
