"""``detect``: pictures, txt files and JSON lines of images whose objects are known."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.cli import run_tool
from detector.cli.detect import _check_complete, _report
from detector.runtime.pipeline import Timing
from detector.runtime.sources import open_source
from detector.settings.detect import DetectSettings
from detector.utils.errors import DetectorError
from detector.utils.opencv import cv2, read_image

RED_SCORE, GREEN_SCORE = 0.999973, 0.986776
"""σ(20 − 80 · 30/255) · σ(20 · 170/255) and σ(20 − 80 · 50/255) · σ(20 · 140/255)."""
FOUND = {
    "a": [("red", [0, 0, 16, 16])],
    "b": [("green", [32, 16, 48, 32])],
    "c": [("red", [48, 48, 64, 64]), ("green", [0, 32, 16, 48])],
    "d": [("red", [32, 0, 64, 32])],
    "e": [],
}
Run = Callable[..., Any]


def records(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def check_boxes(file: Path) -> None:
    """Every square, and nothing else; the boxes come back from the network as they went in.

    The network computes them in float32 at sizes up to 128: steps of 8e-6 pixels, rounded to
    3 digits in the file.
    """
    found = records(file)
    assert [record["name"] for record in found] == list(FOUND)
    for record in found:
        expected = FOUND[record["name"]]
        assert record["class_names"] == [name for name, _ in expected]
        boxes = np.array(record["boxes_xyxy"]).reshape(-1, 4)
        np.testing.assert_allclose(
            boxes, np.array([box for _, box in expected]).reshape(-1, 4), atol=1e-3
        )
        scores = [RED_SCORE if name == "red" else GREEN_SCORE for name, _ in expected]
        np.testing.assert_allclose(record["scores"], scores, atol=2e-6)


def test_all_writers(run: Run, finder: Path, finder_images: Path, tmp_path: Path):
    words = ("--weights", finder, "--source", finder_images, "--output", tmp_path / "out")
    ran = run("detect", *words, "--txt", "--jsonl")
    assert ran.code == 0
    assert ran.metrics.pop("ms_per_image").keys() == {"decode", "preprocess", "network", "nms"}
    assert ran.metrics.pop("wall_ms_per_image") > 0
    assert ran.metrics == {
        "images": 5,
        "skipped": 0,
        "incomplete": 0,
        "counts": {"red": 3, "green": 2},
        "output": str(tmp_path / "out"),
    }
    first, second, third = ran.out.splitlines()
    assert first == "5 images: 3 red, 2 green"
    assert second.startswith("ms per image: decode ")
    assert third == f"results: {tmp_path / 'out'}"
    assert ran.err == ""
    check_boxes(tmp_path / "out" / "detections.jsonl")


def test_pictures_and_txt_files(run: Run, finder: Path, finder_images: Path, tmp_path: Path):
    words = ("--weights", finder, "--source", finder_images, "--output", tmp_path)
    assert run("detect", *words, "--txt-scores").code == 0
    drawn = sorted(path.name for path in tmp_path.glob("*.png"))
    assert drawn == [f"{name}.png" for name in FOUND]
    for name, objects in FOUND.items():
        before, after = (read_image(f / f"{name}.png") for f in (finder_images, tmp_path))
        assert before.shape == after.shape
        assert (before != after).any() == bool(objects)
    # d is 128 wide and 64 high: centre 48 and 16, sides of 32.
    assert (tmp_path / "labels" / "d.txt").read_text() == (
        f"0 {48 / 128:.6f} {16 / 64:.6f} {32 / 128:.6f} {32 / 64:.6f} {RED_SCORE}\n"
    )
    assert (tmp_path / "labels" / "e.txt").read_text() == ""
    assert not (tmp_path / "detections.jsonl").exists()


@pytest.mark.parametrize("weights", ["finder", "finder_onnx", "finder_pt2"])
@pytest.mark.parametrize("batch", [1, 4])
def test_every_kind_of_file_finds_the_same(
    weights: str,
    batch: int,
    run: Run,
    finder_images: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
):
    file = request.getfixturevalue(weights)
    words = ("--weights", file, "--source", finder_images, "--batch", batch, "--no-draw")
    ran = run("detect", *words, "--jsonl", "--output", tmp_path)
    assert ran.metrics["counts"] == {"red": 3, "green": 2}
    check_boxes(tmp_path / "detections.jsonl")
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".png"] == []


@pytest.mark.parametrize(
    ("words", "counts"),
    [
        (["--classes", "green"], {"green": 2}),
        (["--classes", "1"], {"green": 2}),
        (["--classes", "green,red"], {"red": 3, "green": 2}),
        (["--confidence", "0.99"], {"red": 3}),
        (["--confidence", "1"], {}),
        (["--max-detections", "1"], {"red": 3, "green": 1}),
    ],
)
def test_what_is_kept(
    words: list[str],
    counts: dict[str, int],
    run: Run,
    finder: Path,
    finder_images: Path,
    tmp_path: Path,
):
    where = ("--weights", finder, "--source", finder_images, "--no-draw", "--output", tmp_path)
    ran = run("detect", *where, *words)
    assert ran.metrics["counts"] == counts
    assert ran.out.startswith("5 images: " + ("" if counts else "nothing\n"))
    assert "results:" not in ran.out


def test_overlap(run: Run, finder: Path, finder_images: Path, tmp_path: Path):
    """At a low confidence the second anchor's boxes appear; IoU and classes decide how many."""
    where = ("--weights", finder, "--source", finder_images / "e.png", "--no-draw")
    few = ("--confidence", "0.001", "--output", tmp_path)
    every = run("detect", *where, *few, "--iou", "1").metrics["counts"]
    assert sum(every.values()) == 16  # one a cell
    some = run("detect", *where, *few, "--iou", "0.3").metrics["counts"]
    assert 0 < sum(some.values()) < 16


