"""From frames to detections: coordinates, batches, laziness, timing."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from detector.runtime.pipeline import Pipeline, Timing
from detector.runtime.sources import frames_of, open_source
from detector.settings.nms import NmsSettings
from detector.structures.preprocess import Preprocess
from detector.utils.errors import DetectorError
from tests.runtime.conftest import FakeBackend, FakeClassifier, grey

ROOT = Path(__file__).resolve().parents[2]
WHITE = 255


def run(images, backend=None, batch=1, **options):
    pipe = Pipeline(backend or FakeBackend(), NmsSettings(**options), batch)
    return [result.detections for result in pipe(frames_of(images))]


def test_no_frames():
    pipe = Pipeline(FakeBackend(), NmsSettings())
    assert list(pipe([])) == []
    assert pipe.timing.images == 0


def test_an_image_of_the_inputs_size():
    (found,) = run([grey(WHITE)])
    assert found.boxes_xyxy.tolist() == [[0, 0, 10, 10], [40, 8, 60, 24]]
    assert found.scores == pytest.approx([0.9, 0.7])
    assert found.class_ids.tolist() == [0, 1]
    assert found.names == ("cat", "dog")
    assert found.boxes_xyxy.dtype == np.float32


def test_boxes_come_back_to_the_images_pixels():
    # 64×64 → letterboxed into 32×64 by the factor 1/2, 16 columns of padding on either side:
    # x = (x_input - 16) · 2, y = y_input · 2, clipped to the image. The brightness falls to
    # (255 + 114) / 2 / 255 = 0.7235, the scores to 0.651 and 0.506.
    (found,) = run([grey(WHITE, (64, 64))])
    assert found.boxes_xyxy.tolist() == [[0, 0, 0, 20], [48, 16, 64, 48]]
    assert found.scores == pytest.approx([0.9 * 0.7235, 0.7 * 0.7235], abs=1e-4)


def test_nothing_found():
    (found,) = run([grey(0)])
    assert len(found) == 0
    assert found.boxes_xyxy.shape == (0, 4)


def test_settings_reach_the_nms():
    assert len(run([grey(WHITE)], iou=0.95)[0]) == 3
    assert len(run([grey(WHITE)], max_detections=1)[0]) == 1
    assert run([grey(WHITE)], classes=(1,))[0].class_ids.tolist() == [1]
    # Three boxes × two classes, the lowest score 0.1.
    assert len(run([grey(WHITE)], multi_label=True, confidence=0.05, iou=1)[0]) == 6


@pytest.mark.parametrize("class_id", [-1, 2])
def test_a_class_that_the_model_does_not_have(class_id):
    with pytest.raises(DetectorError) as caught:
        Pipeline(FakeBackend(), NmsSettings(classes=(class_id,)))
    assert str(caught.value) == f"class {class_id}: the model has classes 0 to 1"


@pytest.mark.parametrize(
    ("fixed", "batch", "shapes"),
    [
        (None, 1, [1, 1, 1, 1, 1]),
        (None, 2, [2, 2, 1]),
        (None, 8, [5]),
        (1, 8, [1, 1, 1, 1, 1]),
        (3, 1, [3, 3]),  # the last batch is filled up
    ],
)
def test_batches(fixed, batch, shapes):
    backend = FakeBackend(fixed)
    levels = (255, 250, 245, 240, 235)
    found = run([grey(level) for level in levels], backend, batch)
    assert [shape[0] for shape in backend.shapes] == shapes
    assert {shape[1:] for shape in backend.shapes} == {(3, 32, 64)}
    expected = [0.9 * level / 255 for level in levels]
    assert [float(one.scores[0]) for one in found] == pytest.approx(expected, abs=1e-5)


def test_images_of_different_sizes_share_a_batch():
    sizes = [(32, 64), (64, 64), (10, 300)]
    alone = [run([grey(WHITE, size)])[0] for size in sizes]
    together = run([grey(WHITE, size) for size in sizes], batch=3)
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.boxes_xyxy, other.boxes_xyxy)
        assert one.scores == pytest.approx(other.scores, abs=1e-6)


def test_few_frames_are_taken_before_their_results_are_asked_for():
    taken = []

    def frames():
        for index, frame in enumerate(frames_of([grey(WHITE)] * 40)):
            taken.append(index)
            yield frame

    results = Pipeline(FakeBackend(), NmsSettings(), batch=2)(frames())
    assert taken == []
    for number in range(1, 5):
        next(results)
        time.sleep(0.02)  # enough for all forty, if nothing held them back
        # The batch in hand, one in the network, one that is read.
        assert len(taken) <= 2 * (math.ceil(number / 2) + 2)


@pytest.mark.parametrize("parallel", [1, 3])
def test_results_come_in_order_from_any_thread(parallel):
    class Uneven(FakeBackend):
        def __call__(self, images):
            time.sleep(0.01 * (self.running.pop() if self.running else 0))
            return super().__call__(images)

    backend = Uneven()
    backend.running = [0, 1, 0, 2, 0, 0, 3]  # hundredths of a second, from the end
    levels = range(140, 255, 10)
    results = Pipeline(backend, NmsSettings(), parallel=parallel)(frames_of(map(grey, levels)))
    found = [round(float(result.detections.scores[0]) / 0.9 * 255) for result in results]
    assert found == list(levels)


def test_stages_overlap():
    """Reading, the network and the caller take 20 ms each: an image comes every 20 ms, not 60."""

    class Slow(FakeBackend):
        def __call__(self, images):
            time.sleep(0.02)
            return super().__call__(images)

    def frames():
        for frame in frames_of([grey(WHITE)] * 10):
            time.sleep(0.02)
            yield frame

    pipe = Pipeline(Slow(), NmsSettings())
    for _ in pipe(frames()):
        time.sleep(0.02)
    assert pipe.timing.seconds["decode"] >= 0.2
    assert pipe.timing.seconds["network"] >= 0.2
    assert 0.2 <= pipe.timing.wall_seconds < 0.45  # 0.24 on an idle machine, 0.6 one by one
    assert pipe.timing.wall_ms_per_image() == pipe.timing.wall_seconds * 100


class Broken(FakeBackend):
    def __call__(self, images):
        raise DetectorError("the network fails")


def test_errors_of_the_network_reach_the_caller():
    with pytest.raises(DetectorError, match="^the network fails$"):
        run([grey(WHITE)] * 5, Broken())


def test_errors_of_the_source_come_after_the_results_before_them():
    def frames():
        yield from frames_of([grey(WHITE)] * 3)
        raise DetectorError("the source fails")

    results = Pipeline(FakeBackend(), NmsSettings())(frames())
    assert [result.name for result in islice(results, 3)] == ["image0", "image1", "image2"]
    with pytest.raises(DetectorError, match="^the source fails$"):
        next(results)


def test_errors_of_the_nms_reach_the_caller():
    class Fails(FakeBackend):
        def postprocess(self, outputs, settings):
            raise DetectorError("the NMS fails")

    with pytest.raises(DetectorError, match="^the NMS fails$"):
        list(Pipeline(Fails(), NmsSettings())(frames_of([grey(WHITE)] * 3)))


@pytest.mark.parametrize("parallel", [1, 3])
@pytest.mark.parametrize("ends", ["close", "error", "exhausted"])
def test_no_thread_is_left_behind(parallel, ends):
    before = threading.active_count()
    pipe = Pipeline(FakeBackend(), NmsSettings(), parallel=parallel)
    results = pipe(frames_of([grey(WHITE)] * 20))
    next(results)
    assert threading.active_count() > before
    if ends == "close":
        results.close()
    elif ends == "error":
        with pytest.raises(ValueError):
            results.throw(ValueError())
    else:
        list(results)
    assert threading.active_count() == before


def test_ctrl_c_ends_a_run(tmp_path):
    """In a process of its own: the signal comes while the caller waits for the network."""
    program = (
        "import itertools, signal, threading, time, os\n"
        "from detector.runtime.pipeline import Pipeline\n"
        "from detector.runtime.sources import frames_of\n"
        "from detector.settings.nms import NmsSettings\n"
        "from tests.runtime.conftest import FakeBackend, grey\n"
        "class Slow(FakeBackend):\n"
        "    def __call__(self, images):\n"
        "        time.sleep(0.5)\n"
        "        return super().__call__(images)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job of a shell ignores it
        "threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "try:\n"
        "    list(Pipeline(Slow(), NmsSettings())(frames_of(itertools.repeat(grey(9)))))\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', threading.active_count())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.stdout, done.stderr) == ("interrupted 1\n", "")


def test_rectangles_of_one_size_share_a_batch():
    backend = FakeBackend()
    backend.preprocess = Preprocess(size_hw=(32, 64)).with_rectangle(16)
    # 16×64 and 20×64 fit as they are; 20 rows are padded to 32. 64×64 becomes 32×32.
    sizes = [(16, 64), (16, 64), (16, 64), (20, 64), (32, 64), (64, 64)]
    found = run([grey(WHITE, size) for size in sizes], backend, batch=2)
    assert backend.shapes == [(2, 3, 16, 64), (1, 3, 16, 64), (2, 3, 32, 64), (1, 3, 32, 32)]
    assert [len(one) for one in found] == [2] * 6


def test_a_result_knows_its_image(image_folder):
    results = list(Pipeline(FakeBackend(), NmsSettings())(open_source(image_folder)))
    assert [result.name for result in results] == ["a", "b", "c"]
    assert [result.path for result in results] == sorted(image_folder.iterdir())
    assert results[2].image_rgb.tolist() == grey(WHITE).tolist()
    # b: 0.9 · 128 / 255 = 0.45; c: 0.9 and 0.7.
    assert [len(result.detections) for result in results] == [0, 2, 2]


def test_a_backend_owns_its_nms():
    class First(FakeBackend):
        def postprocess(self, outputs, settings):
            boxes, scores = outputs
            return boxes[:1], scores[:1, 0], np.zeros(1, np.int64)

    pipe = Pipeline(First(), NmsSettings())
    assert [len(result.detections) for result in pipe(frames_of([grey(0)]))] == [1]


def test_time_of_each_phase():
    class Slow(FakeBackend):
        def __call__(self, images):
            time.sleep(0.02)
            return super().__call__(images)

    pipe = Pipeline(Slow(), NmsSettings(), batch=2)
    list(pipe(frames_of([grey(WHITE)] * 4)))
    assert pipe.timing.images == 4
    assert 0.04 <= pipe.timing.seconds["network"] < pipe.timing.wall_seconds
    assert pipe.timing.ms_per_image()["network"] == pipe.timing.seconds["network"] * 250
    assert all(0 < pipe.timing.seconds[phase] < 0.04 for phase in ("decode", "preprocess", "nms"))


def test_time_of_several_threads():
    """Each adds to what the others have added: reading and writing a sum are two steps."""

    class Slow(dict):
        def __getitem__(self, phase):
            found = super().__getitem__(phase)
            time.sleep(0.001)
            return found

    timing = Timing(seconds=Slow(network=0.0))

    def work(_):
        with timing.measure("network"):
            time.sleep(0.01)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(8)))
    assert timing.seconds["network"] >= 0.08


def test_time_of_nothing():
    assert Timing().ms_per_image() == {"decode": 0, "preprocess": 0, "network": 0, "nms": 0}
    assert Timing().wall_ms_per_image() == 0


@pytest.mark.parametrize("batch_size", [None, 2])
def test_a_classifier_gives_classes(batch_size):
    pipe = Pipeline(FakeClassifier(batch_size), NmsSettings(confidence=0.99), batch=2)
    results = list(pipe(frames_of([grey(0), grey(WHITE), grey(51)])))
    # 51 / 255 = 0.2; thresholds are for boxes
    assert [result.prediction.class_names for result in results] == [["cat"], ["dog"], ["cat"]]
    assert results[2].prediction.scores == pytest.approx([0.8, 0.2])
    assert results[2].prediction.names == ("cat", "dog")
    with pytest.raises(DetectorError) as caught:
        _ = results[0].detections
    assert str(caught.value) == "the network classifies: it finds no boxes"
