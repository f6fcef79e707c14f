"""Collective communication between the processes of a run; no-ops in a single process.

All processes must call each function, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from detector.utils.errors import DetectorError
from detector.utils.system import is_main, world_size

T = TypeVar("T")

_BY_ITSELF = ContextVar("_BY_ITSELF", default=False)
"""Whether this process computes without the others; see :func:`by_itself`."""


def is_distributed() -> bool:
    """Return whether this process belongs to a process group with more than one member."""
    if _BY_ITSELF.get() or not (dist.is_available() and dist.is_initialized()):
        return False
    return dist.get_world_size() > 1


@contextmanager
def by_itself() -> Iterator[None]:
    """Let this process compute without the others in the block: the functions here do nothing.

    The others may wait for it meanwhile, as in :func:`from_main`.
    """
    token = _BY_ITSELF.set(True)
    try:
        yield
    finally:
        _BY_ITSELF.reset(token)


def all_reduce_sum(values: Tensor) -> Tensor:
    """Return the elementwise sum of a tensor over all processes, without gradients."""
    if not is_distributed():
        return values.detach()
    summed = values.detach().clone()
    dist.all_reduce(summed)
    return summed


def all_gather(part: T) -> list[T]:
    """Return the values of all processes, ordered by rank, in every process."""
    if not is_distributed():
        return [part]
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, part)
    return parts


def from_main(make: Callable[[], T]) -> T:
    """Call ``make`` in the main process only, and return its result in every process.

    Raises:
        DetectorError: ``make`` raised it; it is raised in every process.
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
    """Overwrite the tensors in place with those of the main process."""
    if is_distributed():
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


@contextmanager
def init_process_group() -> Iterator[None]:
    """Join the processes started by ``torchrun``, if any, with the gloo backend.

    If there are accelerators, each process uses the one whose index is its local rank.
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
