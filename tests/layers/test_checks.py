"""Checks that several blocks share."""

from __future__ import annotations

import pytest

from detector.layers.checks import check_odd


@pytest.mark.parametrize("kernels", [[1], [5, 9, 13], (3,)])
def test_odd_kernels_pass(kernels: list[int]) -> None:
    check_odd(kernels)


@pytest.mark.parametrize("kernels", [[], [2], [3, 4], [-1], [0, 3]])
def test_others_are_refused(kernels: list[int]) -> None:
    with pytest.raises(ValueError) as caught:
        check_odd(kernels)
    assert str(caught.value) == f"argument 'kernels': expected odd numbers, found {kernels}"
