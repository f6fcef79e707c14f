"""Coverage of intervals: how many hold the AP of the images that their own were drawn from.

A population of images is drawn, its AP is computed on the whole, and many small sets of images are
drawn from it. Each has its own bootstrap interval.
"""

from dataclasses import replace

import numpy as np
import pytest

from detector.evaluation.intervals import Interval, draw, interval
from detector.evaluation.resampled_ap import ClassMatches, mean_of_present, resampled_ap

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)


def shares(true: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """COCO's 101 recalls."""
    reached = np.searchsorted(RECALLS, true / objects, side="right")
    reached[true == 0] = 0
    return np.diff(reached, axis=1, prepend=0) / 101


def population(rng: np.random.Generator, images: int) -> ClassMatches:
    """Images with about two objects of a class, some of them hard; found ones and false ones.

    The clearer an object, the likelier it is found, the better its box, and the higher its score.
    """
    hard = rng.normal(0, 0.7, images)
    objects = rng.poisson(rng.gamma(2, 1, images)).astype(np.int32)
    image = np.repeat(np.arange(images), objects)
    clear = rng.normal(size=len(image)) - hard[image]
    found = clear + rng.normal(0, 0.5, len(image)) > -1
    image, clear = image[found], clear[found]
    iou = 1 - 0.15 * np.exp(rng.normal(0, 0.6, len(image)) - 0.4 * clear)
    false = rng.choice(images, 2 * images, p=np.exp(hard) / np.exp(hard).sum())
    logits = [1 + clear + rng.normal(size=len(image)), rng.normal(-1.5, 1.2, len(false))]
    right = np.append(iou, np.zeros(len(false))) >= IOUS[:, None]
    return best_first(
        np.append(image, false), np.concatenate(logits), right, objects.astype(np.int32)
    )


def best_first(
    image: np.ndarray, score: np.ndarray, right: np.ndarray, objects: np.ndarray
) -> ClassMatches:
    order = np.argsort(-score, kind="stable")
    right = right[:, order]
    return ClassMatches(image[order], score[order], np.ones_like(right), right, objects)


def drawn_from(whole: ClassMatches, images: np.ndarray) -> ClassMatches:
    """The matches of some images only."""
    place = np.full(len(whole.objects), -1)
    place[images] = np.arange(len(images))
    kept = place[whole.image] >= 0
    return replace(
        whole,
        image=place[whole.image[kept]],
        score=whole.score[kept],
        counted=whole.counted[:, kept],
        right=whole.right[:, kept],
        objects=whole.objects[images],
    )


def ap(classes: list[ClassMatches], weights: np.ndarray) -> np.ndarray:
    found = resampled_ap(classes, weights, shares)
    return mean_of_present(np.array([aps.mean(axis=0) for aps in found]))


def intervals(simulations: int, images: int, resamples: int) -> tuple[float, list[Interval]]:
    """The AP of a population of two classes, and the intervals of sets of images from it."""
    rng = np.random.default_rng(0)
    whole = [population(rng, 20_000) for _ in range(2)]
    known = ap(whole, np.ones((1, 20_000), np.int32))[0]
    found = []
    for seed in range(simulations):
        chosen = rng.choice(20_000, images, replace=False)
        classes = [drawn_from(one, chosen) for one in whole]
        value = ap(classes, np.ones((1, images), np.int32))[0]
        one = interval(ap(classes, draw(images, resamples, seed)), value)
        assert one is not None
        found.append(one)
    return known, found


def test_most_intervals_hold_the_known_ap():
    """Of 40 intervals at 95 % fewer than 34 hold it in 1 of 100 cases: 38 ± 1.4 are expected."""
    known, found = intervals(40, 60, 200)
    assert 0.3 < known < 0.7
    assert sum(low <= known <= high for low, high in found) >= 34
    assert sum(low <= known + 0.3 <= high for low, high in found) == 0  # they are not too wide


@pytest.mark.slow
@pytest.mark.parametrize("images", [100, 300])
def test_93_to_97_of_100_intervals_hold_the_known_ap(images: int):
    known, found = intervals(200, images, 1000)
    share = np.mean([low <= known <= high for low, high in found])
    assert 0.93 <= share <= 0.97, share
