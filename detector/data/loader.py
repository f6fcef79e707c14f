"""From a data set to training batches, the same ones whatever the number of workers.

An item's key is (epoch, index, repeat): all its randomness comes from the seed and the key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from detector.data.balance import epoch_length, repeat_factors, repeats
from detector.data.cache import image_cache
from detector.data.dataset import DetectionDataset
from detector.data.mixing import copy_paste, mixup
from detector.data.transforms import MOSAIC_IMAGES, Augment, Example, Mixing
from detector.opencv import cv2, read_image
from detector.preprocess import Preprocess
from detector.settings import AugmentSettings, CacheKind, TrainSettings
from detector.structures import Batch, Sample, Targets

Key = tuple[int, int, int]
"""Epoch, index of the image, and how often it was shown before in the epoch."""


class Augmentation(Protocol):
    """Random changes of the training images.

    Attributes:
        mixing: probabilities that an example is made of more than one image.
        source_scale: images are shrunk to fit this many times the input's size, not below.
    """

    @property
    def mixing(self) -> Mixing:
        """As above."""
        ...

    @property
    def source_scale(self) -> int:
        """As above."""
        ...

    def __call__(self, examples: Sequence[Example], rng: np.random.Generator) -> Example:
        """One training example of the input's size; all its randomness comes from ``rng``."""
        ...


class TrainingSet(Dataset[Example]):
    """Training examples by key (epoch, index, repeat).

    Args:
        samples: labelled images; crowd regions are left out.
        preprocess: the network's.
        augment: random changes; None places each image as validation does.
        seed: of every random choice.
        mixing_until_epoch: from this epoch on each example is of one image; None: never.
        cache: where decoded images are kept.
        cache_dir: folder of those on disk.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        preprocess: Preprocess,
        augment: Augmentation | None,
        *,
        seed: int = 0,
        mixing_until_epoch: int | None = None,
        cache: CacheKind = "none",
        cache_dir: Path = Path(),
    ) -> None:
        self.samples = samples
        self.preprocess = preprocess
        self.seed = seed
        self.mixing_until_epoch = mixing_until_epoch
        self.augment = augment
        scale = 1 if augment is None else augment.source_scale
        kept_hw = (preprocess.size_hw[0] * scale, preprocess.size_hw[1] * scale)
        self.images = image_cache(cache, [sample.path for sample in samples], kept_hw, cache_dir)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: Key) -> Example:
        epoch, index, _ = key
        if self.augment is None:
            return self._fitted(index)
        rng = np.random.default_rng([self.seed, *key])
        if self.mixing_until_epoch is not None and epoch >= self.mixing_until_epoch:
            return self._changed(index, rng, Mixing())
        mixing = self.augment.mixing
        example = self._changed(index, rng, mixing)
        for mix, probability in ((copy_paste, mixing.copy_paste), (mixup, mixing.mixup)):
            (own,) = rng.spawn(1)  # so that one setting does not change what another one does
            if own.random() < probability:
                example = mix(
                    example, self._changed(int(own.integers(len(self))), own, mixing), own
                )
        return example

    def _changed(self, index: int, rng: np.random.Generator, mixing: Mixing) -> Example:
        """An image, or a mosaic of it and three others, with random changes."""
        assert self.augment is not None
        indices = [index]
        if rng.random() < mixing.mosaic:
            indices += rng.integers(len(self), size=MOSAIC_IMAGES - 1).tolist()
            rng.shuffle(indices)
        return self.augment([self._source(i) for i in indices], rng)

    def _source(self, index: int) -> Example:
        """An image as it is kept, and its boxes at that size."""
        sample, image = self.samples[index], self.images[index]
        (height, width), keep = sample.size_hw, ~sample.crowd
        ratio = np.array([image.shape[1] / width, image.shape[0] / height] * 2, np.float32)
        return Example(image, sample.boxes_xyxy[keep] * ratio, sample.class_ids[keep])

    def _fitted(self, index: int) -> Example:
        sample, keep = self.samples[index], ~self.samples[index].crowd
        image, placement = self.preprocess.fit(read_image(sample.path))
        return Example(image, placement.to_input(sample.boxes_xyxy[keep]), sample.class_ids[keep])


class EpochBatches(Sampler[list[Key]]):
    """Batches of keys (epoch, index, repeat): a seeded permutation, a new one each epoch.

    The last batch of an epoch may be smaller.

    Args:
        factors: (n,) how often an epoch shows each image, in the mean; 1 or more.
        batch_size: images in a batch.
        seed: of the permutations.
    """

    drop_last = False

    def __init__(self, factors: NDArray[np.float64], batch_size: int, seed: int = 0) -> None:
        self.factors = factors
        self.length = epoch_length(factors)
        self.batch_size = batch_size
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """What the next pass yields: an epoch, from one of its batches on."""
        self.epoch = epoch
        self.start_batch = start_batch

    def __iter__(self) -> Iterator[list[Key]]:
        keys = self._keys()
        for start in range(self.start_batch * self.batch_size, self.length, self.batch_size):
            yield keys[start : start + self.batch_size]

    def _keys(self) -> list[Key]:
        """The whole epoch's, in its order."""
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(self.length)
        counts = repeats(self.factors, rng)
        shown = [(index, n) for index, count in enumerate(counts.tolist()) for n in range(count)]
        return [(self.epoch, *shown[place]) for place in order.tolist()]

    def __len__(self) -> int:
        return max(-(-self.length // self.batch_size) - self.start_batch, 0)


def collate(examples: Sequence[Example]) -> Batch:
    """Images of one size and their targets as one batch."""
    images = np.stack([example.image.transpose(2, 0, 1) for example in examples])
    counts = [len(example.class_ids) for example in examples]
    return Batch(
        images=torch.from_numpy(np.ascontiguousarray(images)),
        targets=Targets(
            boxes_xyxy=torch.from_numpy(np.concatenate([e.boxes_xyxy for e in examples])),
            class_ids=torch.from_numpy(np.concatenate([e.class_ids for e in examples])),
            image_index=torch.from_numpy(np.repeat(np.arange(len(examples)), counts)),
        ),
    )


def training_loader(
    dataset: DetectionDataset,
    preprocess: Preprocess,
    settings: TrainSettings,
    augmentation: Callable[[AugmentSettings, Preprocess], Augmentation] = Augment,
) -> DataLoader[Example]:
    """Batches for training; ``loader.batch_sampler.set_epoch`` before each pass.

    Args:
        dataset: images to train on.
        preprocess: the network's.
        settings: augmentation, batch size, workers, cache, seed.
        augmentation: makes the random changes.
    """
    examples = TrainingSet(
        dataset.samples,
        preprocess,
        augmentation(settings, preprocess) if settings.augment else None,
        seed=settings.seed,
        mixing_until_epoch=settings.epochs - settings.close_mixing,
        cache=settings.cache,
        cache_dir=settings.cache_dir,
    )
    factors = repeat_factors(dataset.samples, settings.balance_classes)
    batches = EpochBatches(factors, settings.batch, settings.seed)
    workers = min(settings.workers, len(batches))
    if workers and examples.images.is_shared:
        examples.images.fill()  # once, for all workers
    return DataLoader(
        examples,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=quiet_worker,
        persistent_workers=workers > 0,
        generator=torch.Generator().manual_seed(settings.seed),
    )


def quiet_worker(worker: int) -> None:
    """Give a worker process one thread: the workers together use the cores."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
