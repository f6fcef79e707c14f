"""From a data set to training batches, the same ones whatever the number of workers.

An item's key is (epoch, index): all its randomness comes from the seed and the key.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from detector import processes
from detector.data.dataset import DetectionDataset
from detector.data.transforms import MOSAIC_IMAGES, Augment, Example
from detector.errors import DetectorError
from detector.opencv import Image, cv2, read_image
from detector.preprocess import Preprocess
from detector.settings import AugmentSettings, TrainSettings
from detector.structures import Batch, Sample, Targets

Key = tuple[int, int]

CACHE_BYTES = 8 << 30
"""Most memory for decoded images; never more than half of what is free."""


class Augmentation(Protocol):
    """Random changes of the training images.

    Attributes:
        mosaic: probability that a call is given four images in place of one.
        source_scale: images are shrunk to fit this many times the input's size, not below.
    """

    @property
    def mosaic(self) -> float:
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
    """Training examples by key (epoch, index).

    Args:
        samples: labelled images; crowd regions are left out.
        preprocess: the network's.
        augment: random changes; None places each image as validation does.
        seed: of every random choice.
        mosaic_until_epoch: from this epoch on there is no mosaic; None: always.
        cache: keep decoded images in memory, as many as fit.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        preprocess: Preprocess,
        augment: Augmentation | None,
        *,
        seed: int = 0,
        mosaic_until_epoch: int | None = None,
        cache: bool = True,
    ) -> None:
        self.samples = samples
        self.preprocess = preprocess
        self.seed = seed
        self.mosaic_until_epoch = mosaic_until_epoch
        self.augment = augment
        scale = 1 if augment is None else augment.source_scale
        kept_hw = (preprocess.size_hw[0] * scale, preprocess.size_hw[1] * scale)
        self.cache = ImageCache([sample.path for sample in samples], kept_hw, cache)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: Key) -> Example:
        """Raises DetectorError where the random changes leave numbers that are none."""
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch, index])
        if self.augment is None:
            return self._fitted(index)
        indices = self._indices(key, rng)
        example = self.augment([self._source(i) for i in indices], rng)
        problem = _problem(example)
        if problem:
            paths = ", ".join(str(path) for path in self.sources(key))
            raise DetectorError(f"the transforms gave {problem}, from {paths}")
        return example

    def sources(self, key: Key) -> list[Path]:
        """The image files that the example of a key is made of; its own comes first."""
        epoch, index = key
        indices = [index]
        if self.augment is not None:
            indices += self._indices(key, np.random.default_rng([self.seed, epoch, index]))
        return [self.samples[i].path for i in dict.fromkeys(indices)]

    def _indices(self, key: Key, rng: np.random.Generator) -> list[int]:
        """One image, or those of a mosaic."""
        assert self.augment is not None
        epoch, index = key
        indices = [index]
        mosaic = rng.random() < self.augment.mosaic
        if mosaic and (self.mosaic_until_epoch is None or epoch < self.mosaic_until_epoch):
            indices += rng.integers(len(self), size=MOSAIC_IMAGES - 1).tolist()
            rng.shuffle(indices)
        return indices

    def _source(self, index: int) -> Example:
        """An image as it is kept, and its boxes at that size."""
        sample, image = self.samples[index], self.cache[index]
        (height, width), keep = sample.size_hw, ~sample.crowd
        ratio = np.array([image.shape[1] / width, image.shape[0] / height] * 2, np.float32)
        return Example(image, sample.boxes_xyxy[keep] * ratio, sample.class_ids[keep])

    def _fitted(self, index: int) -> Example:
        sample, keep = self.samples[index], ~self.samples[index].crowd
        image, placement = self.preprocess.fit(read_image(sample.path))
        return Example(image, placement.to_input(sample.boxes_xyxy[keep]), sample.class_ids[keep])


def _problem(example: Example) -> str | None:
    """What a network cannot be trained on."""
    if example.image.dtype != np.uint8:
        finite = "" if np.isfinite(example.image).all() else " with values that are not finite"
        return f"an image of {example.image.dtype}{finite} (expected uint8)"
    if not np.isfinite(example.boxes_xyxy).all():
        return "a box that is not finite"
    return None


