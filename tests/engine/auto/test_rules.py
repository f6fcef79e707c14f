"""Rules from facts to settings: cases by hand, and what holds for all facts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.engine.auto.choice import Choices
from detector.engine.auto.choose import preset_values
from detector.engine.auto.facts import Facts, Objects
from detector.engine.auto.rules import (
    MIN_IMAGES,
    MIN_STEPS,
    Recipe,
    choose_size_and_step,
    choose_the_rest,
    input_size,
    recipe_of,
    smaller_sides,
    zoom,
)
from detector.engine.head_settings import settings_class
from detector.heads.classify import Classify
from detector.heads.ssd import SSDHead
from detector.heads.yolo import Detect

# BCCD's 205 training images of 640×480: half of the objects have 96 px, all but a twentieth 39.
CELLS_OF_BLOOD = Objects(median_px=96, median=96 / 640, small=39 / 640, image_wh=(640, 480))
BCCD = Facts(images=205, objects=CELLS_OF_BLOOD, size_hw=(640, 640), max_stride=32, cell=8)


def choose(facts: Facts, head: Any = Detect, **given: Any) -> Choices:
    """Return all choices but a measured batch."""
    kind, recipe = settings_class(head), recipe_of(facts)
    preset = preset_values(recipe.name, kind)
    chosen = Choices(given, kind.model_fields)
    choose_size_and_step(facts, recipe, preset["nominal_batch"], chosen)
    choose_the_rest(facts, recipe, preset, chosen)
    return chosen


def test_bccd_gets_the_measured_settings():
    """Two cells of 8 px are 16: 39 px of 640 have them at 263 px, the next step of 64 is 320."""
    chosen = choose(BCCD)
    assert chosen.values() == {
        "imgsz": 320,
        "nominal_batch": 16,
        "epochs": 30,
        "learning_rate": 0.01,
        "warmup_epochs": 1.0,
        "ema_decay": 0.99,
        "ema_warmup": 30.0,
        "mosaic": 0.6,
        "close_mixing": 5,
        "scale": 0.5,
    }
    assert chosen.made["imgsz"].why == (
        "the median object has 96 px in images of 640×480, here 48; 95% have 20 or more, wanted "
        "16: 2 cells of 8"
    )
    assert chosen.made["nominal_batch"].why == "finetune.yaml; 13 steps an epoch"
    assert chosen.made["epochs"].why == (
        "13 steps each; measured from trained weights: 30 epochs, 390 steps"
    )
    assert chosen.made["mosaic"].why == "finetune.yaml"
    assert chosen.made["scale"].why == "the median object, 48 px here, keeps 24"


@pytest.mark.parametrize(
    ("median", "small", "side", "end"),
    [
        # 160 and 100 px: 64 px would do, and half of 640 is the least.
        (160, 100, 320, "; no less than half of the 640 px of the start weights"),
        # 20 px have 16 px at 512.
        (40, 20, 512, ""),
        # 8 px of 640 have 16 at 1280; the median object has 20 there, and 16 at 512.
        (20, 8, 640, "; that of the start weights, 1280 would show 95%"),
        # 10 px have 16 at 1024.
        (10, 4, 1024, "; half of them would be smaller at the 640 px of the start weights"),
        # 5 px would have 16 at 2048.
        (5, 4, 1280, "; 2048 would show half of them, 1280 is the most: see --tiles"),
    ],
)
def test_input_sizes(median: float, small: float, side: int, end: str):
    objects = Objects(median, median / 640, small / 640, (640, 640))
    choice = input_size(replace(BCCD, objects=objects))
    assert choice.value == side
    assert choice.why.endswith(f"2 cells of 8{end}")


@pytest.mark.parametrize(
    ("changes", "value", "why"),
    [
        ({"is_fixed": True, "size_hw": (300, 300)}, 300, "the only size that the network takes"),
        ({"objects": None, "size_hw": (224, 224)}, 224, "that of the start weights"),
        ({"size_hw": (384, 640)}, (384, 640), "that of the start weights"),
        ({"qat": True}, 640, "that of the start weights"),
        ({"tiles": 300}, 320, "tiles of 300 px at their own size"),
        ({"objects": None, "has_weights": False}, 640, "that of the model file"),
    ],
)
def test_inputs_that_objects_do_not_decide(changes: dict[str, Any], value: Any, why: str):
    choice = input_size(replace(BCCD, **changes))
    assert (choice.value, choice.why) == (value, why)


@pytest.mark.parametrize(
    ("images", "per_step", "epochs", "warmup", "closed"),
    [
        # 1 step: 390 epochs, 13 of warm-up, 5 / 30 of 390 = 65 without mixing.
        (1, 8, 390, 13.0, 65),
        # 40 / 8 = 5 steps: 390 / 5 = 78 epochs, 13 / 5 = 2.6, 78 / 6 = 13.
        (40, 8, 78, 2.6, 13),
        # 100 / 8: 13 steps, since 16 a step would make 7.
        (100, 8, 30, 1.0, 5),
        # 128 / 16 = 8 steps are enough: 390 / 8 = 48.75, 13 / 8 = 1.625, 49 / 6 = 8.2.
        (128, 16, 49, 1.6, 8),
        (9_999, 16, 30, 1.0, 5),
        # large.yaml as it is.
        (10_000, 64, 30, 3.0, 10),
    ],
)
def test_steps_of_small_and_large_sets(
    images: int, per_step: int, epochs: int, warmup: float, closed: int
):
    chosen = choose(replace(BCCD, images=images))
    names = ("nominal_batch", "epochs", "warmup_epochs", "close_mixing")
    assert [chosen[name] for name in names] == [per_step, epochs, warmup, closed]


def test_reasons_of_a_small_set():
    chosen = choose(replace(BCCD, images=40))
    assert chosen.made["nominal_batch"].why == (
        "5 steps an epoch; 16 of finetune.yaml would make 3, fewer than 8"
    )
    assert chosen.made["warmup_epochs"].why == "13 steps, as measured with finetune.yaml"
    assert chosen.made["close_mixing"].why == "as 5 of 30 epochs in finetune.yaml"


def test_random_weights():
    """100 epochs of 13 steps were measured with scratch.yaml; objects alone decide on the input.

    100 px of 640 have 16 at 102, and the next step of 64 is 128.
    """
    large = replace(BCCD, has_weights=False, objects=Objects(160, 160 / 640, 100 / 640, (640, 640)))
    assert choose(large)["imgsz"] == 128
    chosen = choose(replace(BCCD, has_weights=False))
    names = ("learning_rate", "epochs", "mosaic", "close_mixing")
    assert [chosen[name] for name in names] == [0.02, 100, 1.0, 10]
    assert choose(replace(BCCD, has_weights=False, images=65))["epochs"] == 145  # 1300 / 9 = 144.4


def test_training_for_int8():
    """The schedule is that of qat.yaml."""
    chosen = choose(replace(BCCD, qat=True))
    names = ("imgsz", "epochs", "learning_rate", "mosaic", "warmup_epochs")
    assert [chosen[name] for name in names] == [640, 4, 0.0005, 0.0, 1.0]
    assert chosen.made["epochs"].why == "qat.yaml"


def test_heads_with_other_settings():
    """SSD has a preset of its own and no mosaic; a classifier has no objects."""
    ssd = replace(BCCD, recipe="train/ssd", is_fixed=True, size_hw=(300, 300))
    chosen = choose(ssd, SSDHead).values()
    assert chosen == {
        "imgsz": 300,
        "nominal_batch": 16,  # 205 / 32 = 6.4: 7 steps
        "epochs": 30,
        "learning_rate": 0.001,
        "momentum": 0.9,
        "weight_decay": 0.0005,
    }
    classifier = replace(BCCD, objects=None, size_hw=(224, 224), images=2000)
    chosen = choose(classifier, Classify).values()
    assert not chosen.keys() & {"mosaic", "close_mixing", "scale"}
    assert (chosen["imgsz"], chosen["epochs"], chosen["learning_rate"]) == (224, 30, 0.01)


def test_given_values_stay_and_others_follow():
    """With 32 images a step, 205 make 7; 60 epochs have 10 without mixing."""
    chosen = choose(BCCD, imgsz=640, batch=32, epochs=60, learning_rate=0.5)
    assert {name for name, one in chosen.made.items() if one.why == "given"} == {
        *("imgsz", "batch", "epochs", "learning_rate"),
    }
    assert chosen["learning_rate"] == 0.5
    assert chosen["warmup_epochs"] == 1.9  # 13 / 7
    assert chosen["close_mixing"] == 10
    assert not chosen.values().keys() & {"imgsz", "batch", "epochs", "learning_rate"}


def test_time_in_place_of_epochs():
    chosen = choose(replace(BCCD, minutes=10))
    assert chosen.made["epochs"].why == "as many as fit into 10 minutes"
    assert "epochs" not in chosen.values()
    rows = [" ".join(line.split()) for line in chosen.table()]
    assert "epochs – as many as fit into 10 minutes" in rows


def test_without_augmentation():
    assert not choose(replace(BCCD, augments=False)).made.keys() & {
        *("mosaic", "close_mixing", "scale"),
    }


def test_a_zoom_that_keeps_small_objects():
    """12 px less a third are 8: a cell. 6 px are less than a cell in any case."""
    objects = Objects(12, 12 / 640, 6 / 640, (640, 640))
    choice = zoom(objects, 8, 640)
    assert (choice.value, choice.why) == (
        0.33,
        "the median object, 12 px here, keeps 8; with 0.5 less than a cell of 8",
    )
    assert zoom(objects, 8, (320, 640)).value == 0.0
    assert zoom(objects, 8, 1280).value == 0.5


def test_recipes():
    assert recipe_of(BCCD) == Recipe(
        "train/finetune", "trained weights, 205 images, fewer than 10000"
    )
    assert recipe_of(replace(BCCD, images=20_000)).name == "train/large"
    assert recipe_of(replace(BCCD, has_weights=False)).why.startswith("random weights, ")
    assert Recipe("cfg/train/own.yaml", "").file == "own.yaml"


def test_smaller_inputs():
    """640 · 0.75 = 480, 360 → 352, 264 → 256, 192, 144 → 128, 96, 72 → 64, 48 → 32."""
    assert smaller_sides(640, 32) == [480, 352, 256, 192, 128, 96, 64, 32]
    assert smaller_sides(32, 32) == smaller_sides(64, 64) == []


SHARES = st.floats(0.001, 1)
STRIDES = st.sampled_from([8, 16, 32, 64])


@given(SHARES, SHARES, STRIDES, st.integers(1, 128))
def test_inputs_that_a_network_and_a_setting_take(one, other, stride, cells):
    """A multiple of the stride, within bounds; smaller objects never make it smaller."""
    small, median = sorted((one, other))
    own = max(stride * cells, 32)
    facts = replace(BCCD, size_hw=(own, own), max_stride=stride, cell=max(stride // 4, 4))

    def side(factor: float) -> int:
        objects = Objects(100, median * factor, small * factor, (640, 480))
        return int(input_size(replace(facts, objects=objects)).value)

    assert side(1) % stride == 0
    assert 32 <= side(1) <= 8192
    assert side(1) <= max(own, 1280)
    assert side(0.5) >= side(1)


@given(st.integers(1, 200_000), st.integers(0, 200_000), st.booleans())
def test_steps_are_never_fewer_than_measured(images, more, has_weights):
    """More images never make smaller steps, nor more epochs of steps of one size."""
    few, many = (
        choose(replace(BCCD, images=number, has_weights=has_weights))
        for number in (images, images + more)
    )
    assert many["epochs"] >= (30 if has_weights else 100)
    assert few["epochs"] >= many["epochs"] or few["nominal_batch"] < many["nominal_batch"]
    assert MIN_IMAGES <= few["nominal_batch"] <= many["nominal_batch"] <= 64
    steps = -(-images // few["nominal_batch"])
    assert steps >= MIN_STEPS or few["nominal_batch"] == MIN_IMAGES
    assert steps * few["epochs"] >= (390 if has_weights else 1300)
    kind = settings_class(Detect)
    assert kind(**few.values()).epochs == few["epochs"]  # the settings take all values
