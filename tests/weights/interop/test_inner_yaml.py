"""The YAML inside a checkpoint as a model file; rows get the ε that their batch norms have."""

from pathlib import Path

import pytest

from detector.weights.interop.inner_yaml import model_file_text

CONV = [-1, 1, "Conv", [8, 3]]


def text(content: dict, settings: dict) -> str:
    return model_file_text(content, settings, Path("a.pt"))


def test_rows_stand_on_a_line_each():
    assert text({}, {}) == ""
    content = {"nc": 2, "inplace": True, "backbone": [CONV], "head": [[[-1, 0], 1, "X", []]]}
    assert text(content, {}) == (
        "nc: 2\nbackbone:\n  - [-1, 1, Conv, [8, 3]]\nhead:\n  - [[-1, 0], 1, X, []]\n"
    )


@pytest.mark.parametrize(
    ("row", "settings", "expected"),
    [
        (CONV, {}, CONV),
        (CONV, {"rows.1.bn.eps": 1e-3}, CONV),  # what a Conv has by itself
        (CONV, {"rows.1.bn.eps": 0.5}, [-1, 1, "Conv", {"eps": 0.5, "c_out": 8, "kernel": 3}]),
        (CONV, {"rows.11.bn.eps": 0.5, "rows.1.bn.steps": 0.5}, CONV),
        (
            [-1, 2, "RepVGGBlock", [8]],
            {"rows.1.0.bn.eps": 1e-3, "rows.1.1.bn.eps": 1e-3},
            [-1, 2, "RepVGGBlock", {"eps": 1e-3, "c_out": 8}],
        ),
        (
            [-1, 2, "RepVGGBlock", {"c_out": 8}],
            {"rows.1.0.bn.eps": 1e-3, "rows.1.1.bn.eps": 1e-3},
            [-1, 2, "RepVGGBlock", {"eps": 1e-3, "c_out": 8}],
        ),
        # Two of them in one row, a block that takes none, and what the check of the rows refuses.
        ([-1, 2, "Conv", [8]], {"rows.1.0.eps": 1e-3, "rows.1.1.eps": 1e-5}, [-1, 2, "Conv", [8]]),
        ([-1, 1, "C3", [8]], {"rows.1.cv1.bn.eps": 0.5}, [-1, 1, "C3", [8]]),
        ([-1, 1, "Conv", list(range(99))], {"rows.1.bn.eps": 0.5}, None),
        ([-1, 1, "Conv", {"x": 1}], {"rows.1.bn.eps": 0.5}, None),
        ([-1, 1, "Conv", 8], {"rows.1.bn.eps": 0.5}, None),
        ([-1, 1, ["Conv"], [8]], {"rows.1.bn.eps": 0.5}, None),
        ([-1, 1, "Other", [8]], {"rows.1.bn.eps": 0.5}, None),
        ("Conv", {"rows.1.eps": 0.5}, None),
    ],
)
def test_the_eps_of_a_row(row: object, settings: dict, expected: object):
    rows = text({"backbone": [CONV], "head": [row]}, settings)
    assert rows == text({"backbone": [CONV], "head": [expected or row]}, {})
