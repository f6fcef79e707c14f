"""Readers of files that people bring: for each one valid files, ways to change them, and a call.

A reader must accept a changed file or raise a DetectorError of one line, whatever the change is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.conftest import FINDER_MODEL, TINY_MODEL
from tests.fuzz.mutations import (
    Mutation,
    blunt,
    member,
    onnx_fields,
    reseal,
    safetensors_header,
    safetensors_metadata,
    sealed,
    values,
    words,
)

NETWORK = SimpleNamespace(task="detect", names=("red", "green"))
SIZES = {"a": (64, 64), "b": (64, 96), "c": (48, 64)}
"""Height and width of each image."""

TEXT = (words, words, words, blunt)
JSON = (values, values, words, blunt)
BINARY = (blunt,)
ZIP = (blunt, member(blunt), member(blunt), member(words))


@dataclass(frozen=True)
class Reader:
    """One kind of file.

    Attributes:
        make: writes valid files into a folder.
        files: patterns of the files that are changed, one at a time.
        mutations: ways to change them.
        read: reads them; is given the folder and the file that was changed.
        share: part of all inputs that are this reader's.
    """

    make: Callable[[Path], None]
    files: tuple[str, ...]
    mutations: tuple[Mutation, ...]
    read: Callable[[Path, Path], object]
    share: int = 1


def tool(name: str, *flags: object) -> None:
    """Run a tool; raise its errors as they are."""
    from detector.cli import run_tool

    with redirect_stdout(StringIO()):
        assert run_tool(name, [*map(str, flags), "--debug"]) == 0


# ----------------------------------------------------------------------------- models, settings

CLASSIFIER = """
nc: 3
imgsz: 64
variants: {s: {width_multiple: 0.5}, m: {width_multiple: 1.0}}
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, C3, [16]]
head:
  - [-1, 1, Classify, [nc]]
"""
ON_ANOTHER = """
nc: 2
anchors: [[12, 12, 24, 24]]
imgsz: 64
backbone: {cfg: finder.yaml, activation: SiLU}
head:
  - [P4, 2, C3, [16]]
  - [-1, 1, nn.Upsample, [None, 2, nearest]]
  - [[-1, P3], 1, Concat, [1]]
  - [-1, 1, Detect, [nc, anchors]]
