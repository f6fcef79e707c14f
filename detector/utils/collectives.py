"""What the processes of a run tell each other; with one process nothing is said.

Each function must be called by all of them, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from detector.utils.errors import DetectorError
from detector.utils.system import is_main, world_size

T = TypeVar("T")


def is_distributed() -> bool:
    """Whether there are others to talk to."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def all_reduce_sum(values: Tensor) -> Tensor:
    """Sum over all processes, element by element; without gradients."""
    if not is_distributed():
        return values.detach()
    summed = values.detach().clone()
    dist.all_reduce(summed)
    return summed


def all_gather(part: T) -> list[T]:
    """The part of each process, in all of them."""
    if not is_distributed():
        return [part]
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, part)
    return parts


def from_main(make: Callable[[], T]) -> T:
    """What ``make`` gives in the main process, in all of them; it is called there only.

    Raises:
        DetectorError: the one that ``make`` raised, in every process.
    """
    if not is_distributed():
        return make()
    made: list[Any] = [None]
    if is_main():
        try:
            made = [make()]
        except DetectorError as error:
            made = [error]
    dist.broadcast_object_list(made)
    if isinstance(made[0], DetectorError):
        raise made[0]
    return made[0]  # type: ignore[no-any-return]


def copy_from_main(tensors: Iterable[Tensor]) -> None:
    """Overwrite the tensors with those of the main process."""
    if is_distributed():
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


@contextmanager
def init_process_group() -> Iterator[None]:
    """Join the other processes that ``torchrun`` started, if it did; on CPUs and by gloo.

    Each one takes the accelerator of its number on its machine, where there are any.
    """
    if world_size() == 1:
        yield
        return
    if torch.accelerator.is_available():
        torch.accelerator.set_device_index(dist.get_node_local_rank())
    dist.init_process_group("gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()
