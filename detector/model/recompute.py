"""Gradient checkpointing: what a row computes is not kept for backward, but computed again there.

Backward needs the tensors between the layers. Kept are the features that a row reads; the others
are computed again when backward reaches the row (arXiv 1604.06174), so that memory holds those of
one row at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recomputed(module: nn.Module, run: Callable[..., Any], *features: Tensor) -> Any:
    """Run a module on features, and run it again in backward.

    Args:
        module: what runs.
        run: calls the module with the features.
        features: what it reads.
    """
    return checkpoint(
        run, *features, use_reentrant=False, context_fn=partial(_forward_and_backward, module)
    )


def _forward_and_backward(
    module: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return what surrounds the first run, and the second one from the same buffers."""
    return nullcontext(), _on_copies(module, {n: b.clone() for n, b in module.named_buffers()})


@contextmanager
def _on_copies(module: nn.Module, copies: Mapping[str, Tensor]) -> Iterator[None]:
    """Give a module copies of its buffers for a while.

    The second run counts each image again in the statistics of batch norms, and in whatever else a
    block keeps: in the copies, which are thrown away.
    """
    own = dict(module.named_buffers())
    try:
        _set_buffers(module, copies)
        yield
    finally:
        _set_buffers(module, own)


def _set_buffers(module: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    for name, tensor in buffers.items():
        owner, _, own_name = name.rpartition(".")
        setattr(module.get_submodule(owner), own_name, tensor)
