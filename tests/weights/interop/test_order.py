"""Networks of one architecture correspond layer by layer, in the order they are built in."""

import pytest
import torch

from detector.utils.errors import DetectorError
from detector.weights.interop.order import convolutions, layers, natural, pair


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
