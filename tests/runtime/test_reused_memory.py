"""Memory is used again when nobody holds it, and never before."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.runtime.reused_memory import ReusedMemory


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_memory_is_used_again():
    memory = ReusedMemory()
    first = memory.array((2, 3))
    assert (first.shape, first.dtype) == ((2, 3), np.float32)
    place = address(first)
    del first
    assert address(memory.array((3, 2))) == place
    assert address(memory.array((5,))) == place  # smaller: the beginning of the same memory


def test_memory_of_a_view_is_not_used_again():
    memory = ReusedMemory()
    first = memory.array((2, 3))
    place, row = address(first), first[1]
    del first
    second = memory.array((2, 3))
    assert address(second) != place
    row[:] = 1
    second[:] = 2
    assert row.tolist() == [1, 1, 1]
    del row
    assert address(memory.array((6,))) == place


def test_a_larger_array_takes_the_place_of_a_smaller_one():
    memory = ReusedMemory()
    memory.array((4,))
    assert memory.array((400,)).size == 400
    assert [flat.size for flat in memory._spare] == [400]


@given(st.lists(st.integers(0, 9), max_size=60), st.randoms(use_true_random=False))
def test_held_arrays_keep_their_values(sizes: list[int], chance: random.Random):
    memory = ReusedMemory()
    held: list[tuple[int, np.ndarray]] = []
    for number, size in enumerate(sizes):
        array = memory.array((size, 2))
        array[:] = number
        held.append((number, array.T[:, ::2]))
        if chance.random() < 0.5:
            held.pop(chance.randrange(len(held)))
        assert all((view == value).all() for value, view in held)
