"""Batch norms of 1×1 feature maps in a batch of one image: what the error says, and what helps."""

from collections.abc import Callable
from pathlib import Path

import pytest

from detector.engine.head_settings import train_settings
from detector.engine.setup import prepare
from detector.engine.single_values import explain_single_values, rows_of_single_values
from detector.engine.state import Progress
from detector.model.detector import build
from detector.utils.errors import DetectorError

MODEL = """
nc: 2
anchors: [[10, 13], [30, 61]]
imgsz: 32
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 16]]
head:
  - [[0, 1], 1, Detect, [nc, anchors]]
"""


@pytest.fixture
def trains(tmp_path: Path, tiny_data: Path) -> Callable[..., Progress]:
    cfg = tmp_path / "small.yaml"
    cfg.write_text(MODEL)

    def train(**values: object) -> Progress:
        chosen = {"epochs": 1, "workers": 0, "device": "cpu", "pictures": False, **values}
        return prepare(
            train_settings(cfg=str(cfg), data=str(tiny_data), project=tmp_path / "runs", **chosen)
        ).fit()

    return train


def test_what_to_do(trains: Callable[..., Progress]):
    with pytest.raises(DetectorError) as caught:
        trains(batch=1)
    # Strides of 2 and 32: the second row makes 1×1 of 32 px, and 2×2 of 64.
    assert str(caught.value) == (
        "a batch of one image, and row 1 (Conv) makes a 1×1 feature map of 32×32 px: its batch "
        "norm has no statistics of one value; use --batch 2 or more, or --imgsz 64, or --freeze 2, "
        "which holds the statistics of these rows"
    )


@pytest.mark.parametrize(
    "values", [{"batch": 2}, {"batch": 1, "imgsz": 64}, {"batch": 1, "freeze": 2}]
)
def test_each_of_the_ways_works(trains: Callable[..., Progress], values: dict[str, int]):
    assert len(trains(**values).history) == 1


def test_a_set_of_one_image(trains: Callable[..., Progress]):
    with pytest.raises(DetectorError, match="; add images to the split, which has one, or --imgsz"):
        trains(batch=8, limit=1)


def test_a_network_of_fixed_size():
    """SSD300's last map is 1×1, right before the head; another size is none of the ways."""
    model = build("ssd300_vovnet27slim", 2)
    rows = rows_of_single_values(model, (300, 300))
    assert rows == [len(model.rows) - 2]
    assert "--imgsz" not in explain_single_values(model, 5)