def test_another_size(run: Run, finder: Path, tmp_path: Path, finder_images: Path):
    """At 128 pixels the squares of ``d`` (32 pixels, no longer halved) fill four cells."""
    where = ("--weights", finder, "--source", finder_images / "d.png", "--no-draw")
    ran = run("detect", *where, "--imgsz", 128, "--output", tmp_path)
    assert ran.metrics["counts"] == {"red": 4}


def test_sources(run: Run, finder: Path, finder_images: Path, tmp_path: Path):
    listed = tmp_path / "list.txt"
    listed.write_text(f"{finder_images / 'a.png'}\n\n{finder_images / 'b.png'}\n")
    for source, images in (
        (finder_images / "c.png", 1),
        (finder_images / "[ab].png", 2),
        (listed, 2),
    ):
        words = ("--weights", finder, "--source", source, "--no-draw", "--output", tmp_path)
        assert run("detect", *words).metrics["images"] == images


def outputs(folder: Path) -> dict[str, bytes]:
    """The files of a folder by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_parts_make_up_the_whole(run: Run, finder: Path, finder_images: Path, tmp_path: Path):
    """Pictures, txt files and JSON lines of three processes are those of one, also where two
    images in different parts have one name."""
    images = tmp_path / "images"
    shutil.copytree(finder_images, images)
    shutil.copy(images / "c.png", images / "d.bmp.png")
    shutil.copy(images / "a.png", images / "D.png")
    words = ("--weights", finder, "--source", images, "--txt", "--jsonl", "--output")
    assert run("detect", *words, tmp_path / "whole").code == 0
    counts = []
    for number in (3, 1, 2):  # whichever ends last puts the lines together
        ran = run("detect", *words, tmp_path / "parts", "--shard", f"{number}/3")
        assert ran.out.startswith(f"shard {number}/3: ")
        counts.append(ran.metrics["images"])
        merged = (tmp_path / "parts" / "detections.jsonl").exists()
        assert merged == (number == 2)
    assert counts == [3, 2, 2]
    assert outputs(tmp_path / "parts") == outputs(tmp_path / "whole")


def test_parts_under_torchrun(
    run: Run, finder_onnx: Path, finder_images: Path, tmp_path: Path, monkeypatch
):
    monkeypatch.setenv("WORLD_SIZE", "2")
    words = ("--weights", finder_onnx, "--source", finder_images, "--jsonl", "--output", tmp_path)
    for rank in ("1", "0"):  # the main process alone prints, and writes metrics
        monkeypatch.setenv("RANK", rank)
        assert run_tool("detect", [str(word) for word in (*words, "--no-draw")]) == 0
    check_boxes(tmp_path / "detections.jsonl")


def test_no_such_part(fails: Run, finder: Path, finder_images: Path):
    words = ("--weights", finder, "--source", finder_images, "--shard", "3/2")
    assert fails("detect", *words) == "--shard: expected i/n, from 1/n to n/n, found '3/2'"


def test_other_nms_methods(run: Run, finder: Path, finder_images: Path, tmp_path: Path):
    """Nothing overlaps: fusion and Soft-NMS find what the plain one finds."""
    words = ("--weights", finder, "--source", finder_images, "--no-draw", "--jsonl", "--output")
    for kind in ("soft-linear", "soft-gaussian", "fusion"):
        assert run("detect", *words, tmp_path, "--nms-method", kind).code == 0
        check_boxes(tmp_path / "detections.jsonl")


@pytest.fixture
def one_broken(finder_images: Path, tmp_path: Path) -> Path:
    """Images a, b, c, of which b ends after 60 bytes."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in "abc":
        shutil.copy(finder_images / f"{name}.png", folder)
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:60])
    return folder


