"""``val``: COCO's and VOC's metrics on images where all is found, and where some is not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detector.cli.val import report
from detector.evaluation.coco import CocoMetrics
from detector.heads.yolo import Detect
from detector.settings.evaluate import ValSettings
from detector.settings.nms import EVAL_NMS, BasicNmsSettings, NmsSettings

Run = Callable[..., Any]
METRIC_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
RECALLS = ("AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


@pytest.mark.parametrize("weights", ["finder", "finder_onnx", "finder_openvino", "finder_pt2"])
def test_everything_is_found(
    weights: str, run: Run, finder_data: Path, tmp_path: Path, request: pytest.FixtureRequest
):
    file = request.getfixturevalue(weights)
    ran = run("val", "--weights", file, "--data", finder_data)
    assert (ran.code, ran.err) == (0, "")
    assert list(ran.metrics) == [*METRIC_NAMES, *RECALLS, "per_class"]
    per_class = ran.metrics.pop("per_class")
    assert per_class == {"red": pytest.approx(1), "green": pytest.approx(1)}
    # Squares of 16 pixels are small (below 32²), the one of 32 is of middle size; none is large.
    none = {"APl": -1, "ARl": -1}
    assert ran.metrics == pytest.approx(dict.fromkeys(ran.metrics, 1) | none)
    lines = ran.out.splitlines()
    assert lines[0] == f"split 'val' of {finder_data}: 5 images, 5 boxes, from YOLO txt"
    assert lines[1] == "2 classes matched by name, data → model: red → 0, green → 1"
    assert "COCO AP (pycocotools) on 5 images" in lines
    assert lines[-1].split() == [*["1.0000"] * 5, "–", *["1.0000"] * 5, "–"]


def test_predictions_as_coco_json(run: Run, finder: Path, finder_data: Path, tmp_path: Path):
    file = tmp_path / "new" / "predictions.json"
    words = ("--weights", finder, "--data", finder_data, "--save-predictions", file)
    assert run("val", *words, "--confidence", "0.5").code == 0
    boxes = {1: [(0, 0, 16, 16)], 2: [(32, 16, 16, 16)], 4: [(32, 0, 32, 32)]}
    boxes[3] = [(48, 48, 16, 16), (0, 32, 16, 16)]
    found = json.loads(file.read_text())
    keys = {"image_id", "category_id", "bbox", "score", "file_name"}
    assert all(result.keys() == keys for result in found)
    names = {result["image_id"]: result["file_name"] for result in found}
    assert names == {1: "a.png", 2: "b.png", 3: "c.png", 4: "d.png"}
    assert [(r["image_id"], r["category_id"]) for r in found] == [
        *((1, 1), (2, 2), (3, 1), (3, 2), (4, 1))
    ]
    for image_id, expected in boxes.items():
        of_image = [result["bbox"] for result in found if result["image_id"] == image_id]
        assert of_image == [pytest.approx(box, abs=1e-3) for box in expected]


@pytest.mark.parametrize("weights", ["finder", "finder_onnx", "finder_pt2"])
@pytest.mark.parametrize(
    ("metric", "red", "how"),
    # Of four red objects three are found, at precision 1: recalls up to ¾ are reached, which is
    # eight of the points 0, 0.1, …, 1, and three quarters of the area.
    [("voc07", 8 / 11, "11 points (VOC2007)"), ("voc10", 3 / 4, "area (VOC2010)")],
)
def test_voc_metrics(
    metric: str,
    red: float,
    how: str,
    weights: str,
    run: Run,
    finder_data: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
):
    file = request.getfixturevalue(weights)
    root = tmp_path / "more"
    shutil.copytree(finder_data.parent, root)
    with (root / "labels" / "a.txt").open("a") as labels:
        labels.write("0 0.75 0.75 0.25 0.25\n")  # grey
    words = ("--weights", file, "--data", finder_data, "--data-root", root)
    ran = run("val", *words, "--metric", metric, "--confidence", 0.5)
    assert (ran.code, ran.err) == (0, "")
    mean = (red + 1) / 2
    assert ran.metrics == {
        "mAP": pytest.approx(mean),
        "per_class": {"red": pytest.approx(red), "green": pytest.approx(1)},
    }
    lines = ran.out.splitlines()
    assert f"Pascal VOC AP at IoU 0.5, {how} on 5 images" in lines
    assert ["red", f"{red:.4f}"] in [line.split() for line in lines]
    assert lines[-1].split() == [f"{mean:.4f}"]


def test_an_object_that_is_difficult_in_voc_xml(run: Run, finder: Path, finder_images, tmp_path):
    shutil.copytree(finder_images, tmp_path / "JPEGImages")
    (tmp_path / "Annotations").mkdir()
    # The only red object is difficult, so there is nothing to find of that class.
    for name, kind, box, difficult in (
        ("a", "red", (0, 0, 16, 16), 1),
        ("b", "green", (32, 16, 48, 32), 0),
    ):
        corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        (tmp_path / "Annotations" / f"{name}.xml").write_text(
            "<annotation><size><width>64</width><height>64</height></size>"
            f"<object><name>{kind}</name><difficult>{difficult}</difficult><bndbox>"
            + "".join(f"<{corner}>{value}</{corner}>" for corner, value in corners)
            + "</bndbox></object></annotation>"
        )
    (tmp_path / "val.txt").write_text("a\nb\n")
    definition = tmp_path / "set.yaml"
    definition.write_text(
        "names: [red, green]\n"
        "val: {images: JPEGImages, annotations: Annotations, image_set: val.txt}\n"
    )
    ran = run("val", "--weights", finder, "--data", definition, "--metric", "voc07")
    assert ran.metrics == {"mAP": pytest.approx(1), "per_class": {"red": -1, "green": 1}}
    assert ["red", "–"] in [line.split() for line in ran.out.splitlines()]


def test_a_metric_that_is_none(fails: Run, finder: Path, finder_data: Path):
    assert fails("val", "--weights", finder, "--data", finder_data, "--metric", "voc7") == (
        "--metric: expected 'coco', 'voc07', 'voc10' or 'accuracy', found 'voc7'"
    )


def test_nms_settings_are_the_models_own_unless_given():
    own = NmsSettings(confidence=0.01, iou=0.45, max_detections=200, class_candidates=400)
    assert ValSettings(weights="x").nms() == EVAL_NMS
    assert ValSettings(weights="x").nms(own) == own
    given = {"confidence": 0.0, "iou": 0.0, "max_detections": 1}
    given |= {"class_agnostic": True, "nms_method": "fusion", "sigma": 2.0, "multi_label": False}
    assert given.keys() == BasicNmsSettings.model_fields.keys()
    for name, value in given.items():
        expected = {**own.model_dump(), name: value}
        assert ValSettings(weights="x", **{name: value}).nms(own).model_dump() == expected
    assert ValSettings(weights="x", **given).nms(own).class_candidates == 400


def test_metrics_use_the_heads_nms_settings(
    run: Run, finder: Path, finder_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The five squares score above 0.98, what is found elsewhere around 0.024."""
    file = tmp_path / "predictions.json"

    def scores(*words: object) -> list[float]:
        data = ("--weights", finder, "--data", finder_data, "--save-predictions", file)
        assert run("val", *data, *words).code == 0
        return [result["score"] for result in json.loads(file.read_text())]

    customary = scores()
    assert len(customary) > 5
    assert min(customary) < 0.03
    own = EVAL_NMS.model_copy(update={"confidence": 0.5})
    monkeypatch.setattr(Detect, "eval_nms", own, raising=False)
    assert min(scores()) > 0.98
    assert len(scores()) == 5
    assert scores("--confidence", 0.001) == customary
    assert len(scores("--max-detections", 1)) == 4  # c has two squares, e none


