"""Definition files."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.data.dataset import open_dataset
from detector.data.formats.definition import load_definition
from detector.data.formats.shapes import CLASSES
from detector.data.formats.splits import Split
from detector.engine.head_settings import train_settings
from detector.utils.errors import DetectorError

SHIPPED = ["bccd", "coco", "coco128", "shapes", "voc"]


def define(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "set.yaml"
    path.write_text(text)
    return path


# ---------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_definitions(name: str) -> None:
    definition = load_definition(f"datasets/{name}.yaml")
    assert definition.splits == load_definition(name).splits
    assert {"train", "val"} <= definition.splits.keys()
    count = {"bccd": 3, "coco": 80, "coco128": 80, "shapes": 4, "voc": 20}[name]
    assert len(definition.names) == count


def test_every_shipped_definition_is_tested() -> None:
    folder = Path(__file__).parents[3] / "datasets"
    assert sorted(path.stem for path in folder.iterdir()) == SHIPPED


def test_the_quick_start_block_is_of_training_settings() -> None:

    quickstart = load_definition("shapes").quickstart
    assert {"imgsz", "epochs", "batch", "learning_rate", "variant"} <= quickstart.keys()
    train_settings(**quickstart)


def test_a_data_root_takes_the_place_of_the_path(tmp_path: Path) -> None:
    path = define(tmp_path, "path: inner\nnames: [a]\ntrain: images\n")
    assert load_definition(path).root == tmp_path / "inner"
    assert load_definition(path, Path("/elsewhere")).root == Path("/elsewhere")
    absolute = define(tmp_path, f"path: {tmp_path}/x\nnames: [a]\ntrain: images\n")
    assert load_definition(absolute).root == tmp_path / "x"
    without = define(tmp_path, "names: [a]\ntrain: images\n")
    assert load_definition(without).root == tmp_path


@pytest.mark.parametrize(
    ("names", "texts"),
    [
        ("[a, b]", ("a", "b")),
        ("[0, 1]", ("0", "1")),
        # in YAML 1.1: 7, 8, "09", 90, 31, 10, 5, two floats and a date
        ("[007, 010, 09, 1:30]", ("007", "010", "09", "1:30")),
        ("[0x1F, 1_0, +5]", ("0x1F", "1_0", "+5")),
        ("[1.0, 1e3, 2024-01-01]", ("1.0", "1e3", "2024-01-01")),
        ("{1: 010, 0: 8}", ("8", "010")),
        ("['010', \"1:30\", 1]", ("010", "1:30", "1")),
    ],
)
def test_names_are_the_text_as_written(tmp_path: Path, names: str, texts: tuple[str, ...]) -> None:
    path = define(tmp_path, f"train: x\nnames: {names}\n")
    assert load_definition(path).names == texts


def test_all_forms_of_a_split(tmp_path: Path) -> None:
    path = define(
        tmp_path,
        """
names: {1: dog, 0: cat}
nc: 2
train: images/train          # as YOLO's files have it
val: [images/val, more.txt]
test:
test_night: {annotations: night.json, images: night}
splits:
  tiny: {images: pics, annotations: xml, image_set: tiny.txt}
  half: {images: pics, labels: marks, part: [0, 0.5], seed: 3}