def test_a_broken_image_ends_the_run(fails: Run, finder: Path, one_broken: Path, tmp_path: Path):
    words = ("--weights", finder, "--source", one_broken, "--output", tmp_path / "out", "--jsonl")
    reason = "is not an image that OpenCV can decode (--skip-bad leaves it out)"
    assert fails("detect", *words) == f"{one_broken / 'b.png'}: {reason}"
    assert not (tmp_path / "out" / "detections.jsonl").exists()  # half a list is none


def test_a_cut_jpeg_of_a_list_ends_the_run(fails: Run, finder: Path, tmp_path: Path):
    content = cv2.imencode(".jpg", np.full((64, 64, 3), 90, np.uint8))[1].tobytes()
    (tmp_path / "whole.jpg").write_bytes(content)
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "list.txt").write_text("whole.jpg\nnone.jpg\ncut.jpg\n")
    words = ("--weights", finder, "--no-draw", "--jsonl", "--output", tmp_path / "out", "--source")
    cut = f"{tmp_path / 'cut.jpg'}"
    hint = "(--skip-bad leaves it out)"
    message = fails("detect", *words, f"{tmp_path}/*.jpg")
    assert message == f"{cut}: is a truncated JPEG (its end marker is missing) {hint}"
    message = fails("detect", *words, tmp_path / "list.txt")
    missing = f"{tmp_path / 'none.jpg'}: cannot be read: No such file or directory"
    assert message == f"{tmp_path / 'list.txt'}:2: {missing} {hint}"


def test_a_broken_image_is_passed_over(run: Run, finder: Path, one_broken: Path, tmp_path: Path):
    out = tmp_path / "out"
    words = ("--weights", finder, "--source", one_broken, "--output", out, "--jsonl")
    ran = run("detect", *words, "--skip-bad")
    assert (ran.code, ran.metrics["images"], ran.metrics["skipped"]) == (0, 2, 1)
    assert ran.metrics["counts"] == {"red": 2, "green": 1}
    warning = f"warning: {one_broken / 'b.png'}: is not an image that OpenCV can decode"
    assert ran.err == f"{warning}\n"
    assert "1 unreadable images skipped\n" in ran.out
    assert [record["name"] for record in records(out / "detections.jsonl")] == ["a", "c"]


def test_classes_that_the_model_lacks(fails: Run, finder: Path, finder_images: Path):
    words = ("--weights", finder, "--source", finder_images, "--classes")
    assert fails("detect", *words, "gren") == "unknown class 'gren'; did you mean 'green'?"
    rest = "; the model has 2 classes: red, green"
    assert fails("detect", *words, "red,blue") == f"unknown class 'blue'{rest}"
    assert fails("detect", *words, "2") == f"unknown class '2'{rest}"
    assert fails("detect", *words, "") == "--classes: the value is empty"


def test_sizes_that_do_not_fit(
    fails: Run, finder: Path, finder_onnx: Path, finder_pt2: Path, finder_images: Path
):
    def message(weights: Path, imgsz: int) -> str:
        return fails("detect", "--weights", weights, "--source", finder_images, "--imgsz", imgsz)

    assert message(finder, 70) == (
        "imgsz 70 is not a multiple of the network's stride 16; the nearest is 64"
    )
    assert message(finder_onnx, 96) == (
        f"{finder_onnx}: takes inputs of 64×64 only, found imgsz 96; export with --dynamic"
    )
    assert message(finder_pt2, 70) == (
        "imgsz 70 is not a multiple of the network's stride 16; the nearest is 64"
    )


def test_weights_that_are_none(fails: Run, finder: Path, finder_images: Path, tmp_path: Path):
    def message(weights: Path) -> str:
        return fails("detect", "--weights", weights, "--source", finder_images)

    notes = tmp_path / "notes.txt"
    notes.write_text("not weights")
    assert message(notes).startswith(f"{notes}: ")
    near = finder.with_name("findr.safetensors")
    assert message(near) == f"{near}: no such file; did you mean 'finder.safetensors'?"
    assert message(tmp_path / "x.pt") == f"{tmp_path / 'x.pt'}: no such file; expected weights"
    far = tmp_path / "no" / "x.onnx"
    assert message(far) == f"{far}: no such file; expected weights"
    assert message(tmp_path) == (
        f"{tmp_path}: is a folder without exported files (.onnx, .xml, .pt2); expected weights"
    )


