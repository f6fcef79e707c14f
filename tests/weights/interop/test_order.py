"""Networks of one architecture correspond layer by layer, in the order they are built in."""

import pytest
import torch

from detector.utils.errors import DetectorError
from detector.weights.interop.order import (
    convolutions,
    count_outputs,
    layers,
    natural,
    pair,
    rename_all,
    renamed,
)


def test_natural_order_compares_numbers_as_numbers():
    names = ["rows.10.conv", "rows.9.10.conv", "extras.10", "rows.9.9.conv", "extras.9", "rows.9"]
    assert sorted(names, key=natural) == [
        *("extras.9", "extras.10"),
        *("rows.9", "rows.9.9.conv", "rows.9.10.conv", "rows.10.conv"),
    ]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], []),
        (["rows.3.bn.weight", "rows.20.weight", "rows.0.conv.bias"], []),
        # Convolutions inside a block of several have names of their own.
        (["rows.3.cv1.conv.weight", "rows.21.classes.0.weight", "xrows.0.conv.weight"], []),
        (
            ["rows.10.conv.weight", "rows.2.1.conv.weight", "rows.2.0.conv.weight"],
            ["rows.2.0.conv", "rows.2.1.conv", "rows.10.conv"],
        ),
    ],
)
def test_convolutions(names: list[str], expected: list[str]):
    assert convolutions(names) == expected


def test_layers_are_what_has_a_weight_of_four_axes():
    four = torch.zeros(1, 1, 1, 1)
    state = {
        "vgg.10.weight": four,
        "vgg.10.bias": torch.zeros(1),
        "vgg.2.weight": four,
        "vgg.3.weight": torch.zeros(1),  # of a batch norm
        "loc.0.weight": four,
    }
    assert layers({}, "vgg.") == []
    assert layers(state, "vgg.") == ["vgg.2", "vgg.10"]


def test_pair_renames_weights_and_the_biases_there_are():
    state = {name: torch.tensor(i) for i, name in enumerate(("a.bias", "a.weight", "b.weight"))}
    assert pair(state, [], [], "weights") == {}
    assert pair(state, ["b", "a"], ["rows.0.conv", "rows.1.conv"], "weights") == {
        "rows.0.conv.weight": 2,
        "rows.1.conv.weight": 1,
        "rows.1.conv.bias": 0,
    }


@pytest.mark.parametrize("ours", [[], ["rows.0.conv"], ["rows.0.conv"] * 3])
def test_another_number_of_layers(ours: list[str]):
    message = rf"^SSD head: expected {len(ours)} convolutions, found 2$"
    with pytest.raises(DetectorError, match=message):
        pair({}, ["loc.0", "loc.1"], ours, "SSD head")


def test_patterns_are_replaced_one_after_the_other():
    assert renamed("a.1", ()) == "a.1"
    assert renamed("a.1", (("^a", "b"), (r"b\.(\d)", r"c\1"))) == "c1"


def test_all_are_renamed():
    a, b = torch.ones(1), torch.zeros(1)
    assert rename_all({}, str.lower) == {}
    assert rename_all({"A": a, "b": b}, str.lower) == {"a": a, "b": b}
    with pytest.raises(DetectorError) as caught:
        rename_all({"A": a, "b": b, "a": b}, str.lower)
    assert str(caught.value) == "'A' and 'a' have the same place, 'a'; expected one of them"


def test_outputs_are_counted_on_the_first_axis():
    state = {"empty": torch.zeros(0), "bias": torch.zeros(3), "weight": torch.zeros(16, 3, 1, 1)}
    assert [count_outputs(state, name) for name in state] == [0, 3, 16]
    with pytest.raises(DetectorError) as caught:
        count_outputs({"bias": torch.tensor(1.0)}, "bias")
    assert str(caught.value) == "'bias' is one number, expected one for each output channel"