""",
    )
    definition = load_definition(path)
    assert definition.names == ("cat", "dog")
    assert definition.splits == {
        "tiny": (Split(images="pics", annotations="xml", image_set="tiny.txt"),),
        "half": (Split(images="pics", labels="marks", part=(0, 0.5), seed=3),),
        "train": (Split(images="images/train"),),
        "val": (Split(images="images/val"), Split(list_file="more.txt")),
        "test_night": (Split(annotations="night.json", images="night"),),
    }
    formats = {name: places[0].format for name, places in definition.splits.items()}
    assert formats["tiny"] == "Pascal VOC XML"
    assert formats["test_night"] == "COCO JSON"
    assert formats["train"] == "YOLO txt"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "expected a mapping of settings, found nothing"),
        ("[a]", 1, "expected a mapping of settings, found list"),
        ("names: [a]\n", 1, "no split, expected train, val or others"),
        ("names: [a]\ntrain:\n", 1, "no split, expected train, val or others"),
        (
            "nams: [a]\ntrain: images\n",
            1,
            "unknown key 'nams'; did you mean 'names'?",
        ),
        (
            "names: [a]\ntrain: {image: x}\n",
            2,
            "unknown key 'image'; did you mean 'images'?",
        ),
        ("names: [a]\ntrain:\n  - a\n  - 5\n", 4, "expected a mapping of settings, found int"),
        ("names: [a]\nsplits: {train: {}}\n", 2, "expected images, list_file or annotations"),
        (
            "names: [a]\ntrain: {images: x, part: [0.5, 0.5]}\n",
            2,
            "part: expected from < to, found [0.5, 0.5]",
        ),
        (
            "names: [a]\ntrain: {images: x, image_set: a.txt}\n",
            2,
            "image_set needs annotations, a folder of XML files",
        ),
        (
            "names: [a]\ntrain: {list_file: x.txt, annotations: a.json}\n",
            2,
            "list_file is for YOLO txt, annotations for other formats: give one of them",
        ),
        ("train: x\nnames: {0: a, 2: b}\n", 2, "names: number 1 is missing, expected 0, 1, 2, …"),
        ("train: x\nnames: 5\n", 2, "names: expected a list or a mapping, found 5"),
        ("train: x\nnames: []\n", 2, "names: no class names"),
        ("train: x\nnames: [a, b, a]\n", 2, "names: class name 'a' appears twice"),
        (
            "train: x\nnames: [yes, no]\n",
            2,
            "names: expected a class name, found True; put it in quotes",
        ),
        ("train: x\nnames: [a, b]\nnc: 3\n", 3, "nc is 3, but there are 2 names, expected nc: 2"),
        (
            "generate: {name: shapes}\nnames: [a]\n",
            2,
            f"names: the generated set has {', '.join(CLASSES)}",
        ),
        (
            "generate: {name: shapes, imagesize: 64}\n",
            1,
            "unknown key 'imagesize'; did you mean 'image_size'?",
        ),
        (
            "generate: shape\n",
            1,
            "name: expected 'shapes', found 'shape'",
        ),
        ("train: x\ntrain: y\nnames: [a]\n", 2, "key 'train' appears twice"),
        ("names: !!python/object/apply:os.system [ls]\ntrain: x\n", 1, None),
    ],
)
def test_bad_definitions(tmp_path: Path, text: str, line: int, message: str | None) -> None:
    path = define(tmp_path, text)
    with pytest.raises(DetectorError) as caught:
        load_definition(path)
    if message is not None:
        assert str(caught.value) == f"{path}:{line}: {message}"
    assert caught.value.line == line


def test_unknown_definition() -> None:
    with pytest.raises(DetectorError) as caught:
        load_definition("datasets/bcdd.yaml")
    assert str(caught.value) == "datasets/bcdd.yaml: no such file; did you mean 'bccd'?"


def test_a_missing_split_of_a_single_one(tmp_path: Path, make_image) -> None:
    """The divided split that the message proposes can be written as it stands."""
    for index in range(5):
        make_image(f"my train/{index}.png")
        (tmp_path / f"my train/{index}.txt").write_text("0 .5 .5 .1 .1\n")
    place = "{images: my train, labels: my train}"
    path = define(tmp_path, f"names: [a]\ntrain: {place}\n")
    with pytest.raises(DetectorError) as caught:
        load_definition(path).places("val", "--val-split")
    start = (
        f"{path}: no split 'val'; it has train: --val-split train takes that one, or a data.yaml "
        "divides it: "
    )
    divided = str(caught.value).removeprefix(start)
    assert divided == (
        "train: {images: my train, labels: my train, part: [0.0, 0.8]}, "
        "val: {images: my train, labels: my train, part: [0.8, 1.0]}"
    )
    path = define(tmp_path, "names: [a]\n" + divided.replace("}, ", "}\n"))
    sizes = [len(open_dataset(path, split)) for split in ("train", "val")]
    assert sizes == [4, 1]  # 80 % of 5 images
    path = define(tmp_path, f"names: [a]\ntrain: [{place}, {place}]\n")
    with pytest.raises(DetectorError) as caught:
        load_definition(path).places("val")
    assert str(caught.value) == (
        f"{path}: no split 'val'; it has train: --split train takes that one"
    )


def test_unknown_split_and_missing_folder(tmp_path: Path) -> None:
    path = define(tmp_path, "path: inner\nnames: [a]\nsplits: {train: x, val: y}\n")
    definition = load_definition(path)
    with pytest.raises(DetectorError) as caught:
        definition.places("valid")
    assert str(caught.value) == f"{path}: no split 'valid'; did you mean 'val'?"
    with pytest.raises(DetectorError) as caught:
        definition.places("xyz")
    assert str(caught.value) == (
        f"{path}: no split 'xyz'; it has train, val, for example --split val"
    )
    with pytest.raises(DetectorError) as caught:
        definition.prepared_root()
    assert str(caught.value) == (
        f"{path}:1: the folder {tmp_path / 'inner'} does not exist; {tmp_path} holds set.yaml; "
        "--data-root DIR sets the data's folder"
    )


def test_a_download_key_is_not_acted_upon(tmp_path: Path) -> None:
    path = define(tmp_path, "names: [a]\ntrain: x\ndownload: https://example.org/a.zip\n")
    assert load_definition(path).notes == ("'download' is ignored: nothing is fetched",)


def test_keys_of_other_projects(tmp_path: Path) -> None:
    text = (
        "names: [a]\nnc: 1\ntrain: x\nval: {annotations: a.json, images: x}\nchannels: 3\n"
        "roboflow: {license: MIT}\nkpt_shape: [5, 3]\nflip_idx: [1, 0, 2, 4, 3]\n"
        "splits: {test: {images: x, polygons: true}}\n"
    )
    definition = load_definition(define(tmp_path, text))
    assert definition.notes == ()
    assert definition.splits == {
        "test": (Split(images="x", polygons=True),),
        "train": (Split(images="x", kpt_shape=(5, 3)),),
        "val": (Split(annotations="a.json", images="x"),),
    }
    path = define(tmp_path, "names: [a]\ntrain: x\nchannels: 1\npolygons: true\n")
    definition = load_definition(path)
    assert definition.notes == ("'channels: 1' is ignored: images are read as RGB",)
    assert definition.splits == {"train": (Split(images="x", polygons=True),)}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("kpt_shape: [17]", "key 'kpt_shape.1' is missing"),
        ("kpt_shape: [5, 4]", "kpt_shape.1: expected 2 or 3, found 4"),
        ("kpt_shape: [0, 2]", "kpt_shape.0: expected at least 1, found 0"),
        ("kpt_shape: [5, 2]\npolygons: true", "polygons does not go with kpt_shape"),
    ],
)
def test_bad_keypoint_keys(tmp_path: Path, keys: str, message: str) -> None:
    path = define(tmp_path, f"names: [a]\ntrain: x\n{keys}\n")
    with pytest.raises(DetectorError) as caught:
        load_definition(path)
    assert caught.value.message == message


def test_a_number_of_classes_without_names(tmp_path: Path, make_image) -> None:
    make_image("images/train/a.png")
    (tmp_path / "labels/train").mkdir(parents=True)
    (tmp_path / "labels/train/a.txt").write_text("1 .5 .5 .1 .1\n")
    assert load_definition(define(tmp_path, "train: images/train\nnc: 3\n")).names == (
        "0",
        "1",
        "2",
    )
    with pytest.raises(DetectorError) as caught:
        load_definition(define(tmp_path, "train: images/train\nnc: 1\n"))
    assert caught.value.message == "nc is 1, but the labels have 2 classes, expected nc: 2"
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert load_definition(define(tmp_path, "train: images/train\nnc: 2\n")).names == ("cat", "dog")
    with pytest.raises(DetectorError) as caught:
        load_definition(define(tmp_path, "train: images/train\nnc: 3\n"))
    assert caught.value.message == "nc is 3, but the labels have 2 classes, expected nc: 2"


# ---------------------------------------------------------------------------------- one class each


def test_class_folders_and_lists_in_a_file(tmp_path: Path, make_image) -> None:
    make_image("pictures/cat/a.png")
    (tmp_path / "val_label.txt").write_text("a.png 1\n")
    (tmp_path / "names.txt").write_text("cat\ngreat white shark\n")
    text = (
        "names: names.txt\ntrain: pictures\nval: val_label.txt\n"
        "splits: {own: {class_list: val_label.txt, images: pictures/cat}}\n"
    )
    definition = load_definition(define(tmp_path, text))
    assert definition.names == ("cat", "great white shark")
    assert definition.splits == {
        "own": (Split(class_list="val_label.txt", images="pictures/cat"),),
        "train": (Split(class_folders="pictures"),),
        "val": (Split(class_list="val_label.txt"),),
    }
    assert {place.task for (place,) in definition.splits.values()} == {"classify"}


def test_names_of_lists(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a.png 1\n")
    (tmp_path / "b.txt").write_text("a.png 2\n")
    path = define(tmp_path, "train: a.txt\nval: b.txt\n")
    assert load_definition(path).names == ("0", "1", "2")
    (tmp_path / "b.txt").write_text("a.png dog\n")
    (tmp_path / "a.txt").write_text("a.png cat\n")
    assert load_definition(path).names == ("cat", "dog")


def test_images_with_labels_beside_them_stay_yolo(tmp_path: Path, make_image) -> None:
    make_image("images/train/street/a.png")
    (tmp_path / "labels/train/street").mkdir(parents=True)
    (tmp_path / "labels/train/street/a.txt").write_text("0 0.5 0.5 1 1\n")
    path = define(tmp_path, "names: [a]\ntrain: images/train\n")
    assert load_definition(path).splits == {"train": (Split(images="images/train"),)}


@pytest.mark.parametrize("negatives", ["background", "zebra"])
@pytest.mark.parametrize("names", ["names: [a]\n", ""])
@pytest.mark.parametrize("labels", ["labels/train/street", "images/train/street"])
def test_a_folder_of_negatives_keeps_a_set_yolo(
    tmp_path: Path, make_image, negatives: str, names: str, labels: str
) -> None:
    make_image("images/train/street/a.png")
    make_image(f"images/train/{negatives}/b.png")
    (tmp_path / labels).mkdir(parents=True, exist_ok=True)
    (tmp_path / labels / "a.txt").write_text("0 0.5 0.5 1 1\n")
    path = define(tmp_path, f"{names}train: images/train\n")
    dataset = open_dataset(path, "train")
    assert dataset.task == "detect"
    boxes = {sample.path.stem: len(sample.class_ids) for sample in dataset.samples}
    assert boxes == {"a": 1, "b": 0}
    # without any label these are folders of classes
    (tmp_path / labels / "a.txt").unlink()
    assert open_dataset(define(tmp_path, "train: images/train\n"), "train").task == "classify"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "names: [a]\ntrain: {class_folders: x, labels: y}\n",
            "{file}:2: labels does not go with class_folders",
        ),
        (
            "names: [a]\ntrain: {class_list: x.txt, list_file: y.txt}\n",
            "{file}:2: list_file does not go with class_list",
        ),
        ("names: none.txt\ntrain: x\n", "{folder}/none.txt: cannot be read: No such file or dir"),
        ("names: empty.txt\ntrain: x\n", "{folder}/empty.txt: is empty, expected one class name"),
        ("names: twice.txt\ntrain: x\n", "{file}:1: names: class name 'a' appears twice"),
    ],
)
def test_wrong_words_about_classes(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "twice.txt").write_text("a\na\n")
    path = define(tmp_path, text)
    with pytest.raises(DetectorError) as caught:
        load_definition(path)
    assert str(caught.value).startswith(message.format(file=path, folder=tmp_path))


# --------------------------------------------------------------------- definition files of a folder


def yolo_set(tmp_path: Path, make_image) -> None:
    make_image("images/train/a.png")
    (tmp_path / "labels/train").mkdir(parents=True)
    (tmp_path / "labels/train/a.txt").write_text("0 .5 .5 .1 .1\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"train: images/train\nnames: [a\nval: x\n", ":3: YAML syntax: expected ',' or ']', but "
         "got ':' (while parsing a flow sequence from line 2)"),
        (b"'val' : images/train\nnames: !cat [a]\n", ":2: tag '!cat' is not allowed, a file holds "
         "plain values only"),
        (b"names: [caf\xe9]\nsplits:\n  train: images/train\n", ": is not UTF-8 text"),
    ],
)  # fmt: skip
def test_a_broken_definition_in_a_folder(
    tmp_path: Path, make_image, content: bytes, message: str
) -> None:
    yolo_set(tmp_path, make_image)
    broken = tmp_path / "pets.yaml"
    broken.write_bytes(content)
    with pytest.raises(DetectorError) as caught:
        load_definition(tmp_path)
    assert str(caught.value) == f"{broken}{message}"
    define(tmp_path, "train: images/train\nnames: [cat]\n")  # another one, which is read
    definition = load_definition(tmp_path)
    assert definition.names == ("cat",)
    place, _, reason = message.partition(": ")
    line = f" in line {place[1:]}" if place else ""
    assert definition.notes == (f"pets.yaml cannot be used: {reason}{line}",)


@pytest.mark.parametrize("text", ["a: !cat b\n", "%YAML:1.0\n", "training: [a\n", "  train: [a\n"])
def test_broken_files_that_define_no_splits_are_named(
    tmp_path: Path, make_image, text: str
) -> None:
    yolo_set(tmp_path, make_image)
    (tmp_path / "more.yml").write_text("train_epochs: 3\n")
    assert not any(".yml" in note for note in load_definition(tmp_path).notes)
    for number in range(7):
        (tmp_path / f"{number}.yml").write_text(text)
    definition = load_definition(tmp_path)
    assert definition.splits == {"train": (Split(images="images/train"),)}
    *_, last, counted = definition.notes
    assert last.startswith("4.yml cannot be used: ")
    assert counted == "2 more YAML files cannot be used"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("all.json", "train: {{annotations: {}, images: FOLDER}}"),
        ("all.CSV", "train: {{annotations: {}, images: FOLDER}}"),
        ("list.txt", "train: {}"),
    ],
)
def test_file_of_labels_in_place_of_a_definition(name: str, place: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(DetectorError) as error:
        load_definition(tmp_path / name)
    assert str(error.value) == (
        f"{tmp_path / name}: names no splits, expected a folder or a data.yaml, such as one with "
        f"{place.format(tmp_path / name)}"
    )


def test_image_in_place_of_a_definition(tmp_path: Path, make_image) -> None:
    image = make_image("photos/a.jpg")
    with pytest.raises(DetectorError) as error:
        load_definition(image)
    assert str(error.value) == (
        f"{image}: is one image, expected a folder or a data.yaml: --data {image.parent} is its "
        "folder"
    )


@pytest.mark.parametrize(("wrong", "right"), [("fotos", "photos"), ("mydata.yaml", "my_data.yaml")])
def test_nearest_name_beside_data_that_do_not_exist(wrong: str, right: str, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "my_data.yaml").touch()
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(DetectorError) as error:
        load_definition(tmp_path / wrong)
    assert str(error.value) == f"{tmp_path / wrong}: no such file; did you mean {right!r}?"
    with pytest.raises(DetectorError) as error:
        load_definition(tmp_path / "none" / wrong)
    assert str(error.value) == f"{tmp_path / 'none' / wrong}: no such file"
