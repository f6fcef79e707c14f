"""Top-1 and top-5, by hand."""

import json

import numpy as np
import pytest

from detector.evaluation.classification import ClassificationEvaluator
from detector.evaluation.coco import CocoEvaluator
from detector.evaluation.run import choose_metric
from detector.structures.classification import Classification
from detector.utils.errors import DetectorError

NAMES = ("a", "b", "c", "d", "e", "f")


def ground_truth(*kinds: int, names: tuple[str, ...] = NAMES) -> dict:
    """Image n has the class ``kinds[n − 1]``; category ids are class numbers plus 1."""
    return {
        "annotations": [{"image_id": n, "category_id": k + 1} for n, k in enumerate(kinds, 1)],
        "categories": [{"id": n, "name": name} for n, name in enumerate(names, 1)],
    }


def evaluator(*kinds: int, names: tuple[str, ...] = NAMES) -> ClassificationEvaluator:
    ids = range(1, len(kinds) + 1)
    return ClassificationEvaluator(ground_truth(*kinds, names=names), range(1, len(names) + 1), ids)


def ranked(*order: int, names: tuple[str, ...] = NAMES) -> Classification:
    """All classes, the first one the most probable."""
    probabilities = np.zeros(len(names), np.float32)
    probabilities[list(order)] = np.linspace(1, 0.1, len(order))
    return Classification.of(probabilities, names)


def test_no_image():
    metrics = evaluator().compute()
    assert metrics.summary == {"top1": -1, "top5": -1}
    assert metrics.per_class == dict.fromkeys(NAMES, -1)


def test_by_hand():
    found = evaluator(0, 0, 1, 5)
    found.add(1, ranked(0, 1, 2, 3, 4, 5))  # right
    found.add(2, ranked(1, 2, 3, 4, 0, 5))  # fifth
    found.add(3, ranked(1, 0, 2, 3, 4, 5))  # right
    found.add(4, ranked(0, 1, 2, 3, 4, 5))  # sixth
    metrics = found.compute()
    assert metrics.summary == {"top1": 0.5, "top5": 0.75}
    assert metrics.per_class == {"a": 0.5, "b": 1, "c": -1, "d": -1, "e": -1, "f": 0}
    assert metrics.to_dict() == {**metrics.summary, "per_class": metrics.per_class}
    assert json.loads(json.dumps(found.results))[1]["category_ids"] == [2, 3, 4, 5, 1]


def test_top5_of_fewer_than_five_classes_is_always_right():
    names = ("a", "b", "c")
    found = evaluator(0, 1, names=names)
    found.add(1, ranked(2, 1, 0, names=names))
    found.add(2, ranked(1, 0, 2, names=names))
    assert found.compute().summary == {"top1": 0.5, "top5": 1}


def test_an_image_without_a_result_is_wrong_and_others_do_not_count():
    found = ClassificationEvaluator(ground_truth(0, 0, 0), range(1, 7), [1, 2])
    found.add(1, ranked(0, 1, 2, 3, 4, 5))
    assert found.compute().summary == {"top1": 0.5, "top5": 0.5}
    found.reset()
    assert found.compute().summary == {"top1": 0, "top5": 0}


def test_a_class_that_the_model_lacks_is_always_wrong():
    # The model knows f and a; the ground truth also has c, which it does not know.
    found = ClassificationEvaluator(ground_truth(2, 0), [6, 1], [1, 2])
    found.add(1, ranked(1, 0, names=("f", "a")))
    found.add(2, ranked(1, 0, names=("f", "a")))
    assert found.compute().summary == {"top1": 0.5, "top5": 0.5}


def test_metrics_by_task():
    assert choose_metric("detect", None) is CocoEvaluator
    assert choose_metric("classify", None) is ClassificationEvaluator
    assert choose_metric("classify", "accuracy") is ClassificationEvaluator
    for task, name, known in (
        ("classify", "coco", "accuracy"),
        ("detect", "accuracy", "coco or voc07 or voc10"),
    ):
        with pytest.raises(DetectorError) as caught:
            choose_metric(task, name)
        message = f"--metric {name} is not a metric of task {task!r}; expected {known}"
        assert str(caught.value) == message
