"""Classes of start weights in a head for other classes, or for the same ones in another order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class SharedClasses:
    """Classes that a head and its start weights have in common, by their names.

    Attributes:
        own: indices of these classes in the head.
        start: their indices in the start weights, in the same order.
        count: number of classes of the head.
        start_count: number of classes of the start weights.
    """

    own: tuple[int, ...]
    start: tuple[int, ...]
    count: int
    start_count: int

    @classmethod
    def find(cls, names: Sequence[str], start_names: Sequence[str]) -> SharedClasses:
        """Match classes by name.

        >>> SharedClasses.find(["cat", "dog", "cow"], ["dog", "cat"])
        SharedClasses(own=(0, 1), start=(1, 0), count=3, start_count=2)
        """
        places = {name: index for index, name in enumerate(start_names)}
        own = tuple(index for index, name in enumerate(names) if name in places)
        start = tuple(places[names[index]] for index in own)
        return cls(own, start, len(names), len(start_names))


@dataclass(frozen=True)
class ClassRows:
    """Rows of the classes in the first axis of a weight, each group after its other rows.

    Attributes:
        groups: number of groups, one for each anchor or default box of a cell.
        others: number of rows of a group before those of its classes.
    """

    groups: int
    others: int

    def mixed(self, start: Tensor, own: Tensor, classes: SharedClasses | None) -> Tensor | None:
        """Return a copy of ``own`` that has the rows of ``start`` for others and shared classes.

        Args:
            start: (groups · (others + other classes), …).
            own: (groups · (others + classes), …).
            classes: classes of both; None takes no class.

        Returns:
            The copy, or None if the shapes do not fit.
        """
        if start.shape[1:] != own.shape[1:] or start.shape[0] % self.groups:
            return None
        start, mixed = (
            rows.reshape(self.groups, -1, *own.shape[1:]) for rows in (start, own.clone())
        )
        start_count = start.shape[1] - self.others
        if start_count <= 0 or (classes is not None and start_count != classes.start_count):
            return None
        mixed[:, : self.others] = start[:, : self.others]
        if classes is not None:
            own_rows = [self.others + index for index in classes.own]
            mixed[:, own_rows] = start[:, [self.others + index for index in classes.start]]
        return mixed.reshape(own.shape)
