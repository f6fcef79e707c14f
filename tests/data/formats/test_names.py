"""Validation of class names, and matching by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.data.formats.names import check_names, class_number, describe, match_names
from detector.utils.errors import DetectorError


@pytest.mark.parametrize(
    ("found", "wanted", "matches"),
    [
        ([], ["a"], []),
        (["a"], [], [None]),
        (["b", "a"], ["a", "b"], [1, 0]),
        (["Dog", "dining_table"], ["diningtable", "dog"], [1, 0]),
        # An exact match is not given away to a name that is only similar.
        (["TV", "tv"], ["tv"], [None, 0]),
        # Two that are equally similar: neither is chosen.
        (["t v"], ["tv", "TV"], [None]),
        # One wanted name is not matched twice.
        (["T V", "t-v"], ["tv"], [0, None]),
    ],
)
def test_match_names(found: list[str], wanted: list[str], matches: list[int | None]) -> None:
    assert match_names(found, wanted) == matches


@given(st.lists(st.text(min_size=1), unique=True), st.randoms())
def test_a_permutation_of_names_is_matched_exactly(names: list[str], random: object) -> None:
    shuffled = names[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    matches = match_names(shuffled, names)
    assert [names[i] for i in matches if i is not None] == shuffled


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no class names"),
        (["a", "b", "a"], "class name 'a' appears twice"),
        (["a", True], "expected a class name, found True; put it in quotes"),
        (["a", " "], "expected a class name, found ' '"),
        (["a", None], "expected a class name, found None; put it in quotes"),
    ],
)
def test_bad_names(names: list[object], message: str) -> None:
    with pytest.raises(DetectorError) as caught:
        check_names(names)
    assert str(caught.value) == message


def test_numbers_are_names() -> None:
    assert check_names([0, "b"]) == ("0", "b")


def test_many_names_are_checked_in_linear_time() -> None:
    names = [str(number) for number in range(200_000)]  # in quadratic time: minutes
    assert len(check_names(names)) == len(names)


def test_class_numbers_have_a_limit() -> None:
    assert class_number("007", Path("a.txt"), 3) == 7
    assert class_number("65535", Path("a.txt"), 3) == 65535
    for digits, found in (("65536", "'65536'"), ("9" * 5000, f"'{'9' * 56}...")):
        with pytest.raises(DetectorError) as caught:
            class_number(digits, Path("a.txt"), 3)
        assert str(caught.value) == f"a.txt:3: class {found} without a name, expected 0 to 65535"


def test_describe_breaks_between_items_only() -> None:
    text = describe("classes", [f"{i} traffic light" for i in range(12)])
    lines = text.split("\n")
    assert all(len(line) <= 100 for line in lines)
    # "classes:" and five items of 17 characters with their spaces: 8 + 5 · 17 = 93 ≤ 100
    assert lines[0] == "classes: " + " ".join(f"{i} traffic light," for i in range(5))
    assert lines[1].startswith("  5 traffic light,")