@pytest.fixture
def other_names(finder_data: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A function that makes the same images' definition with other names."""

    def make(names: str) -> Path:
        definition = tmp_path / "other.yaml"
        definition.write_text(f"path: {finder_data.parent}\nnames: {names}\nval: images\n")
        return definition

    return make


def test_classes_are_matched_by_name(run: Run, finder: Path, other_names: Callable[[str], Path]):
    """Exchanged names: each square is called by the other's colour, so nothing is right."""
    ran = run("val", "--weights", finder, "--data", other_names("[green, red]"))
    assert "data → model: green → 1, red → 0" in ran.out
    assert ran.metrics["AP50"] < 0.1


def test_a_class_that_the_model_lacks(run: Run, finder: Path, other_names: Callable[[str], Path]):
    ran = run("val", "--weights", finder, "--data", other_names("[red, blue]"))
    assert "not among the model's classes, their objects count as missed: blue (2)" in ran.out
    assert ran.metrics["per_class"] == {"red": pytest.approx(1), "blue": 0}
    assert ran.metrics["AP"] == pytest.approx(0.5)


def test_no_class_in_common(fails: Run, finder: Path, other_names: Callable[[str], Path]):
    message = fails("val", "--weights", finder, "--data", other_names("[cat, dog]"))
    assert "red" in message
    assert "cat" in message


def test_batches_and_sizes_change_nothing(run: Run, finder: Path, finder_pt2: Path, finder_data):
    """The objects are exact at 64; at 32 a square is a quarter of a cell, and is lost."""
    for weights in (finder, finder_pt2):
        for batch in (1, 2, 16):
            ran = run("val", "--weights", weights, "--data", finder_data, "--batch", batch)
            assert ran.metrics["AP"] == pytest.approx(1)
        small = run("val", "--weights", weights, "--data", finder_data, "--imgsz", 32)
        assert small.metrics["AP"] < 0.1


def test_sizes_that_do_not_fit(fails: Run, finder: Path, finder_onnx: Path, finder_data: Path):
    words = ("--data", finder_data, "--imgsz")
    assert fails("val", "--weights", finder, *words, 40) == (
        "imgsz 40 is not a multiple of the network's stride 16; the nearest is 32"
    )
    assert fails("val", "--weights", finder_onnx, *words, 128) == (
        f"{finder_onnx}: takes inputs of 64×64 only, found imgsz 128; export with --dynamic"
    )


def test_data_that_are_none(fails: Run, finder: Path, finder_images: Path, tmp_path: Path):
    def message(data: object, *words: object) -> str:
        return fails("val", "--weights", finder, "--data", data, *words)

    nowhere = tmp_path / "nowhere"
    assert message(nowhere) == f"{nowhere}: no such file"
    assert message("coc") == "coc: no such file; did you mean 'coco'?"
    bare = tmp_path / "bare"
    shutil.copytree(finder_images, bare / "images")
    assert message(bare) == (
        f"{bare}: neither a data.yaml nor a known layout in this folder, which holds 5 .png; the "
        "nearest layout is a folder of images for each class; for boxes, files of labels are "
        "missing: txt (YOLO), XML (Pascal VOC) or JSON (labelme) named like the images, or one "
        "file of all: COCO JSON, VIA JSON or CSV"
    )
    (bare / "labels").mkdir()
    assert message(bare) == f"{bare}: no class names in the labels"
    definition = bare / "data.yaml"
    definition.write_text("names: [red, green]\nval: images\n")
    assert message(definition).startswith(
        f"{bare / 'images'}: none of 5 images has a label file; the first was looked for at "
    )


def test_splits_and_roots(run: Run, fails: Run, finder: Path, finder_data: Path, tmp_path: Path):
    words = ("--weights", finder, "--data", finder_data)
    assert run("val", *words, "--split", "train").metrics["AP"] == pytest.approx(1)
    message = fails("val", *words, "--split", "trian")
    assert message == f"{finder_data}: no split 'trian'; did you mean 'train'?"
    assert f"the folder {tmp_path / 'x'} does not exist" in fails(
        "val", *words, "--data-root", tmp_path / "x"
    )
    moved = tmp_path / "moved"
    shutil.copytree(finder_data.parent, moved)
    for image in (moved / "images").glob("[ab].png"):
        image.unlink()
        (moved / "labels" / f"{image.stem}.txt").unlink()
    ran = run("val", *words, "--data-root", moved)
    assert ", 3 boxes, " in ran.out


@pytest.fixture
def spoilt(finder_data: Path, tmp_path: Path) -> Path:
    """A copy with three things wrong."""
    root = tmp_path / "spoilt"
    shutil.copytree(finder_data.parent, root)
    (root / "labels" / "a.txt").write_text("0 0.125 0.125 0.25 0.25\n0 0.5 0.5 nan 0.1\n")
    (root / "labels" / "b.txt").write_text("7 0.625 0.375 0.25 0.25\n")
    (root / "images" / "d.png").write_bytes(b"no image")
    return root / finder_data.name


def test_all_issues_at_once(run: Run, finder: Path, spoilt: Path):
    ran = run("val", "--weights", finder, "--data", spoilt)
    assert ran.code == 2
    assert "Traceback" not in ran.err
    root = spoilt.parent
    for place in (root / "labels/a.txt:2", root / "labels/b.txt:1", root / "images/d.png"):
        assert f"{place}: " in ran.err


def test_issues_that_are_skipped(run: Run, finder: Path, spoilt: Path):
    ran = run("val", "--weights", finder, "--data", spoilt, "--skip-bad")
    assert ran.code == 0
    # a's first label, c's two; b's square is found but no longer in the ground truth.
    assert ": 4 images, 3 boxes, " in ran.out
    assert ran.metrics["per_class"]["red"] == pytest.approx(1)


def test_weights_that_are_none(fails: Run, finder_data: Path, tmp_path: Path):
    notes = tmp_path / "notes.txt"
    notes.write_text("not weights")
    assert fails("val", "--weights", notes, "--data", finder_data).startswith(f"{notes}: ")
    none = tmp_path / "none.pt2"
    message = fails("val", "--weights", none, "--data", finder_data)
    assert message == f"{none}: no such file; expected weights"


def test_predictions_that_cannot_be_written(fails, finder, finder_data, tmp_path):
    words = ("--weights", finder, "--data", finder_data, "--save-predictions", tmp_path)
    assert fails("val", *words) == f"{tmp_path}: cannot be written: Is a directory"


# ------------------------------------------------------------------------------- certificates


def test_a_certificate_that_holds(run: Run, fails: Run, finder_pt2: Path, finder: Path):
    ran = run("val", "--weights", finder_pt2, "--certificate")
    certificate = ran.metrics["certificate"]
    digest = certificate["weights_sha256"]
    assert ran.out == f"{finder_pt2}: unchanged since its export from weights {digest[:12]}…\n"
    command = certificate["command"]
    expected = f"tools/export.py --weights {finder.name} --format pt2 --output finder --dynamic"
    assert command == f"{expected} --json export.json"
    message = fails("val", "--weights", finder, "--certificate")
    assert message == "--certificate: only an exported file has one"


def test_metrics_of_a_certificate(
    run: Run, fails: Run, finder: Path, finder_data: Path, tmp_path: Path
):
    """Exported with data, and measured again: on the same, on fewer, with other NMS settings."""
    words = ("--weights", finder, "--format", "pt2", "--output", tmp_path / "m")
    ran = run("export", *words, "--data", finder_data)
    final = ran.metrics["certificate"]["after_nms"]
    assert (final["boxes"] > 100, final["unmatched"]) == (True, 0)
    measured = ran.metrics["certificate"]["measured"]
    assert measured["before"] == measured["after"]
    assert measured["after"]["AP"] == pytest.approx(1)
    assert "AP on 5 images: 1.0000 → 1.0000" in ran.out
    words = ("--weights", tmp_path / "m.pt2", "--certificate", "--data", finder_data)
    ran = run("val", *words)
    assert ran.out.endswith("AP matches the certificate, 1.0000\n")
    assert fails("val", *words, "--limit", 3) == (
        f"the certificate has metrics of 5 images of split 'val' of {finder_data}, "
        f"found 3 of 'val' of {finder_data}"
    )
    other = finder_data.with_name("circles.yaml")
    shutil.copy(finder_data, other)
    words = ("--weights", tmp_path / "m.pt2", "--certificate", "--data")
    assert fails("val", *words, other).endswith(f", found 5 of 'val' of {other}")
    other.unlink()
    words = (*words, finder_data)
    message = fails("val", *words, "--max-detections", 1)
    assert message.startswith("AP is 0.")
    assert message.endswith(", the certificate says 1.0000")


def test_data_for_a_certificate_without_metrics(fails: Run, finder_pt2: Path, tmp_path: Path):
    """It says so before the data are looked at."""
    assert fails("val", "--weights", finder_pt2, "--certificate", "--data", tmp_path / "none") == (
        "the certificate has no metrics: none were measured at the export"
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--certificate --save-predictions x", "--save-predictions beside --certificate needs"),
        ("--certificate --dump-inputs x", "--dump-inputs does not go with --certificate"),
        ("--dump-inputs x --predictions y", "--dump-inputs does not go with --predictions"),
        ("--dump-inputs x --save-predictions y", "--dump-inputs does not go with --save-pre"),
        ("--certificate --predictions x", "--predictions does not go with --certificate"),
        ("--predictions x --imgsz 64", "--predictions does not go with --imgsz"),
        ("--predictions x --letterbox square", "--predictions does not go with --letterbox"),
        ("--predictions x.json --iou 0.5", "--iou does not go with a .json of --predictions, "),
        ("--predictions x.json --max-detections 5", "--max-detections does not go with a .json"),
    ],
)
def test_flags_that_exclude_each_other(fails: Run, tmp_path: Path, flags: str, message: str):
    """Before any file is opened."""
    assert fails("val", "--weights", tmp_path / "none", *flags.split()).startswith(message)


