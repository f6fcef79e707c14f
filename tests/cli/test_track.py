"""``detect --track`` on videos of two squares that cross, by a network that finds bright pixels."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector import Predictor
from detector.runtime.backends.backend import METADATA_KEY, ModelMetadata
from detector.runtime.backends.seal import SEAL_KEY, UNSEALED, seal
from detector.runtime.sources import frame_of
from detector.structures.preprocess import Preprocess
from detector.utils.errors import DetectorError
from detector.utils.opencv import cv2, write_image

pytest.importorskip("trackers")
onnx = pytest.importorskip("onnx")

Run = Callable[..., Any]
HEIGHT, WIDTH = 96, 160
FRAMES = 60


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with one box for red and one for green: its extent, scored by its brightness."""
    from onnx import TensorProto, helper, numpy_helper

    make, ints = helper.make_node, {"zero": 0, "two": 2, "one": 1}
    constants = {name: np.array([value], np.int64) for name, value in ints.items()}
    constants |= {"sides": np.array([2, 3]), "half": np.float32([0.5]), "eye": np.eye(2, dtype="f")}
    constants["column"] = np.array([0, 2, 1])
    ends = []
    for axis, (flat, low, high) in ((2, "x12"), (3, "y12")):
        name = f"{flat}{low}"
        ends += [
            make("ReduceMax", ["mask", f"axis{axis}"], [f"{name}_any"], keepdims=0),
            make("ArgMax", [f"{name}_any"], [name], axis=2),
            make("ArgMax", [f"{name}_any"], [f"{flat}_last"], axis=2, select_last_index=1),
            make("Add", [f"{flat}_last", "one"], [f"{flat}{high}"]),
        ]
        constants[f"axis{axis}"] = np.array([axis])
    nodes = [
        make("Slice", ["images", "zero", "two", "one"], ["red_green"]),
        make("ReduceMax", ["red_green", "sides"], ["most"]),
        make("Mul", ["most", "half"], ["middle"]),
        make("Greater", ["red_green", "middle"], ["is_bright"]),
        make("Cast", ["is_bright"], ["mask"], to=TensorProto.FLOAT),
        *ends,
        make("Concat", ["x1", "y1", "x2", "y2"], ["corners"], axis=2),
        make("Cast", ["corners"], ["boxes_xyxy"], to=TensorProto.FLOAT),
        make("Squeeze", ["most", "axis3"], ["level"]),
        make("Mul", ["level", "eye"], ["scores"]),
    ]
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "bright",
        [tensor("images", TensorProto.FLOAT, ["batch", 3, HEIGHT, WIDTH])],
        [
            tensor("boxes_xyxy", TensorProto.FLOAT, ["batch", 2, 4]),
            tensor("scores", TensorProto.FLOAT, ["batch", 2, 2]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    metadata = ModelMetadata(
        names=("cat", "dog"), preprocess=Preprocess(size_hw=(HEIGHT, WIDTH)), version="1.0"
    )
    helper.set_model_props(model, {METADATA_KEY: metadata.to_json(), SEAL_KEY: UNSEALED})
    path = tmp_path_factory.mktemp("bright") / "bright.onnx"
    onnx.save(model, str(path))
    seal(path)
    return path


def image(number: int) -> np.ndarray:
    """Red goes right from x = 10, green left from x = 130, 2 px a frame; red is dim for a while."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[20:40, 10 + 2 * number : 30 + 2 * number, 0] = 40 if 20 <= number < 35 else 230
    picture[24:44, 130 - 2 * number : 150 - 2 * number, 1] = 230
    return picture


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    encoder = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (WIDTH, HEIGHT))
    for number in range(FRAMES):
        encoder.write(cv2.cvtColor(image(number), cv2.COLOR_RGB2BGR))
    encoder.release()
    return path


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "detections.jsonl").read_text().splitlines()]


LINE, ZONE = "line:80,0,80,96", "zone:0,0,60,0,60,96,0,96"


def test_the_whole_way(run: Run, bright: Path, clip: Path, tmp_path: Path) -> None:
    words = ("--weights", bright, "--source", clip, "--track", "bytetrack", "--jsonl", "--mot")
    ran = run("detect", *words, "--output", tmp_path / "o", "--count", LINE, "--count", ZONE)
    assert ran.code == 0
    # Downwards, the left of the line is the right of the image: red goes in, green goes out. The
    # centre of red leaves the zone at 60; that of green enters it.
    expected = [
        "tracks in 1 video: 1 cat, 1 dog",
        f"{LINE}: in 1 (1 cat), out 1 (1 dog)",
        f"{ZONE}: in 1 (1 dog), out 1 (1 cat)",
    ]
    lines = ran.out.splitlines()
    assert lines[0] == (
        "bytetrack: boxes from --confidence 0.25 on begin a track, boxes from 0.1 on continue it; "
        "boxes of no track are left out"
    )
    assert lines[-3:] == expected
    assert ran.metrics["tracks"] == {"cat": 1, "dog": 1}
    assert ran.metrics["videos"] == 1
    assert ran.metrics["regions"] == [
        {"region": LINE, "in": {"cat": 1}, "out": {"dog": 1}},
        {"region": ZONE, "in": {"dog": 1}, "out": {"cat": 1}},
    ]
    found = records(tmp_path / "o")
    assert len(found) == FRAMES
    assert found[0]["track_ids"] == []
    assert found[-1]["counts"] == ran.metrics["regions"]
    for record in found[1:]:
        named = dict(zip(record["class_names"], record["track_ids"], strict=True))
        assert sorted(named) == ["cat", "dog"]
        assert named == dict(zip(found[1]["class_names"], found[1]["track_ids"], strict=True))
    dim = [score for record in found[21:34] for score in record["scores"] if score < 0.25]
    assert len(dim) == 13
    mot = (tmp_path / "o" / "mot" / "clip.txt").read_text().splitlines()
    assert len(mot) == 2 * (FRAMES - 1)
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == [
        "clip.mp4", "detections.jsonl", "mot",
    ]  # fmt: skip


@pytest.mark.parametrize("tracker", ["bytetrack", "ocsort", "botsort"])
def test_batches_and_repetition_change_nothing(
    tracker: str, run: Run, bright: Path, clip: Path, tmp_path: Path
) -> None:
    words = ("--weights", bright, "--source", clip, "--track", tracker, "--jsonl", "--no-draw")
    found = []
    for number, batch in enumerate([1, 1, 4]):
        folder = tmp_path / str(number)
        assert run("detect", *words, "--batch", batch, "--output", folder).code == 0
        found.append((folder / "detections.jsonl").read_bytes())
    assert found[0] == found[1] == found[2]


def test_predictor(bright: Path, clip: Path) -> None:
    predictor = Predictor(bright)
    results = list(predictor.track(clip, count=[LINE]))
    assert [len(result.detections) for result in results] == [0, *[2] * (FRAMES - 1)]
    assert dict(results[-1].counts[0].entered) == {"cat": 1}
    assert len(results[40].trails[0].points_xy) == 30
    assert predictor.timing.images == FRAMES
    # Without tracks, this Predictor keeps no low score.
    assert [len(found) for found in predictor(clip)][20:35] == [1] * 15


def test_several_videos_and_a_folder_of_images(
    run: Run, bright: Path, clip: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        (folder / name).write_bytes(clip.read_bytes())
    words = ("--weights", bright, "--track", "bytetrack", "--jsonl", "--no-draw")
    ran = run("detect", *words, "--source", folder, "--output", tmp_path / "o", "--count", LINE)
    assert ran.out.splitlines()[-2:] == [
        "tracks in 2 videos: 2 cat, 2 dog",
        f"{LINE}: in 2 (2 cat), out 2 (2 dog)",
    ]
    found = records(tmp_path / "o")
    first, second = found[:FRAMES], found[FRAMES:]
    assert [one["track_ids"] for one in first] == [one["track_ids"] for one in second]
    assert first[-1]["counts"] == second[-1]["counts"]

    for number in range(10):
        write_image(tmp_path / "walk" / f"{number:03d}.png", image(number))
    ran = run(
        "detect", *words, "--source", tmp_path / "walk", "--output", tmp_path / "w", "--fps", 30,
        "--mot", "--draw",
    )  # fmt: skip
    assert ran.out.splitlines()[-1] == "tracks in 1 video: 1 cat, 1 dog"
    assert sorted(path.name for path in (tmp_path / "w").iterdir()) == [
        "detections.jsonl", "mot", "walk.mp4",
    ]  # fmt: skip
    assert (tmp_path / "w" / "mot" / "walk.txt").is_file()


def test_refusals(fails: Run, bright: Path, clip: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "photos" / "a.png", image(0))
    words = ["--weights", bright, "--output", tmp_path / "o", "--source"]

    def message(*flags: object, source: Path = clip) -> str:
        return fails("detect", *words, source, *flags)

    assert message("--track", "bytetrak") == (
        "--track: expected 'bytetrack', 'ocsort' or 'botsort', found 'bytetrak'"
    )
    assert message("--track", "bytetrack", source=tmp_path / "photos") == (
        f"{tmp_path / 'photos' / 'a.png'}: is an image, expected a video: objects are followed "
        "from frame to frame; fps says that the images of a source are the frames of one video"
    )
    assert message("--track", "ocsort", "--txt") == (
        "--txt: YOLO's lines have no place for the ids of --track; omit it"
    )
    assert message("--track", "ocsort", "--save-labels", "coco") == (
        "--save-labels: labels have no place for the ids of --track; omit it"
    )
    assert message("--track", "ocsort", "--fps", 5) == (
        f"{clip}: is a video, which has a rate of its own, found fps"
    )
    assert message("--track", "ocsort", "--count", "line:1,2,3") == (
        "count: expected line:x1,y1,x2,y2 or zone:x1,y1,x2,y2,x3,y3,..., found 'line:1,2,3'"
    )
    assert message("--track", "ocsort", "--count", "line:500,0,500,9") == (
        "count: line:500,0,500,9 lies outside of frames of 160×96"
    )
    assert message("--track", "ocsort", "--trail", 1001) == (
        "--trail: expected at most 1000, found '1001'"
    )
    for flag, *value in (("--count", LINE), ("--mot",), ("--trail", 5), ("--fps", 5)):
        found = repr(str(value[0])) if value else "True"
        found = f"[{LINE!r}]" if flag == "--count" else found
        assert message(flag, *value).startswith(f"{flag}: has no effect without track, found ")
    assert not (tmp_path / "o" / "detections.jsonl").exists()


def test_a_library_that_is_not_installed(
    fails: Run, bright: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trackers", None)
    words = ("--weights", bright, "--source", clip, "--track", "bytetrack")
    assert fails("detect", *words) == (
        'trackers is not installed; run: pip install "repdet[track]"'
    )


def test_python_refuses_what_the_flags_refuse(bright: Path, clip: Path) -> None:
    predictor = Predictor(bright)
    with pytest.raises(DetectorError, match="^track: expected 'bytetrack', 'ocsort' or 'botsort'"):
        predictor.track(clip, "deepsort")  # type: ignore[arg-type]
    with pytest.raises(DetectorError, match="^image: is an image, expected a video"):
        list(predictor.track([frame_of(image(0))]))
    assert list(predictor.track([])) == []


def test_drawn_frames(run: Run, bright: Path, clip: Path, tmp_path: Path) -> None:
    words = ("--weights", bright, "--source", clip, "--track", "bytetrack", "--count", LINE)
    assert run("detect", *words, "--output", tmp_path).code == 0
    capture = cv2.VideoCapture(str(tmp_path / "clip.mp4"))
    capture.set(cv2.CAP_PROP_POS_FRAMES, 10)
    found, frame = capture.read()
    assert found
    assert frame[60:, 78:83].max() > 100  # the line, where no object is
