"""The bounded queue: batches by number and time, places, order, the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack

import pytest

from detector.serve.errors import RequestError
from detector.serve.queue import BatchQueue

LONG = 60.0
"""Seconds that no test waits."""


class Doubler:
    """Doubles numbers in batches; each batch waits for the gate."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        self.begun.set()
        assert self.gate.wait(LONG)
        if 13 in numbers:
            raise ValueError("unlucky")
        return [2 * number for number in numbers]


def queue(run: Doubler, **changes: object) -> BatchQueue[int, int]:
    settings = {"places": 100, "max_batch": 4, "max_wait": LONG, **changes}
    return BatchQueue(run, **settings)  # type: ignore[arg-type]


def test_nothing_comes() -> None:
    run = Doubler()
    queue(run).close()
    assert run.batches == []


def test_a_complete_batch_does_not_wait() -> None:
    run = Doubler()
    items = queue(run)
    futures = [items.submit(number) for number in range(4)]
    assert [future.result(LONG) for future in futures] == [0, 2, 4, 6]
    assert run.batches == [[0, 1, 2, 3]]
    items.close()


def test_a_single_item_waits_its_time_for_others() -> None:
    run = Doubler()
    items = queue(run, max_wait=0.05)
    start = time.monotonic()
    assert items.submit(1).result(LONG) == 2
    assert time.monotonic() - start >= 0.05
    items.close()


def test_what_arrives_during_a_batch_becomes_the_next_ones() -> None:
    run = Doubler()
    items = queue(run, max_wait=0.0)
    run.gate.clear()
    first = items.submit(0)
    assert run.begun.wait(LONG)
    others = [items.submit(number) for number in range(1, 8)]
    run.gate.set()
    assert [future.result(LONG) for future in (first, *others)] == [2 * n for n in range(8)]
    assert run.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]
    items.close()


def test_a_batch_has_one_key_and_keeps_the_order() -> None:
    run = Doubler()
    items: BatchQueue[int, int] = BatchQueue(
        run, lambda number: number % 2, places=9, max_batch=4, max_wait=LONG
    )
    futures = [items.submit(number) for number in (1, 3, 4, 5)]
    items.close()  # what waits is processed
    assert [future.result(0) for future in futures] == [2, 6, 8, 10]
    assert run.batches == [[1, 3], [4], [5]]


def test_an_error_reaches_its_batch_only() -> None:
    run = Doubler()
    items = queue(run, max_batch=2)
    bad = [items.submit(12), items.submit(13)]
    good = [items.submit(14), items.submit(15)]
    for future in bad:
        with pytest.raises(ValueError, match="unlucky"):
            future.result(LONG)
    assert [future.result(LONG) for future in good] == [28, 30]
    items.close()


def test_a_cancelled_item_is_not_processed() -> None:
    run = Doubler()
    items = queue(run)
    given_up, kept = items.submit(1), items.submit(2)
    assert given_up.cancel()
    items.close()
    assert kept.result(0) == 4
    assert run.batches == [[2]]


def test_several_threads_process_at_the_same_time() -> None:
    run = Doubler()
    items = queue(run, max_batch=1, threads=2)
    run.gate.clear()
    futures = [items.submit(number) for number in range(2)]
    deadline = time.monotonic() + LONG
    while len(run.batches) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert sorted(run.batches) == [[0], [1]]  # the second began before the first ended
    run.gate.set()
    assert [future.result(LONG) for future in futures] == [0, 2]
    items.close()


def test_places() -> None:
    reserved: list[int] = []
    items = queue(Doubler(), places=3, on_change=reserved.append)
    with ExitStack() as stack:
        stack.enter_context(items.reserve(2))
        with pytest.raises(RequestError, match="^2 images wait, at most 3 may; try again$") as full:
            stack.enter_context(items.reserve(2))
        assert (full.value.status, full.value.headers) == (503, {"Retry-After": "1"})
        stack.enter_context(items.reserve(1))
    assert reserved == [2, 3, 2, 0]
    items.close()