def test_the_fastest_of_several_files(
    run: Run, finder_onnx: Path, finder_openvino: Path, finder_images: Path, tmp_path: Path
):
    """Whichever is faster here: both find the same, and a line says which it is."""
    words = ("--source", finder_images, "--output", tmp_path / "out", "--no-draw", "--jsonl")
    ran = run("detect", "--weights", finder_onnx, "--weights", finder_openvino, *words)
    assert ran.code == 0
    choice = ran.metrics["choice"]
    assert list(choice["ms_per_image"]) == [str(finder_onnx), str(finder_openvino)]
    assert choice["path"] == min(choice["ms_per_image"], key=choice["ms_per_image"].get)
    assert choice["left_out"] == []
    first, second, third = ran.out.splitlines()[:3]
    for line, path in ((first, finder_onnx), (second, finder_openvino)):
        ms = f"{choice['ms_per_image'][str(path)]:.1f}"
        assert line == f"{path}: fp32, outputs as the network's; {ms} ms an image"
    assert third == f"{choice['path']}: the fastest here, by 10 runs on a blank image"
    check_boxes(tmp_path / "out" / "detections.jsonl")


def test_a_folder_of_files(run: Run, finder_onnx: Path, finder_images: Path, tmp_path: Path):
    """The folder holds a certificate and a report, too, which are no weights."""
    words = ("--source", finder_images, "--output", tmp_path / "out", "--no-draw")
    ran = run("detect", "--weights", finder_onnx.parent, *words)
    assert (ran.code, ran.metrics["choice"]["path"]) == (0, str(finder_onnx))


def test_flags_of_a_choice(
    fails: Run, finder: Path, finder_onnx: Path, finder_openvino: Path, finder_images: Path
):
    source = ("--source", finder_images)
    assert fails("detect", "--weights", finder_onnx, "--max-drop", 0.1, *source) == (
        "--max-drop: one file is given, so that none is chosen; omit it"
    )
    both = ("--weights", finder_onnx, "--weights", finder_openvino)
    assert fails("detect", *both, "--precision", "bf16", *source) == (
        "--precision bf16: one of several files is chosen by --precision auto alone; give the file"
    )
    assert fails("detect", *both, "--weights", finder, *source) == (
        f"{finder}: not an exported file (.onnx, .xml, .pt2); of several, one is chosen by their "
        "certificates"
    )


@pytest.mark.parametrize("weights", ["finder", "finder_onnx", "finder_pt2"])
@pytest.mark.parametrize("part", [0.0, 0.5, 0.999])
def test_truncated_weights(
    weights: str,
    part: float,
    fails: Run,
    finder_images: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
):
    whole: Path = request.getfixturevalue(weights)
    cut = tmp_path / f"cut{whole.suffix}"
    data = whole.read_bytes()
    cut.write_bytes(data[: int(len(data) * part)])
    message = fails("detect", "--weights", cut, "--source", finder_images, "--no-draw")
    assert message.startswith(f"{cut}: ")
    assert len(message) < len(str(cut)) + 200


def test_devices(fails: Run, finder: Path, finder_onnx: Path, finder_images: Path):
    def message(weights: Path, device: str) -> str:
        return fails("detect", "--weights", weights, "--source", finder_images, "--device", device)

    assert message(finder, "cdua") == "unknown device 'cdua'; did you mean 'cuda'?"
    assert message(finder_onnx, "cdua") == (
        "device 'cdua': an ONNX file runs on 'cpu', 'cuda' or 'cuda:1'"
    )


def test_places_that_cannot_be_written(
    fails: Run, finder: Path, finder_images: Path, tmp_path: Path
):
    file = tmp_path / "file"
    file.touch()
    words = ("--weights", finder, "--source", finder_images, "--output")
    assert fails("detect", *words, file) == f"{file}: is a file, expected a folder to write into"
    below = file / "out"
    assert (
        fails("detect", *words, below) == f"{below / 'a.png'}: cannot be written: Not a directory"
    )


def test_nothing_to_detect_in(fails: Run, finder: Path, finder_images: Path, tmp_path: Path):
    where = ("--weights", finder, "--source")
    wrong = finder_images.with_name("image")
    assert fails("detect", *where, wrong) == (
        f"{wrong}: no such file or folder; did you mean 'images'?"
    )
    assert fails("detect", *where, tmp_path / "*.jpg") == (
        f"{tmp_path / '*.jpg'}: matches no image or video"
    )


