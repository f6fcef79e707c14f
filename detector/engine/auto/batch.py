"""Choice of the batch from measured steps: what fits into the memory, and is worth its time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

ENOUGH_IMAGES = 16
"""Images of a batch up to which its batch norms gain from more of them; measured at 16."""

FASTER = 1.05
"""Ratio of images/s that a batch beyond ``ENOUGH_IMAGES`` must reach over smaller ones."""

SLOWER = 0.8
"""Ratio of images/s below which a smaller batch is better, whatever the norms gain."""

RETRIES = 2
"""Number of times that a batch which seems slow is measured again."""


@dataclass(frozen=True)
class Step:
    """A measured training step.

    Attributes:
        images: of the batch.
        bytes: peak memory of the steps.
        seconds: of the fastest step.
    """

    images: int
    bytes: int
    seconds: float

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds


@dataclass(frozen=True)
class BatchChoice:
    """The batch of one process, and what ended the search.

    Attributes:
        step: the one that was chosen.
        end: why no larger batch was.
    """

    step: Step
    end: str


Measure = Callable[[int], Step | None]
"""Function from a number of images to a measured step; None if the memory is too small."""


def batches(images_per_step: int, images: int) -> list[int]:
    """Return the batches of one process to try: powers of two, from 2 where there are as many.

    >>> batches(16, 205), batches(12, 205), batches(8, 1)
    ([2, 4, 8, 16], [2, 4, 8], [1])
    """
    most = min(images_per_step, images)
    return [1 << power for power in range(1, most.bit_length())] or [1]


def choose_batch(sizes: Sequence[int], measure: Measure, budget: int) -> BatchChoice | None:
    """Return the largest batch that fits and pays; None if not even one image fits.

    A batch is not run where its memory, by the two before it, would exceed the budget.

    Args:
        sizes: batches to try, each twice the last.
        measure: runs training steps.
        budget: bytes that a step may take.
    """
    done: list[Step] = []
    end = f"a step has no more than {sizes[-1]}"
    for images in sizes:
        if expected_bytes(done, images) > budget:
            end = f"{images} would take {expected_bytes(done, images) / 1e9:.1f} GB"
            break
        step = _measured(measure, images, done)
        if step is None or step.bytes > budget:
            end = f"{images} take more"
            break
        if done and not pays(done, step):
            end = f"{images} reach {step.rate:.1f} images/s"
            break
        done.append(step)
    if done:
        return BatchChoice(done[-1], end)
    if sizes[0] == 1:
        return None
    return choose_batch([1], measure, budget)


def _measured(measure: Measure, images: int, done: Sequence[Step]) -> Step | None:
    """Measure a batch, and once more where it seems slow: other programs make it no faster."""
    step = measure(images)
    for _ in range(RETRIES):
        if step is None or not done or pays(done, step):
            break
        again = measure(images)
        if again is not None and again.seconds < step.seconds:
            step = again
    return step


def expected_bytes(done: Sequence[Step], images: int) -> int:
    """Return the memory of a larger batch, on the line through the last two; 0 if unknown."""
    if len(done) < 2:
        return 0
    before, last = done[-2:]
    growth = max(last.bytes - before.bytes, 0) / (last.images - before.images)
    return round(last.bytes + growth * (images - last.images))


def pays(done: Sequence[Step], larger: Step) -> bool:
    """Return whether a batch is worth its memory, compared with the fastest smaller one.

    Up to ``ENOUGH_IMAGES`` it must not be much slower, since batch norms gain from its images;
    beyond, it must be faster.
    """
    wanted = SLOWER if larger.images <= ENOUGH_IMAGES else FASTER
    return larger.rate >= wanted * max(step.rate for step in done)
