"""Content of training batches, which depends only on seed, epoch and index."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detector.data.augment.transforms import Augment, Example, Mixing
from detector.data.dataset import DetectionDataset, open_dataset
from detector.data.loader import (
    EpochBatches,
    TrainingSet,
    collate,
    default_workers,
    training_loader,
)
from detector.engine.head_settings import train_settings
from detector.settings.heads import AugmentSettings
from detector.settings.train import TrainSettings
from detector.structures.preprocess import Preprocess
from detector.structures.samples import Batch, Sample
from detector.utils.errors import DetectorError
from detector.utils.opencv import read_image

SQUARE = Preprocess(size_hw=(64, 64))


@pytest.fixture
def dataset(tmp_path: Path) -> DetectionDataset:
    path = tmp_path / "set.yaml"
    path.write_text("generate: {name: shapes, image_size: 96, images: {train: 7, val: 2}}")
    return open_dataset(path, "train", data_root=tmp_path)


def settings(**values: Any) -> TrainSettings:
    return train_settings(**{"batch": 3, "epochs": 4, **values})


def as_bytes(batches: Iterable[Batch]) -> list[tuple[bytes, ...]]:
    return [
        tuple(
            tensor.numpy().tobytes()
            for tensor in (
                batch.images,
                batch.targets.boxes_xyxy,
                batch.targets.class_ids,
                batch.targets.image_index,
            )
        )
        for batch in batches
    ]


# ---------------------------------------------------------------------------------------- batches


def test_a_batch(dataset: DetectionDataset) -> None:
    loader = training_loader(dataset, Preprocess(size_hw=(64, 96)), settings())
    batches = list(loader)
    assert [len(batch) for batch in batches] == [3, 4]  # of 7; none alone
    assert len(loader) == 2
    for batch in batches:
        assert batch.images.shape[1:] == (3, 64, 96)
        assert batch.images.dtype == torch.uint8
        assert batch.images.is_contiguous()
        targets = batch.targets
        assert targets.boxes_xyxy.dtype == torch.float32
        assert targets.class_ids.dtype == targets.image_index.dtype == torch.int64
        limits = torch.tensor([96, 64, 96, 64])
        assert torch.all((targets.boxes_xyxy >= 0) & (targets.boxes_xyxy <= limits))
        assert torch.all(targets.image_index < len(batch))


def test_collate_by_hand() -> None:
    def example(level: int, boxes: list[list[float]]) -> Example:
        array = np.array(boxes, np.float32).reshape(-1, 4)
        image = np.full((2, 4, 3), (level, 0, 0), np.uint8)
        return Example(image, array, np.arange(len(boxes)))

    batch = collate(
        [example(1, [[0, 0, 1, 1]]), example(2, []), example(3, [[1, 2, 3, 4]] * 2)], (2, 4)
    )
    assert batch.images[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert batch.images[:, 1:].sum() == 0
    assert batch.targets.image_index.tolist() == [0, 2, 2]
    assert batch.targets.class_ids.tolist() == [0, 0, 1]
    assert batch.targets.boxes_xyxy.tolist() == [[0, 0, 1, 1], [1, 2, 3, 4], [1, 2, 3, 4]]


def test_collate_of_images_without_boxes() -> None:
    empty = Example(np.zeros((2, 4, 3), np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, int))
    assert collate([empty, empty], (2, 4)).targets.boxes_xyxy.shape == (0, 4)


def test_collate_of_nothing() -> None:
    batch = collate([], (2, 4))
    assert batch.images.shape == (0, 3, 2, 4)
    assert batch.targets.boxes_xyxy.dtype == torch.float32
    assert batch.targets.class_ids.dtype == batch.targets.image_index.dtype == torch.int64


# ---------------------------------------------------------------------------------- determinism


def passes(dataset: DetectionDataset, epochs: Iterable[int], **values: Any) -> list[Any]:
    loader = training_loader(dataset, SQUARE, settings(**values))
    result = []
    for epoch in epochs:
        loader.batch_sampler.set_epoch(epoch)
        result.append(as_bytes(loader))
    return result


def test_workers_change_nothing(dataset: DetectionDataset) -> None:
    """Two epochs by persistent workers, the second without mosaic."""
    alone = passes(dataset, (2, 3), workers=0, close_mixing=1)
    assert passes(dataset, (2, 3), workers=2, close_mixing=1) == alone
    assert alone[0] != alone[1]


def test_cache_and_earlier_epochs_change_nothing(dataset: DetectionDataset, tmp_path) -> None:
    (expected,) = passes(dataset, (2,))
    for workers in (0, 2, 2):
        on_disk = {"cache": "disk", "cache_dir": tmp_path / "cache", "workers": workers}
        assert passes(dataset, (2,), **on_disk) == [expected]
    assert len(list((tmp_path / "cache").glob("*/*.npz"))) == 7
    assert passes(dataset, (2,), cache="none") == [expected]
    assert passes(dataset, (0, 1, 2))[-1] == expected


def test_seeds_and_epochs_differ(dataset: DetectionDataset) -> None:
    runs = [*passes(dataset, (0, 1)), *passes(dataset, (0,), seed=1)]
    images = {batch[0] for run in runs for batch in run}
    assert len(images) == 6


def test_the_global_generators_are_left_alone(dataset: DetectionDataset) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    passes(dataset, (0,))
    assert torch.equal(torch.get_rng_state(), before)


def test_every_image_once_an_epoch() -> None:
    batches = EpochBatches(np.ones(10), 4, seed=3)
    for epoch in (0, 1):
        batches.set_epoch(epoch)
        keys = [key for batch in batches for key in batch]
        assert [len(batch) for batch in batches] == [4, 4, 2]
        assert {key[0] for key in keys} == {epoch}
        assert sorted(key[1] for key in keys) == list(range(10))
    assert len(batches) == 3


@pytest.mark.parametrize(
    ("images", "batch", "sizes"),
    [(9, 4, [4, 5]), (5, 4, [5]), (1, 4, [1]), (3, 1, [1, 1, 1]), (4, 4, [4]), (6, 4, [4, 2])],
)
def test_no_image_is_left_alone(images: int, batch: int, sizes: list[int]) -> None:
    batches = EpochBatches(np.ones(images), batch)
    assert [len(keys) for keys in batches] == sizes
    assert len(batches) == len(sizes)
    assert sorted(key[1] for keys in batches for key in keys) == list(range(images))


def test_orders_differ_from_epoch_to_epoch() -> None:
    batches = EpochBatches(np.ones(10), 10)
    orders = set()
    for epoch in range(5):
        batches.set_epoch(epoch)
        ((*keys,),) = batches
        orders.add(tuple(index for _, index, _ in keys))
    assert len(orders) == 5


def test_an_epoch_goes_on_from_a_batch() -> None:
    batches = EpochBatches(np.ones(10), 4)
    batches.set_epoch(1)
    whole = list(batches)
    batches.set_epoch(1, start_batch=2)
    assert list(batches) == whole[2:]
    assert len(batches) == 1
    batches.set_epoch(1, start_batch=9)
    assert list(batches) == []
    assert len(batches) == 0


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_processes_share_each_batch(world_size: int) -> None:
    """10 images, batches of 4: the last batch has 2, so the third of three processes gets none."""
    whole = EpochBatches(np.ones(10), 4, seed=3)
    shares = [EpochBatches(np.ones(10), 4, 3, rank, world_size) for rank in range(world_size)]
    assert [len(batches) for batches in shares] == [3] * world_size
    for batch, *parts in zip(whole, *shares, strict=True):
        assert sorted(key for part in parts for key in part) == sorted(batch)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert whole.batches() == list(whole) == shares[-1].batches()


def test_images_are_repeated_by_their_factors() -> None:
    """Each image occurs as often as its factor says, shuffled, and repetitions are numbered."""
    batches = EpochBatches(np.array([1.0, 2.0, 1.5, 1.5]), 4)
    assert len(batches) == 2
    for epoch in (0, 1):
        batches.set_epoch(epoch)
        keys = [key for batch in batches for key in batch]
        counts = np.bincount([index for _, index, _ in keys])
        assert sorted(keys) == [
            (epoch, i, n) for i, count in enumerate(counts) for n in range(count)
        ]
        assert counts.tolist() in ([1, 2, 1, 2], [1, 2, 2, 1])
    assert sorted(keys) != keys


def test_a_repeated_image_is_changed_otherwise(dataset: DetectionDataset) -> None:
    training = TrainingSet(dataset.samples, SQUARE, Augment(AugmentSettings(), SQUARE))
    first, again = training[0, 0, 0], training[0, 0, 1]
    assert not np.array_equal(first.image, again.image)


def test_rare_classes_make_an_epoch_longer(dataset: DetectionDataset) -> None:
    plain, balanced = (
        training_loader(dataset, SQUARE, settings(batch=1, balance_classes=t)) for t in (0.0, 1.0)
    )
    assert len(plain) == 7 < len(balanced)
    keys = [key for batch in balanced.batch_sampler for key in batch]
    assert {index for _, index, _ in keys} == set(range(7))


# --------------------------------------------------------------------------------------- examples


def plain(path: Path, size_hw: tuple[int, int], boxes: list[list[float]], **more: Any) -> Sample:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return Sample(path, array, np.zeros(len(boxes), np.int64), size_hw, 1, **more)


def test_without_augmentation_images_lie_as_in_validation(make_image) -> None:
    path = make_image("a.png", (50, 100), level=200)
    sample = plain(path, (50, 100), [[10, 10, 60, 40]])
    example = TrainingSet([sample], SQUARE, None)[0, 0, 0]
    image, placement = SQUARE.fit(read_image(path))
    assert np.array_equal(example.image, image)
    assert np.array_equal(example.boxes_xyxy, placement.to_input(sample.boxes_xyxy))


def test_crowd_regions_are_no_targets(make_image) -> None:
    path = make_image("a.png", (64, 64))
    boxes = [[0.0, 0, 30, 30], [30, 30, 60, 60]]
    sample = plain(path, (64, 64), boxes, crowd=np.array([True, False]))
    still = AugmentSettings(mosaic=0, translate=0, scale=0, fliplr=0)
    for augment in (None, Augment(still, SQUARE)):
        example = TrainingSet([sample], SQUARE, augment)[0, 0, 0]
        assert np.allclose(example.boxes_xyxy, [[30, 30, 60, 60]])


def test_boxes_follow_the_kept_images_size(make_image) -> None:
    """A 100×200 image is cached at 32×64, and its boxes are scaled with it."""
    sample = plain(make_image("a.png", (100, 200)), (100, 200), [[50, 20, 150, 80]])
    still = AugmentSettings(mosaic=0, translate=0, scale=0, fliplr=0)
    training = TrainingSet([sample], SQUARE, Augment(still, SQUARE))
    # 0.32 of x; 16 pixels above: 20 · 0.32 + 16 = 22.4, 80 · 0.32 + 16 = 41.6
    assert training[0, 0, 0].boxes_xyxy[0].tolist() == pytest.approx([16, 22.4, 48, 41.6], abs=1e-4)
    assert training.images[0].shape == (32, 64, 3)


def test_mosaic_ends_with_its_epoch(make_image) -> None:
    """Four grey levels: a mosaic shows several, a single image one."""
    samples = [
        plain(make_image(f"{level}.png", (64, 64), level), (64, 64), [])
        for level in (10, 60, 180, 250)
    ]
    augment = Augment(AugmentSettings(hsv_h=0, hsv_s=0, hsv_v=0, close_mixing=2), SQUARE)
    training = TrainingSet(samples, SQUARE, augment, epochs=4)

    def levels(epoch: int) -> int:
        values = (np.unique(training[epoch, index, 0].image).tolist() for index in range(4))
        return max(len({10, 60, 180, 250}.intersection(seen)) for seen in values)

    assert levels(0) > 1
    assert levels(1) > 1
    assert levels(2) == levels(3) == 1


def test_sources_are_the_images_that_an_example_shows(make_image) -> None:
    levels = (10, 60, 180, 250)
    samples = [plain(make_image(f"{n}.png", (64, 64), n), (64, 64), []) for n in levels]
    augment = Augment(
        AugmentSettings(hsv_h=0, hsv_s=0, hsv_v=0, translate=0, scale=0, close_mixing=1), SQUARE
    )
    training = TrainingSet(samples, SQUARE, augment, epochs=2)
    for index in range(4):
        sources = training.sources((0, index, 0))
        assert sources[0] == samples[index].path
        seen = set(levels).intersection(np.unique(training[0, index, 0].image).tolist())
        assert seen <= {int(path.stem) for path in sources}
        assert training.sources((1, index, 0)) == [samples[index].path]


class Spoilt:
    """Augmentation whose result is not finite."""

    mixing = Mixing()
    source_scale = 1

    def __init__(self, spoil: str) -> None:
        self.spoil = spoil

    def __call__(self, examples, rng) -> Example:
        (example,) = examples
        image, boxes_xyxy = example.image, np.array([[0, 0, 9, 9]], np.float32)
        if self.spoil == "image":
            image = image.astype(np.float32)
            image[0] = np.nan
        elif self.spoil == "boxes":
            boxes_xyxy[0, 2] = np.inf
        return Example(image, boxes_xyxy, np.zeros(1, np.int64))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("spoil", "issue"),
    [
        ("image", "an image of float32 with values that are not finite (expected uint8)"),
        ("boxes", "a box that is not finite"),
    ],
)
def test_what_is_no_number_is_named(
    dataset: DetectionDataset, workers: int, spoil: str, issue: str
) -> None:
    loader = training_loader(
        dataset, SQUARE, settings(workers=workers, batch=1), lambda *_: Spoilt(spoil)
    )
    with pytest.raises(DetectorError) as caught:
        list(loader)
    first = next(iter(EpochBatches(np.ones(len(dataset)), 1)))[0]
    path = dataset.samples[first[1]].path
    assert str(caught.value) == f"the transforms gave {issue}, from {path}"


@pytest.mark.parametrize("name", ["mixup", "copy_paste"])
def test_mixing_brings_another_example(dataset: DetectionDataset, name: str) -> None:
    """The first objects are those without mixing; in the closing epochs there are no others."""

    def made(**probabilities: float) -> TrainingSet:
        augment = Augment(AugmentSettings(mosaic=0.5, close_mixing=1, **probabilities), SQUARE)
        return TrainingSet(dataset.samples, SQUARE, augment, epochs=2)

    plain, mixed = made(), made(**{name: 1.0})
    more = 0
    for index in range(7):
        first, both = plain[0, index, 0], mixed[0, index, 0]
        count = len(first.class_ids)
        assert np.array_equal(both.boxes_xyxy[:count], first.boxes_xyxy)
        assert np.array_equal(both.class_ids[:count], first.class_ids)
        more += len(both.class_ids) - count
        assert np.array_equal(plain[1, index, 0].image, mixed[1, index, 0].image)
    assert more > 0


def test_mixing_does_not_depend_on_workers(dataset: DetectionDataset) -> None:
    every = {"mixup": 0.5, "copy_paste": 0.5, "balance_classes": 0.9}
    assert passes(dataset, (0, 1), workers=2, **every) == passes(dataset, (0, 1), **every)


def test_images_as_they_are(dataset: DetectionDataset) -> None:
    """Without augmentation, epochs differ only in their order."""
    first, second = passes(dataset, (0, 1), augment=False, batch=7)
    boxes = [sorted(np.frombuffer(run[0][1], np.float32).tolist()) for run in (first, second)]
    assert boxes[0] == boxes[1]
    assert first != second


@pytest.mark.parametrize(
    ("device", "cores", "processes", "expected"),
    [
        ("cpu", 2, 1, 0),  # 2 // 4
        ("cpu", 4, 1, 1),
        ("cpu", 16, 2, 2),  # 16 // 2 // 4
        ("cpu", 64, 1, 8),
        ("cuda", 1, 1, 0),
        ("cuda", 4, 1, 3),
        ("cuda", 8, 4, 1),  # 8 // 4 − 1
        ("mps", 12, 1, 8),
    ],
)
def test_how_many_workers(
    device: str, cores: int, processes: int, expected: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("detector.utils.system.available_cores", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert default_workers(torch.device(device)) == expected