class ImageCache:
    """Decoded images, shrunk to fit the network's input, kept while there is memory.

    A copy that is sent to another process starts empty.
    """

    def __init__(self, paths: Sequence[Path], size_hw: tuple[int, int], keep: bool) -> None:
        self.paths = paths
        self.size_hw = size_hw
        self.bytes_left = cache_budget() if keep else 0
        self.images: dict[int, Image] = {}

    def __getitem__(self, index: int) -> Image:
        image = self.images.get(index)
        if image is None:
            image = shrink(read_image(self.paths[index]), self.size_hw)
            if image.nbytes <= self.bytes_left:
                self.bytes_left -= image.nbytes
                self.images[index] = image
        return image

    def fill(self) -> None:
        """Decode as many images as may be kept, in threads."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(self.__getitem__, range(len(self.paths))):
                if not self.bytes_left:
                    break

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "images": {}}


class EpochBatches(Sampler[list[Key]]):
    """Batches of keys (epoch, index): a seeded permutation, a new one each epoch.

    The last batch of an epoch may be smaller. Among several processes each one gets every n-th
    key of each batch, and so none of a batch that is too small.

    Args:
        length: number of images.
        batch_size: images in a batch.
        seed: of the permutations.
        rank: number of this process.
        world_size: number of processes.
    """

    drop_last = False

    def __init__(
        self, length: int, batch_size: int, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.share = slice(rank, None, world_size)
        self.set_epoch(0)

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """What the next pass yields: an epoch, from one of its batches on."""
        self.epoch = epoch
        self.start_batch = start_batch

    def __iter__(self) -> Iterator[list[Key]]:
        for batch in self.batches()[self.start_batch :]:
            yield batch[self.share]

    def batches(self) -> list[list[Key]]:
        """The whole epoch, and what all processes get."""
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length).tolist()
        keys = [(self.epoch, index) for index in order]
        return [keys[i : i + self.batch_size] for i in range(0, self.length, self.batch_size)]

    def __len__(self) -> int:
        return max(-(-self.length // self.batch_size) - self.start_batch, 0)


def collate(examples: Sequence[Example], size_hw: tuple[int, int]) -> Batch:
    """Images of that size and their targets as one batch, which may be empty."""
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
    """torch's, but for errors of the workers: they stay one line."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        try:
            yield from super().__iter__()
        except DetectorError as error:  # torch puts the worker's traceback before it
            line = str(error).splitlines()[-1]
            raise DetectorError(line.removeprefix("detector.errors.DetectorError: ")) from None


def training_loader(
    dataset: DetectionDataset,
    preprocess: Preprocess,
    settings: TrainSettings,
    augmentation: Callable[[AugmentSettings, Preprocess], Augmentation] = Augment,
) -> TrainingLoader:
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
        mosaic_until_epoch=settings.epochs - settings.close_mosaic,
        cache=settings.cache,
    )
    workers = min(settings.workers, -(-len(examples) // settings.batch))
    if workers and multiprocessing.get_start_method() == "fork":
        examples.cache.fill()  # once, and shared by all workers
    return TrainingLoader(
        examples,
        batch_sampler=EpochBatches(
            len(examples),
            settings.batch,
            settings.seed,
            processes.rank(),
            processes.world_size(),
        ),
        num_workers=workers,
        collate_fn=partial(collate, size_hw=preprocess.size_hw),
        worker_init_fn=quiet_worker,
        persistent_workers=workers > 0,
        generator=torch.Generator().manual_seed(settings.seed),
    )


def quiet_worker(worker: int) -> None:
    """Give a worker process one thread: the workers together use the cores.

    Ctrl-C, which reaches the workers of a terminal too, is for the main process to answer.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def shrink(image: Image, size_hw: tuple[int, int]) -> Image:
    """An image that fits into the size; smaller ones stay as they are."""
    height, width = image.shape[:2]
    ratio = min(size_hw[0] / height, size_hw[1] / width)
    if ratio >= 1:
        return image
    size = max(round(width * ratio), 1), max(round(height * ratio), 1)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def cache_budget() -> int:
    """Bytes that decoded images may take: half of the free memory, at most CACHE_BYTES.

    Processes of one training share it.
    """
    free = [CACHE_BYTES * 2]
    with contextlib.suppress(ValueError, OSError, AttributeError):  # not every system says it
        free.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    with contextlib.suppress(ValueError, OSError):  # a container's own limit
        free.append(int(limit.read_text()) - int(used.read_text()))
    return max(min(free) // 2 // processes.local_world_size(), 0)
