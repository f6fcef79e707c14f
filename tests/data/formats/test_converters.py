"""Formats that are not read are named, with a converter."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from detector.data.formats.definition import load_definition
from detector.utils.errors import DetectorError

BOXES = "YOLO txt, COCO JSON, Pascal VOC XML, CSV, VIA JSON, labelme JSON"
CREATE_ML = json.dumps([{"image": "a.png", "annotations": [{"label": "x", "coordinates": {}}]}])
LABEL_STUDIO = json.dumps([{"id": 1, "annotations": [{"result": []}], "data": {"image": "a.png"}}])
BDD = json.dumps([{"name": "a.png", "labels": [{"category": "car", "box2d": {}}]}], indent=1)
OPEN_IMAGES = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\n"
SUPERVISELY = json.dumps({"description": "", "size": {}, "objects": []})
DATUMARO = (
    "datumaro[cli] (MIT) converts it: datum convert -i {root} -if {} -f coco -o NEW -- --save-media"
)


def datumaro(name: str) -> str:
    return DATUMARO.replace("{}", name)


CASES = {
    "KITTI": ("training/label_2/0.txt", "", "training/label_2", datumaro("kitti_detection")),
    "DOTA with turned boxes": (
        "labelTxt/a.txt",
        "",
        "labelTxt",
        f"no converter is known, expected one of: {BOXES}",
    ),
    "WIDER FACE": (
        "x/wider_face_train_bbx_gt.txt",
        "",
        None,
        f"{datumaro('wider_face')} (with the text in wider_face_split/)",
    ),
    "CVAT XML": (
        "annotations.xml",
        "<?xml version='1.0'?>\n<annotations><version>1.1</version></annotations>",
        None,
        "globox (MIT) converts it: globox convert {file} NEW.json -f cvat -F coco -A",
    ),
    "Open Images": (
        "train-annotations-bbox.csv",
        OPEN_IMAGES,
        None,
        f"{datumaro('open_images')} (with class descriptions and image ids beside the boxes)",
    ),
    "CSV of VIA": (
        "via_export_csv.csv",
        "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,"
        "region_attributes\n",
        None,
        "VIA itself (BSD) converts it: Annotation > Export Annotations (as json)",
    ),
    "Supervisely": (
        "ds0/ann/a.png.json",
        SUPERVISELY,
        None,
        'supervisely (Apache-2.0) converts it: python -c "import sys, supervisely; '
        "supervisely.convert.project_to_coco(sys.argv[1], 'NEW', copy_images=True)\" {root}",
    ),
    "CreateML": (
        "train/_annotations.createml.json",
        CREATE_ML,
        None,
        datumaro("roboflow_create_ml"),
    ),
    "VoTT JSON": ("train-export.json", '{"assets": {}}', None, datumaro("vott_json")),
    "Label Studio JSON": (
        "project-1.json",
        LABEL_STUDIO,
        None,
        "label-studio-converter (Apache-2.0) converts it: label-studio-converter export -i {file} "
        "-c CONFIG.xml -o NEW -f COCO (with the project's labelling interface as CONFIG.xml)",
    ),
    "BDD100K": (
        "labels/det_20/det_train.json",
        BDD,
        None,
        "bdd100k (BSD) converts it: python -m bdd100k.label.to_coco -m det -i {file} -o NEW.json",
    ),
    "TFRecord": (
        "train/a.tfrecord",
        "",
        None,
        datumaro("tf_detection_api").replace("[cli]", "[cli,tf]"),
    ),
    "parquet with columns of its own": (
        "data/0.parquet",
        "",
        None,
        f"no converter is known, expected one of: {BOXES}",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_format_is_named(tmp_path: Path, make_image, name: str) -> None:
    file, text, sign, rest = CASES[name]
    make_image("images/100k/a.png")
    make_image("images/100k/b.png")
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    with pytest.raises(DetectorError) as caught:
        load_definition(tmp_path)
    end = "; ".join([f"{sign or file} is {name}, which is not read", rest])
    for key, value in (("{root}", tmp_path), ("{file}", tmp_path / file)):
        end = end.replace(key, str(value))
    assert str(caught.value) == f"{tmp_path}: {end}"


def test_a_createml_file_under_another_name_has_no_converter(tmp_path: Path, make_image) -> None:
    make_image("a.png")
    (tmp_path / "boxes.json").write_text(CREATE_ML)
    with pytest.raises(DetectorError) as caught:
        load_definition(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: boxes.json is CreateML, which is not read; no converter is known, expected "
        f"one of: {BOXES}"
    )


def test_paths_in_commands_are_quoted(tmp_path: Path, make_image) -> None:
    make_image("my set/a.png")
    (tmp_path / "my set/annotations.xml").write_text("<annotations></annotations>")
    with pytest.raises(DetectorError) as caught:
        load_definition(tmp_path / "my set")
    assert f"globox convert '{tmp_path}/my set/annotations.xml' NEW.json" in str(caught.value)


def test_a_large_cvat_file_is_not_taken_for_voc(tmp_path: Path, make_image, monkeypatch) -> None:
    make_image("a.png")
    (tmp_path / "annotations.xml").write_text("<annotations></annotations>")
    monkeypatch.setattr("detector.data.formats.voc.MAX_XML_BYTES", 10)
    with pytest.raises(DetectorError, match="annotations.xml is CVAT XML, which is not read"):
        load_definition(tmp_path)


def test_pipes_are_not_opened(tmp_path: Path, make_image) -> None:
    make_image("a.png")
    for name in ("a.csv", "a.xml", "a.json"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(DetectorError):
        load_definition(tmp_path)


@pytest.mark.parametrize("file", ["data.parquet", "train.tfrecord"])
def test_a_layout_that_is_read_comes_first(tmp_path: Path, make_image, file: str) -> None:
    for name in ("cat", "dog"):
        make_image(f"train/{name}/a.png")
    (tmp_path / file).touch()
    assert load_definition(tmp_path).names == ("cat", "dog")


@pytest.mark.parametrize("text", ["", "[]", "{}", "[1]", '{"coordinates": 1}', "\x00"])
def test_other_files_are_of_no_known_format(tmp_path: Path, make_image, text: str) -> None:
    make_image("a.png")
    for suffix in (".json", ".csv", ".xml"):
        (tmp_path / f"a{suffix}").write_text(text)
    with pytest.raises(DetectorError) as caught:
        load_definition(tmp_path)
    assert "is not read" not in str(caught.value)
