"""Models that can be compared, and those that cannot."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from detector.evaluation.contenders import Contender, check_number, networks_of
from detector.utils import system
from detector.utils.errors import DetectorError


def contender(name: str, *names: str, task: str = "detect") -> Contender:
    backend: Any = SimpleNamespace(task=task, names=names)
    return Contender(name, Path(name), backend)


def test_the_same_classes_in_any_order_and_case():
    models = [contender("a", "cat", "Dining Table"), contender("b", "dining_table", "cat")]
    predictions = Contender("p.json", Path("p.json"), None)
    assert networks_of([predictions, *models]) == [model.backend for model in models]
    assert networks_of([predictions]) == []


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (("cat",), "b: its classes are not those of a: it lacks 'dog'"),
        (("cat", "dog", "cow"), "b: its classes are not those of a: it adds 'cow'"),
        (("cat", "cow"), "b: its classes are not those of a: it lacks 'dog' and adds 'cow'"),
        (
            ("cat", "dog", *"123456"),
            "b: its classes are not those of a: it adds '1', '2', '3', '4', '5' and 1 more",
        ),
    ],
)
def test_other_classes(other: tuple[str, ...], message: str):
    with pytest.raises(DetectorError) as caught:
        networks_of([contender("a", "cat", "dog"), contender("b", *other)])
    assert str(caught.value) == message


def test_another_task():
    with pytest.raises(DetectorError) as caught:
        networks_of([contender("a", "cat"), contender("b", "cat", task="classify")])
    assert str(caught.value) == "b: classifies images, a finds boxes"


@pytest.mark.parametrize(
    ("models", "found"), [((), "0"), (("a.onnx",), "1, a.onnx"), (("x",) * 27, "27")]
)
def test_numbers_of_models(models: tuple[str, ...], found: str):
    with pytest.raises(DetectorError) as caught:
        check_number(models)
    assert str(caught.value) == f"expected two models or more, up to 26, found {found}"
    check_number(("x",) * 26)


def test_several_processes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(system, "world_size", lambda: 2)
    with pytest.raises(DetectorError, match="run it without torchrun"):
        check_number(("a", "b"))