"""
PRESET = """
epochs: 3
batch: 4
learning_rate: 0.01
optimizer: adamw
imgsz: 64
hsv_h: 0.1
mosaic: 0.5
albumentations: [{name: Blur, p: 0.1}, {name: CLAHE, clip_limit: [1, 3], p: 0.5}]
assigner: simota
val_split: val
cache: none
"""


def make_models(folder: Path) -> None:
    for name, text in (
        ("tiny", TINY_MODEL),
        ("finder", FINDER_MODEL),
        ("other", ON_ANOTHER),
        ("classifier", CLASSIFIER),
    ):
        (folder / f"{name}.yaml").write_text(text)


def read_models(folder: Path, file: Path) -> None:
    tool("info", "--cfg", file)
    if file.name == "finder.yaml":
        tool("info", "--cfg", folder / "other.yaml")


def make_preset(folder: Path) -> None:
    make_yolo(folder)
    (folder / "model.yaml").write_text(TINY_MODEL)
    (folder / "preset.yaml").write_text(PRESET)


def read_preset(folder: Path, file: Path) -> None:
    from detector.data.augment.transforms import further_transforms
    from detector.engine.head_settings import train_settings
    from detector.engine.recipe import resolve

    cfg, data = str(folder / "model.yaml"), str(folder / "data.yaml")
    settings, _ = resolve(train_settings(cfg=cfg, data=data, preset=str(folder / "preset.yaml")))
    further_transforms(settings.albumentations, (64, 64))


# ------------------------------------------------------------------------------------- data sets


def make_images(folder: Path, suffix: str = ".png") -> None:
    from detector.utils.opencv import write_image

    for number, (name, size) in enumerate(SIZES.items()):
        rng = np.random.default_rng(number)
        write_image(folder / f"{name}{suffix}", rng.integers(0, 256, (*size, 3)).astype(np.uint8))


ROWS = "0 0.5 0.5 0.25 0.25\n1 0.25 0.25 0.125 0.5\n"
POLYGON = "0 0.1 0.1 0.9 0.1 0.5 0.9\n1 0.2 0.2 0.4 0.2 0.4 0.4 0.2 0.4\n"


def make_yolo(folder: Path) -> None:
    make_images(folder / "images")
    labels = folder / "labels"
    labels.mkdir()
    (labels / "a.txt").write_text(ROWS)
    (labels / "b.txt").write_text(ROWS[:20])
    (labels / "c.txt").write_text("")
    (folder / "data.yaml").write_text(
        "path: .\nnames: {0: red, 1: green}\nnc: 2\ntrain: images\nval: [images]\n"
        "splits: {other: {images: images, labels: labels, part: [0.0, 0.5], seed: 1}}\n"
        "quickstart: {epochs: 2, batch: 4}\n"
    )


def make_polygons(folder: Path) -> None:
    make_yolo(folder)
    for name in "ab":
        (folder / "labels" / f"{name}.txt").write_text(POLYGON)


def make_coco(folder: Path) -> None:
    make_images(folder / "images")
    images = [
        {"id": n, "file_name": f"{name}.png", "height": hw[0], "width": hw[1]}
        for n, (name, hw) in enumerate(SIZES.items(), 1)
    ]
    square = [10, 10, 40, 10, 40, 40, 10, 40]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 4, 30.5, 20], "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 3, "bbox": [1, 2, 9, 9], "area": 60, "iscrowd": 1},
        {"id": 3, "image_id": 2, "category_id": 3, "bbox": [10, 10, 30, 30], "iscrowd": 0}
        | {"segmentation": [square]},
    ]
    categories = [{"id": 1, "name": "red"}, {"id": 3, "name": "green"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content))
    (folder / "data.yaml").write_text(
        "names: [red, green]\nsplits: {val: {images: images, annotations: annotations.json}}\n"
    )


VOC = """<?xml version="1.0"?>
<annotation>
  <filename>{name}.png</filename>
  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>
  <object><name>red</name><difficult>0</difficult><truncated>0</truncated>
    <bndbox><xmin>3</xmin><ymin>4</ymin><xmax>30</xmax><ymax>40.5</ymax></bndbox>
    <part><name>hand</name><bndbox><xmin>3</xmin><ymin>4</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>
    </part></object>
  <object><bndbox><xmax>20</xmax><ymin>1</ymin><xmin>1</xmin><ymax>20</ymax></bndbox>
    <name>green</name><difficult>1</difficult></object>
