"""Unique names."""

from detector.utils.unique_names import UniqueNames


def test_names_differ_in_more_than_case():
    names = UniqueNames()
    assert [names.unused(name) for name in ("bus", "Bus", "bus_2", "bus", "car")] == [
        "bus",
        "Bus_2",
        "bus_2_2",
        "bus_3",
        "car",
    ]


def test_many_equal_names_take_linear_time():
    names = UniqueNames()
    found = [names.unused("a") for _ in range(20_000)]
    assert (found[-1], len(set(found))) == ("a_20000", 20_000)
