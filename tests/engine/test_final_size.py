"""A larger input in the last epochs."""

from __future__ import annotations

import pytest

from detector.evaluation.run import evaluate
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import load
from tests.engine.conftest import digest

SIZES = {"imgsz": 64, "final_imgsz": 96, "final_epochs": 1}


def test_sizes_of_the_batches(start, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = start("run", **SIZES)
    sizes: list[tuple[int, ...]] = []
    normalize = trainer.state.raw_model.normalize
    trainer.state.raw_model.normalize = lambda images: (
        sizes.append(tuple(images.shape[2:])) or normalize(images)
    )
    measured: list[tuple[int, int]] = []

    def measure(backend, *args, **values):
        measured.append(backend.preprocess.size_hw)
        return evaluate(backend, *args, **values)

    monkeypatch.setattr("detector.engine.trainer.evaluate", measure)
    trainer.fit()
    assert sizes == [(64, 64)] * 6 + [(96, 96)] * 3
    assert measured == [(96, 96)]
    assert load(trainer.run.best).preprocess.size_hw == (96, 96)


def test_boxes_are_shrunk_with_their_image(start) -> None:
    trainer = start("run", augment=False, **SIZES)
    trainer.loader.batch_sampler.set_epoch(0)
    batch = next(iter(trainer.loader))
    small = trainer.resize(batch, 0, 0)
    assert batch.images.shape[2:] == (96, 96)
    assert small.images.shape[2:] == (64, 64)
    expected = (batch.targets.boxes_xyxy * (64 / 96)).flatten().tolist()
    assert small.targets.boxes_xyxy.flatten().tolist() == pytest.approx(expected)
    assert trainer.resize(batch, 2, 0) is batch


def test_resumed(start, resume) -> None:
    whole = start("whole", **SIZES)
    whole.fit()
    cut = start("cut", **SIZES)
    for _ in cut.train_epoch():
        pass
    cut.end_epoch()
    again = resume("cut")
    assert again.settings.imgsz == 64
    again.fit()
    assert digest(again) == digest(whole)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"final_epochs": 1}, "final_epochs: has no effect without final_imgsz, found 1"),
        ({"final_imgsz": 96, "final_epochs": 1}, "--final-imgsz needs --imgsz"),
        ({"imgsz": 64, "final_imgsz": 96}, "--final-imgsz needs --final-epochs"),
        ({**SIZES, "final_imgsz": 64}, "--final-imgsz is that of all epochs, --imgsz 64"),
        ({**SIZES, "final_epochs": 3}, "--final-epochs 3: expected fewer than --epochs 3"),
        ({**SIZES, "multi_scale": 0.5}, "--final-imgsz does not go with --multi-scale"),
        (
            {**SIZES, "final_imgsz": 100},
            "imgsz 100 is not a multiple of the network's stride 16; the nearest is 96",
        ),
    ],
)
def test_values_that_do_not_fit(start, tmp_path, values: dict, message: str) -> None:
    with pytest.raises(DetectorError) as caught:
        start("run", **values)
    assert str(caught.value) == message
    assert not (tmp_path / "run").exists()