</annotation>
"""


def make_voc(folder: Path) -> None:
    make_images(folder / "JPEGImages")
    (folder / "Annotations").mkdir()
    for name, (height, width) in SIZES.items():
        text = VOC.format(name=name, height=height, width=width)
        (folder / "Annotations" / f"{name}.xml").write_text(text)
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("a\nb\nc\n")
    (lists / "train.txt").write_text("a\nb\nc\n")


def make_darknet(folder: Path) -> None:
    """As CVAT writes it: labels and class names beside the images."""
    make_images(folder / "obj_train_data")
    for name in SIZES:
        (folder / "obj_train_data" / f"{name}.txt").write_text(ROWS)
    (folder / "obj.names").write_text("red\ngreen\n")
    for name in ("train", "val"):
        lines = [f"data/obj_train_data/{image}.png\n" for image in SIZES]
        (folder / f"{name}.txt").write_text("".join(lines))
    (folder / "obj.data").write_text(
        "classes = 2\ntrain = data/train.txt\nvalid = data/val.txt\nnames = data/obj.names\n"
        "backup = backup/\n"
    )


def make_class_list(folder: Path) -> None:
    make_images(folder / "images")
    lines = [f"images/{name}.png {number % 2}\n" for number, name in enumerate(SIZES)]
    (folder / "val.txt").write_text("".join(lines))
    (folder / "data.yaml").write_text("names: [red, green]\nval: val.txt\n")


def make_class_files(folder: Path) -> None:
    """As LabelImg writes it: ``classes.txt`` among the labels."""
    make_yolo(folder)
    (folder / "data.yaml").unlink()
    (folder / "labels" / "classes.txt").write_text("red\ngreen\n")


def read_split(folder: Path, file: Path, network: Any = NETWORK, split: str = "val") -> None:
    from detector.evaluation.evaluation_set import open_evaluation_set
    from detector.settings.common import DataSettings

    definition = folder / "data.yaml"
    data = DataSettings(data=str(definition if definition.exists() else folder))
    open_evaluation_set(data, split, network)
    open_evaluation_set(DataSettings(data=data.data, skip_bad=True), split, network)


def read_class_split(folder: Path, file: Path) -> None:
    read_split(folder, file, SimpleNamespace(task="classify", names=NETWORK.names))


def read_train_split(folder: Path, file: Path) -> None:
    read_split(folder, file, split="train")


# ------------------------------------------------------------------------------- images, videos

SUFFIXES = (".jpg", ".png", ".webp", ".tiff", ".bmp", ".gif", ".ppm", ".avif", ".jp2")


def make_pictures(folder: Path) -> None:
    from detector.utils.errors import DetectorError

    for suffix in SUFFIXES:
        try:
            make_images(folder, suffix)
        except DetectorError:  # OpenCV was built without the format
            continue
    (folder / "d.png").write_bytes(_wide_png())


def _wide_png() -> bytes:
    from detector.utils.opencv import cv2

    values = np.random.default_rng(9).integers(0, 65_536, (48, 64)).astype(np.uint16)
    return bytes(cv2.imencode(".png", values)[1])


def read_pictures(folder: Path, file: Path) -> None:
    from detector.utils.opencv import read_image

    read_image(file)


CODECS = {"a.avi": "MJPG", "b.mp4": "mp4v", "c.mkv": "MJPG", "d.mov": "mp4v", "e.webm": "VP80"}


def make_videos(folder: Path) -> None:
    from detector.utils.opencv import cv2

    for name, codec in CODECS.items():
        rng = np.random.default_rng(len(name))
        code = cv2.VideoWriter.fourcc(*codec)
        writer = cv2.VideoWriter(str(folder / name), code, 10, (64, 48))
        for _ in range(6):
            writer.write(rng.integers(0, 256, (48, 64, 3)).astype(np.uint8))
        writer.release()
        if not (folder / name).exists() or not (folder / name).stat().st_size:
            (folder / name).unlink(missing_ok=True)  # FFmpeg was built without the codec


def read_videos(folder: Path, file: Path) -> None:
    from detector.runtime.sources import open_source

    for _ in open_source(file):
        pass


def make_source_list(folder: Path) -> None:
    make_images(folder)
    (folder / "list.txt").write_text("".join(f"{name}.png\n" for name in SIZES))


def read_source_list(folder: Path, file: Path) -> None:
    from detector.runtime.sources import open_source

    for _ in open_source(folder / "list.txt"):
        pass


def make_cache(folder: Path) -> None:
    make_images(folder / "images")
    read_cache(folder, folder)


def read_cache(folder: Path, file: Path) -> None:
    from detector.data.cache import image_cache

    paths = sorted((folder / "images").glob("*.png"))
    images = image_cache("disk", paths, (32, 32), folder / "cache")
    for index in range(len(paths)):
        assert images[index].shape[2] == 3


# -------------------------------------------------------------------------------------- weights


def make_weights(folder: Path) -> None:
    from detector.model.detector import build
    from detector.weights.checkpoint import save_weights

    (folder / "finder.yaml").write_text(FINDER_MODEL)
    save_weights(folder / "finder.safetensors", build(folder / "finder.yaml"), {"epoch": 1})
    (folder / "finder.yaml").unlink()


LEGACY = {"_use_new_zipfile_serialization": False}


def make_pickles(folder: Path) -> None:
    import torch

    from detector.model.detector import build
    from tests.weights.interop.conftest import tiny_network, write_checkpoint

    write_checkpoint(tiny_network(), folder / "yolov5.pt")
    write_checkpoint(tiny_network(), folder / "yolov5_old.pt", **LEGACY)
    (folder / "finder.yaml").write_text(FINDER_MODEL)
    model = build(folder / "finder.yaml")
    (folder / "finder.yaml").unlink()
    state = {"state_dict": model.state_dict(), "epoch": 3, "names": ["red", "green"]}
    torch.save(state, folder / "state.pth")
    torch.save(state, folder / "old.pth", **LEGACY)


def read_weights(folder: Path, file: Path) -> None:
    from detector.utils.errors import DetectorError
    from detector.weights.checkpoint import find_class_names, load, read_state

    try:
        load(file)
    except DetectorError:  # start weights may be just tensors
        find_class_names(file, read_state(file))


# -------------------------------------------------------------------------------- exported files


def make_exported(folder: Path, form: str) -> None:
    make_weights(folder)
    weights = folder / "finder.safetensors"
    tool("export", "--weights", weights, "--format", form, "--output", folder / "finder")
    weights.unlink()


def make_onnx(folder: Path) -> None:
    make_exported(folder, "onnx")


def make_openvino(folder: Path) -> None:
    make_exported(folder, "openvino")


def make_pt2(folder: Path) -> None:
    make_exported(folder, "pt2")


def read_exported(folder: Path, file: Path) -> None:
    from detector.predict import Predictor

    model = next(f for f in folder.iterdir() if f.suffix in (".onnx", ".xml", ".pt2"))
    Predictor(model, threads=1).predict(np.full((64, 64, 3), 90, np.uint8))


def read_resealed_openvino(folder: Path, file: Path) -> None:
    model, weights = folder / "finder.xml", folder / "finder.bin"
    model.write_bytes(reseal(model.read_bytes(), weights.read_bytes()))
    read_exported(folder, file)


def read_certificate(folder: Path, file: Path) -> None:
    tool("val", "--weights", folder / "finder.onnx", "--certificate")


# ------------------------------------------------------------------- results of another machine


def make_results(folder: Path) -> None:
    boxes = [
        {"image_id": 1 + n % 3, "category_id": 1 + n % 2, "bbox": [n, 2.5, 30, 20], "score": 0.5}
        for n in range(6)
    ]
    (folder / "results.json").write_text(json.dumps(boxes))


def read_result_list(folder: Path, file: Path) -> None:
    from detector.evaluation.coco import CocoEvaluator
    from detector.evaluation.returned import read_results

    found = read_results(folder / "results.json", NETWORK, [1, 2, 3], [1, 2])  # type: ignore[arg-type]
    truth = {
        "images": [{"id": n, "height": 64, "width": 64} for n in (1, 2, 3)],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 2, 30, 20], "area": 600}
            | {"iscrowd": 0}
        ],
        "categories": [{"id": 1, "name": "red"}, {"id": 2, "name": "green"}],
    }
    evaluator = CocoEvaluator(truth, (1, 2), [1, 2, 3])
    evaluator.results = found
    evaluator.compute()


def make_returned(folder: Path) -> None:
    from detector.evaluation.inputs import dump_inputs

    make_images(folder / "images")
    samples, network = _returned_parts(folder)
    dump_inputs(folder, samples, network)
    boxes = np.random.default_rng(0).random((3, 5, 4)).astype(np.float32)
    np.savez(folder / "all.npz", boxes_xyxy=boxes, scores=boxes[..., :2])
    for file in folder.glob("*.npy"):
        file.unlink()


def _returned_parts(folder: Path) -> tuple[list[Any], Any]:
    from detector.settings.nms import NmsSettings
    from detector.structures.samples import Sample
    from tests.runtime.conftest import METADATA, FakeBackend

    network: Any = FakeBackend()
    network.eval_nms, network.names = NmsSettings(), METADATA.names
    empty = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    samples = [
        Sample(folder / "images" / f"{name}.png", *empty, size, image_id=number)
        for number, (name, size) in enumerate(SIZES.items(), 1)
    ]
    return samples, network


def read_returned(folder: Path, file: Path) -> None:
    from detector.evaluation.returned import ReturnedOutputs

    samples, network = _returned_parts(folder)
    outputs = ReturnedOutputs(folder / "all.npz", network, samples)
    for _ in samples:
        found = outputs(np.zeros((1, 3, 64, 64), np.float32))
        outputs.postprocess(tuple(array[0] for array in found), network.eval_nms)


# ----------------------------------------------------------------------------- training states


def make_run(folder: Path) -> None:
    make_yolo(folder)
    (folder / "model.yaml").write_text(TINY_MODEL)
    tool(
        "train",
        *("--cfg", folder / "model.yaml", "--data", folder / "data.yaml", "--project", folder),
        *("--name", "run", "--epochs", 1, "--batch", 2, "--workers", 0, "--no-pictures"),
        *("--cache", "none", "--device", "cpu"),
    )


def read_run(folder: Path, file: Path) -> None:
    from detector.engine.head_settings import train_settings
    from detector.engine.run import release_folders
    from detector.engine.setup import prepare

    try:
        trainer = prepare(train_settings(resume=str(folder / "run"), epochs=2, device="cpu"))
        next(trainer.train_epoch())
    finally:
        release_folders()


READERS = {
    "model file": Reader(make_models, ("*.yaml",), TEXT, read_models, 3),
    "data file": Reader(make_yolo, ("data.yaml",), TEXT, read_split, 3),
    "preset": Reader(make_preset, ("preset.yaml",), TEXT, read_preset, 3),
    "YOLO rows": Reader(make_yolo, ("labels/*.txt",), TEXT, read_split, 2),
    "YOLO polygons": Reader(make_polygons, ("labels/*.txt",), TEXT, read_train_split, 2),
    "COCO JSON": Reader(make_coco, ("annotations.json",), JSON, read_split, 4),
    "VOC XML": Reader(make_voc, ("Annotations/*.xml",), TEXT, read_split, 3),
    "VOC lists": Reader(make_voc, ("ImageSets/Main/*.txt",), TEXT, read_split),
    "darknet": Reader(
        make_darknet, ("obj.data", "obj.names", "*.txt", "*/*.txt"), TEXT, read_split, 2
    ),
    "class list": Reader(make_class_list, ("val.txt",), TEXT, read_class_split),
    "class files": Reader(make_class_files, ("labels/classes.txt",), TEXT, read_split),
    "images": Reader(make_pictures, ("*.*",), BINARY, read_pictures, 5),
    "images of a set": Reader(make_yolo, ("images/*",), BINARY, read_split, 2),
    "videos": Reader(make_videos, ("*.*",), BINARY, read_videos, 3),
    "source list": Reader(make_source_list, ("list.txt",), TEXT, read_source_list),
    "image cache": Reader(make_cache, ("cache/*/*.npz",), ZIP, read_cache),
    "safetensors": Reader(
        make_weights,
        ("*.safetensors",),
        (blunt, safetensors_header, safetensors_metadata, safetensors_metadata),
        read_weights,
        2,
    ),
    "zip pickles": Reader(make_pickles, ("yolov5.pt", "state.pth"), ZIP, read_weights, 3),
    "old pickles": Reader(make_pickles, ("*old*",), BINARY, read_weights, 2),
    "onnx": Reader(
        make_onnx,
        ("*.onnx",),
        (blunt, sealed(blunt), sealed(blunt), sealed(onnx_fields), sealed(onnx_fields)),
        read_exported,
        3,
    ),
    "openvino": Reader(make_openvino, ("*.xml", "*.bin"), TEXT, read_exported),
    "openvino, sealed anew": Reader(
        make_openvino, ("*.xml", "*.xml", "*.bin"), TEXT, read_resealed_openvino, 2
    ),
    "pt2": Reader(
        make_pt2, ("*.pt2",), (*BINARY, *map(sealed, ZIP), sealed(member(values))), read_exported, 2
    ),
    "certificate": Reader(make_onnx, ("*.certificate.json",), JSON, read_certificate, 2),
    "results": Reader(make_results, ("*.json",), JSON, read_result_list, 2),
    "returned outputs": Reader(
        make_returned, ("*.npz", "*.json"), (*ZIP, values), read_returned, 2
    ),
    "training state": Reader(make_run, ("run/*.state.pt",), ZIP, read_run, 1),
    "run settings": Reader(make_run, ("run/settings.yaml",), TEXT, read_run, 1),
}