def test_an_incomplete_video(run: Run, finder: Path, tmp_path: Path):
    """The results of its frames are kept; the exit code says that some are missing."""
    video = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 64))
    rng = np.random.default_rng(0)
    for _ in range(10):
        writer.write(rng.integers(0, 256, (64, 64, 3)).astype(np.uint8))
    writer.release()
    words = ("--weights", finder, "--source", video, "--output", tmp_path / "out", "--jsonl")
    assert run("detect", *words).code == 0
    data = video.read_bytes()
    video.write_bytes(data[: len(data) // 2])
    ran = run("detect", *words)
    lines = records(tmp_path / "out" / "detections.jsonl")
    assert 1 <= len(lines) < 10
    message = f"{video}: {len(lines)} of 10 frames could be read: it is cut short or damaged"
    assert ran.code == 2
    assert ran.err == f"error: {message}; --skip-bad accepts that\n"
    assert open_source(tmp_path / "out" / "a.mp4").total == len(lines)
    ran = run("detect", *words, "--skip-bad")
    assert ran.code == 0
    assert ran.err == f"warning: {message}\n"
    assert ran.out.splitlines()[1] == "1 incomplete videos"
    assert (ran.metrics["images"], ran.metrics["incomplete"]) == (len(lines), 1)


@pytest.mark.parametrize(
    ("wall_seconds", "end"),
    [
        # Four phases of 10 ms each are 40 ms; the rest of a longer time is drawing and writing.
        (0.039, "; 39.0 in total, since phases overlap"),
        (0.0401, "; 40.1 in total"),
    ],
)
def test_phases_overlap_where_the_total_is_less_than_their_sum(wall_seconds, end, capsys):
    timing = Timing(1, dict.fromkeys(Timing().seconds, 0.01), wall_seconds)
    settings = DetectSettings(weights=Path("a.onnx"), source="a.jpg", draw=False)
    _report(settings, timing, Counter(), [], None)
    line = capsys.readouterr().out.splitlines()[1]
    phases = "decode 10.0, preprocess 10.0, network 10.0, nms 10.0"
    assert line == f"ms per image: {phases}{end}"


def test_txt_files_are_labels(run: Run, finder: Path, finder_images: Path, tmp_path: Path):
    """Five columns, which are read as labels; six, which are named for what they are."""
    shutil.copytree(finder_images, tmp_path / "images")
    words = ("--weights", finder, "--source", finder_images, "--output", tmp_path, "--no-draw")
    assert run("detect", *words, "--txt").code == 0
    # d is 128 wide and 64 high: centre 48 and 16, sides of 32.
    row = f"0 {48 / 128:.6f} {16 / 64:.6f} {32 / 128:.6f} {32 / 64:.6f}"
    label = tmp_path / "labels" / "d.txt"
    assert label.read_text() == f"{row}\n"
    (tmp_path / "set.yaml").write_text(
        "names: [red, green]\nsplits: {train: images, val: images}\n"
    )
    score = ("--weights", finder, "--data", tmp_path / "set.yaml")
    assert run("val", *score).metrics["AP"] == pytest.approx(1)
    for flags in (["--txt-scores"], ["--txt", "--txt-scores"]):
        assert run("detect", *words, *flags).code == 0
        assert label.read_text() == f"{row} {RED_SCORE}\n"
    ran = run("val", *score)
    assert ran.code == 2
    assert (
        f"{tmp_path / 'labels' / 'a.txt'}:1: 6 columns, as predictions with scores have, "
        "expected 5 (class, centre x, centre y, width, height); "
        "detect --txt writes boxes without scores"
    ) in ran.err


def test_several_incomplete_videos():
    one = DetectorError("1 of 2 frames could be read: it is cut short or damaged", file="a.mp4")
    _check_complete([])
    with pytest.raises(DetectorError) as caught:
        _check_complete([one, one, one])
    assert str(caught.value) == f"{one}; so are 2 more; --skip-bad accepts that"


def test_a_precision_that_a_file_does_not_have(fails: Run, finder_onnx: Path, finder_images: Path):
    words = ("--weights", finder_onnx, "--source", finder_images, "--precision", "bf16")
    assert fails("detect", *words) == (
        f"{finder_onnx}: --precision bf16: ONNX Runtime computes in fp32; export with --format "
        "openvino, or run the weights themselves"
    )
