"""Sources of the convolutions behind concatenations, as trained and as deployed."""

from __future__ import annotations

import pytest

from detector.layers.repvgg import randomise_batch_norms
from detector.model.connectivity import Aggregation, aggregations
from detector.model.deploy import fuse_modules
from detector.model.detector import build


def widths_of(name: str, variant: str | None = None) -> dict[str, tuple[int, ...]]:
    model = build(name, 2, variant)
    return {one.path: one.widths for one in aggregations(model, (64, 64))}


def test_one_shot_aggregation() -> None:
    """Each module's input and its five convolutions."""
    assert widths_of("vovnet", "27-slim") == {
        "rows.3.0.concat.conv": (128, *[64] * 5),
        "rows.5.0.concat.conv": (128, *[80] * 5),
        "rows.7.0.concat.conv": (256, *[96] * 5),
        "rows.9.0.concat.conv": (384, *[112] * 5),
    }


def test_dense_blocks() -> None:
    """A layer reads the block's input and all layers before it; a transition reads all of them."""
    found = widths_of("densenet67")
    blocks = ((4, 128, 6, 5), (7, 224, 8, 8), (10, 352, 8, 11), (12, 480, 8, 13))
    expected = {}
    for row, c_in, layers, transition in blocks:
        for layer in range(1, layers):
            expected[f"rows.{row}.{layer}.reduce.conv"] = (c_in, *[16] * layer)
        expected[f"rows.{transition}.conv"] = (c_in, *[16] * layers)
    assert found == expected


def test_cross_stage_partial_blocks_and_rows_of_concat() -> None:
    found = widths_of("yolov5n")
    assert found["rows.2.cv3.conv"] == (16, 16)
    assert found["rows.9.cv2.conv"] == (128, 128, 128, 128)  # pools
    assert found["rows.13.cv1.conv"] == (128, 128)  # upsampled features and those of row 6


@pytest.mark.parametrize("name", ["densenet67", "vovnet"])
def test_the_deployed_form_has_the_same_sources(name: str) -> None:
    model = build(name, 2).eval()
    randomise_batch_norms(model)
    fused = fuse_modules(model)
    trained, deployed = (aggregations(one, (64, 64)) for one in (model, fused))
    assert [one.widths for one in trained] == [one.widths for one in deployed]


def test_weights_are_of_the_network() -> None:
    model = build("vovnet", 2, "27-slim")
    first = aggregations(model, (64, 64))[0]
    weight = model.get_submodule(first.path).weight.detach().abs()  # type: ignore[union-attr]
    expected = [float(part.mean()) for part in weight.split(first.widths, 1)]
    assert first.weights == pytest.approx(expected)
    assert max(first.normalized) == 1


def test_zeros() -> None:
    assert Aggregation("a", (1, 2), (0.0, 0.0)).normalized == (0, 0)
