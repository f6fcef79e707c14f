"""Which batch is taken, given measured steps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.engine.auto.batch import Step, batches, choose_batch, expected_bytes

GB = 10**9


def measure(
    bytes_of: Callable[[int], float], rate_of: Callable[[int], float], tried: list[int]
) -> Callable[[int], Step]:
    """Return a function that measures made-up steps, and notes what was tried."""

    def measure(images: int) -> Step:
        tried.append(images)
        return Step(images, round(bytes_of(images)), images / rate_of(images))

    return measure


@pytest.mark.parametrize(
    ("per_step", "images", "expected"),
    [
        (16, 0, [1]),
        (16, 1, [1]),
        (16, 3, [2]),
        (16, 205, [2, 4, 8, 16]),
        (5, 205, [2, 4]),
        (64, 10_000, [2, 4, 8, 16, 32, 64]),
    ],
)
def test_batches(per_step: int, images: int, expected: list[int]):
    assert batches(per_step, images) == expected


def test_all_that_fit():
    """0.5 GB, and 0.1 an image: 16 take 2.1."""
    tried: list[int] = []
    found = choose_batch(
        [2, 4, 8, 16], measure(lambda n: (0.5 + 0.1 * n) * GB, lambda n: 20, tried), 3 * GB
    )
    assert found is not None
    assert (found.step.images, found.end) == (16, "a step has no more than 16")
    assert tried == [2, 4, 8, 16]


def test_a_batch_is_not_run_where_it_would_not_fit():
    """8 take 1.3 GB; 16 would take 2.1."""
    tried: list[int] = []
    found = choose_batch(
        [2, 4, 8, 16], measure(lambda n: (0.5 + 0.1 * n) * GB, lambda n: 20, tried), 2 * GB
    )
    assert found is not None
    assert (found.step.images, found.end) == (8, "16 would take 2.1 GB")
    assert tried == [2, 4, 8]


def test_memory_that_ends_before_it_was_expected():
    def one(images: int) -> Step | None:
        return Step(images, GB, 1.0) if images < 4 else None

    found = choose_batch([2, 4, 8], one, 2 * GB)
    assert found is not None
    assert (found.step.images, found.end) == (2, "4 take more")


def test_one_image_and_none():
    tried: list[int] = []
    found = choose_batch([2, 4], measure(lambda n: n * GB, lambda n: 20, tried), GB)
    assert found is not None
    assert (found.step.images, found.end, tried) == (1, "a step has no more than 1", [2, 1])
    assert choose_batch([2, 4], measure(lambda n: n * GB, lambda n: 20, tried), GB // 2) is None
    assert choose_batch([1], lambda images: None, GB) is None


@pytest.mark.parametrize(
    ("rates", "batch", "end"),
    [
        # Up to 16 a batch may be a little slower than smaller ones: 0.8 of 20 is 16.
        ({2: 20, 4: 20, 8: 16, 16: 16, 32: 16}, 16, "32 reach 16.0 images/s"),
        ({2: 20, 4: 16, 8: 15}, 4, "8 reach 15.0 images/s"),
        # Beyond 16 it must be faster, by a twentieth.
        ({2: 20, 4: 40, 8: 80, 16: 100, 32: 106, 64: 110}, 32, "64 reach 110.0 images/s"),
        ({2: 20, 4: 40, 8: 80, 16: 100, 32: 104}, 16, "32 reach 104.0 images/s"),
    ],
)
def test_a_larger_batch_must_pay(rates: dict[int, float], batch: int, end: str):
    found = choose_batch([2, 4, 8, 16, 32, 64], measure(lambda n: n, rates.__getitem__, []), GB)
    assert found is not None
    assert (found.step.images, found.end) == (batch, end)


def test_a_batch_that_seems_slow_is_measured_again():
    """Another program took the time of the first two measurements of 4."""
    seconds = {2: [0.1], 4: [1.0, 0.9, 0.2]}

    def one(images: int) -> Step:
        return Step(images, 1, seconds[images].pop(0))

    found = choose_batch([2, 4], one, GB)
    assert found is not None
    assert found.step == Step(4, 1, 0.2)
    seconds = {2: [0.1], 4: [1.0, 0.9, 0.8]}
    found = choose_batch([2, 4], one, GB)
    assert found is not None
    assert (found.step.images, found.end) == (2, "4 reach 5.0 images/s")


def test_memory_along_a_line():
    steps = [Step(2, 100, 1.0), Step(4, 140, 1.0)]
    assert expected_bytes(steps, 8) == 220  # 20 an image
    assert expected_bytes(steps[:1], 8) == expected_bytes([], 8) == 0
    assert expected_bytes([Step(2, 140, 1.0), Step(4, 100, 1.0)], 8) == 100  # memory was reused


@given(st.integers(1, 10**6), st.integers(1, 10**5), st.integers(1, 10**7), st.integers(1, 10**7))
def test_more_memory_never_gives_a_smaller_batch(base, each, budget, more):
    def batch(limit: int) -> int:
        found = choose_batch(
            batches(64, 1000), measure(lambda n: base + each * n, lambda n: n, []), limit
        )
        return 0 if found is None else found.step.images

    assert batch(budget) <= batch(budget + more)
    assert batch(budget) == 0 or base + each * batch(budget) <= budget
