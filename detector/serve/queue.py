"""Bounded queue whose items are processed in batches, by number and by time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice, takewhile
from threading import Condition, Thread
from typing import Generic, TypeVar

from detector.serve.errors import full

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@dataclass
class _Job(Generic[ItemT, ResultT]):
    """An item that waits, with the future of its result."""

    item: ItemT
    key: Hashable
    future: Future[ResultT] = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)


class BatchQueue(Generic[ItemT, ResultT]):
    """Queue in front of a function that processes several items at once.

    A batch starts when it is complete, or when its first item has waited for ``max_wait`` seconds.
    Who submits items reserves places for them first, so that the number of items on their way,
    waiting and being processed is bounded.

    Args:
        run: returns a result for each item of a batch; called in the queue's threads.
        key: items of one batch have the same key.
        places: number of items that may be reserved at the same time.
        max_batch: largest number of items of a batch.
        max_wait: longest time that an item waits for others, in seconds.
        threads: batches that are processed at the same time.
        on_change: called with the number of reserved places whenever it changes.
    """

    def __init__(
        self,
        run: Callable[[Sequence[ItemT]], Sequence[ResultT]],
        key: Callable[[ItemT], Hashable] = lambda item: None,
        *,
        places: int,
        max_batch: int,
        max_wait: float,
        threads: int = 1,
        on_change: Callable[[int], object] = lambda reserved: None,
    ) -> None:
        self._run = run
        self._key = key
        self._places = places
        self._max_batch = max_batch
        self._max_wait = max_wait
        self._on_change = on_change
        self._waiting: deque[_Job[ItemT, ResultT]] = deque()
        self._reserved = 0
        self._closed = False
        self._changed = Condition()
        self._threads = [Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    @contextmanager
    def reserve(self, count: int) -> Iterator[None]:
        """Take places for a number of items while the block runs.

        Raises:
            RequestError: fewer places are free.
        """
        with self._changed:
            if self._reserved + count > self._places:
                raise full(f"{self._reserved} images wait, at most {self._places} may; try again")
            self._reserved += count
            self._on_change(self._reserved)
        try:
            yield
        finally:
            with self._changed:
                self._reserved -= count
                self._on_change(self._reserved)

    def submit(self, item: ItemT) -> Future[ResultT]:
        """Queue an item for which a place is reserved; return the future of its result."""
        job: _Job[ItemT, ResultT] = _Job(item, self._key(item))
        with self._changed:
            self._waiting.append(job)
            self._changed.notify_all()
        return job.future

    def close(self) -> None:
        """Process all that is waiting, and end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while batch := self._take():
            self._process(batch)

    def _take(self) -> list[_Job[ItemT, ResultT]]:
        """Wait for a batch and remove it from the queue; an empty one after the end."""
        with self._changed:
            while not self._is_ready():
                self._changed.wait(self._seconds_left())
            alike = takewhile(lambda job: job.key == self._waiting[0].key, self._waiting)
            batch = list(islice(alike, self._max_batch))
            for _ in batch:
                self._waiting.popleft()
            return batch

    def _is_ready(self) -> bool:
        """Return whether a batch can start, or never will."""
        if self._closed or len(self._waiting) >= self._max_batch:
            return True
        return bool(self._waiting) and self._seconds_left() == 0

    def _seconds_left(self) -> float | None:
        """Return how long the first item still waits for others; None if there is no item."""
        if not self._waiting:
            return None
        return max(0.0, self._waiting[0].arrived + self._max_wait - time.monotonic())

    def _process(self, batch: list[_Job[ItemT, ResultT]]) -> None:
        """Set the results of a batch, or its error; items that were given up are left out."""
        batch = [job for job in batch if job.future.set_running_or_notify_cancel()]
        if not batch:
            return
        try:
            results = self._run([job.item for job in batch])
        except Exception as error:
            for job in batch:
                job.future.set_exception(error)
            return
        for job, result in zip(batch, results, strict=True):
            job.future.set_result(result)