def test_no_data(fails: Run, finder: Path):
    assert fails("val", "--weights", finder) == (
        "--data is missing, the images to measure on: give --data FOLDER or --data FILE.yaml; the "
        "built-in drawn images are --data datasets/shapes.yaml"
    )


@pytest.mark.parametrize("exported", ["finder_onnx", "finder_pt2"])
@pytest.mark.parametrize("tool", ["val", "detect"])
def test_a_file_that_was_changed(
    exported: str, tool: str, fails: Run, tmp_path: Path, request: pytest.FixtureRequest
):
    """One bit in the middle, among the weights."""
    file = tmp_path / request.getfixturevalue(exported).name
    content = bytearray(request.getfixturevalue(exported).read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    words = ("--certificate",) if tool == "val" else ("--source", tmp_path)
    assert fails(tool, "--weights", file, *words) == (
        f"{file}: damaged or changed: its seal does not match its content"
    )


def test_the_report_says_what_coco_leaves_out() -> None:
    lines = report(CocoMetrics({"AP": 0.5}, {"cup": 0.5}, left_out=3), 2).splitlines()
    assert lines[-1] == (
        "COCO AP counts the 100 best boxes of a class in an image: 3 others are left out"
    )
    assert "COCO" not in report(CocoMetrics({"AP": 0.5}, {"cup": 0.5}), 2).splitlines()[-1]


def test_bootstrap_intervals(run: Run, finder: Path, finder_data: Path):
    """All is found on all resamples. Green lies in two of five images: (3/5)⁵ = 8 % have none."""
    words = ("--weights", finder, "--data", finder_data, "--bootstrap", 200)
    ran = run("val", *words, "--bootstrap-seed", 3)
    assert (ran.code, ran.err) == (0, "")
    found = ran.metrics["bootstrap"]
    assert (found["resamples"], found["seed"], found["covered"]) == (200, 3, 0.95)
    assert found["intervals"] == {
        "AP": pytest.approx([1, 1]),
        "AP50": pytest.approx([1, 1]),
        "per_class": {"red": pytest.approx([1, 1]), "green": None},
    }
    lines = ran.out.splitlines()
    assert (
        "COCO AP (pycocotools) on 5 images; below each its 95 % interval, "
        "200 resamples of the images"
    ) in lines
    assert lines[-1].split()[:7] == ["1.0000", "to", "1.0000", "1.0000", "to", "1.0000", "–"]
    rows = [line.split() for line in lines]
    assert ["red", "1.0000", "1.0000", "to", "1.0000"] in rows
    assert ["green", "1.0000", "–"] in rows


@pytest.mark.parametrize("metric", ["voc07", "voc10"])
def test_bootstrap_intervals_of_voc(metric: str, run: Run, finder: Path, finder_data: Path):
    words = ("--weights", finder, "--data", finder_data, "--metric", metric)
    ran = run("val", *words, "--bootstrap", 200)
    assert ran.metrics["bootstrap"]["intervals"]["mAP"] == pytest.approx([1, 1])
    assert "bootstrap" not in run("val", *words).metrics


def test_bootstrap_flags(fails: Run, finder: Path, finder_data: Path, tmp_path: Path):
    words = ("val", "--weights", finder, "--data", finder_data)
    assert fails(*words, "--bootstrap", 99) == (
        "--bootstrap: expected 0, or from 100 to 10000, found '99'"
    )
    assert fails(*words, "--bootstrap-seed", 1) == (
        "--bootstrap-seed: without --bootstrap it has no effect; omit it"
    )
    dump = ("--dump-inputs", tmp_path / "inputs")
    assert fails(*words, "--bootstrap", 100, *dump) == (
        "--dump-inputs does not go with --bootstrap"
    )
    assert fails("val", "--weights", finder, "--certificate", "--bootstrap", 100) == (
        "--bootstrap beside --certificate needs --data"
    )


def test_another_library_gives_the_same_metrics(run: Run, finder_onnx: Path, finder_data: Path):
    """Metrics, intervals and all; the title says which library it was."""
    pytest.importorskip("faster_coco_eval", reason="needs the extra faster")
    words = ("--weights", finder_onnx, "--data", finder_data, "--bootstrap", 100)
    plain = run("val", *words)
    fast = run("val", *words, "--evaluator", "faster-coco-eval")
    assert (fast.code, fast.err) == (0, "")
    per_class = plain.metrics.pop("per_class")
    assert fast.metrics.pop("per_class") == pytest.approx(per_class, abs=1e-12)
    assert fast.metrics.pop("bootstrap") == plain.metrics.pop("bootstrap")
    assert fast.metrics == pytest.approx(plain.metrics, abs=1e-12)
    assert "COCO AP (faster-coco-eval) on 5 images" in fast.out
    assert fast.out.replace("faster-coco-eval", "pycocotools") == plain.out


def test_another_library_for_another_metric(fails: Run, finder_onnx: Path, finder_data: Path):
    words = ("--weights", finder_onnx, "--data", finder_data, "--metric", "voc10")
    assert fails("val", *words, "--evaluator", "faster-coco-eval") == (
        "--evaluator faster-coco-eval computes COCO AP alone; omit it"
    )
    assert fails("val", *words, "--evaluator", "faster") == (
        "--evaluator: expected 'pycocotools' or 'faster-coco-eval', found 'faster'"
    )
