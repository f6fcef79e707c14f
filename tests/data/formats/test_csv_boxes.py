"""CSV files of boxes."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.data.dataset import open_dataset
from detector.data.formats.csv_boxes import find_columns, read_file
from detector.data.formats.definition import load_definition
from detector.data.formats.splits import Split
from detector.utils.errors import DetectorError

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


@pytest.fixture
def csv_folder(tmp_path: Path, make_image) -> Callable[..., Path]:
    """Write 20×40 images a.png and b.png, a CSV file and a definition; return the CSV file."""

    def make(text: str | bytes, names: str = "[cat, dog]") -> Path:
        make_image("images/a.png")
        make_image("images/b.png")
        file = tmp_path / "boxes.csv"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        definition = f"names: {names}\ntrain: {{annotations: boxes.csv, images: images}}\n"
        (tmp_path / "set.yaml").write_text(definition)
        return file

    return make


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(
    "text",
    [
        "a.png,1,2,30,12,dog\nb.png,,,,,\na.png,5.5,6,7,8,cat\n",
        "a.png,1,2,30,12,dog\r\n\r\nb.png,,,,,\r\na.png,5.5,6,7,8,cat",
        "a.png,1,2,30,12,dog\rb.png,,,,,\ra.png,5.5,6,7,8,cat\r",
        HEADER + "a.png,40,20,dog,1,2,30,12\nb.png,40,20,,,,,\na.png,40,20,cat,5.5,6,7,8\n",
        "Class; ymin; XMAX; more; x_min; y2; image_path\n"
        "dog;2;30;;1;12;a.png\n;;;;;;b.png\ncat;6;7;x;5.5;8;./a.png\n",
        'filename\tx1\ty1\tx2\ty2\tlabel\n"a.png"\t1\t2\t30\t12\tdog\nb.png\t\t\t\t\t\n'
        '"a.png"\t5.5\t6\t7\t8\t"cat"\n',
    ],
)
def test_both_forms(tmp_path: Path, csv_folder, text: str, bom: bytes) -> None:
    csv_folder(bom + text.encode())
    dataset = open_dataset(tmp_path / "set.yaml", "train")
    assert [sample.path.name for sample in dataset.samples] == ["a.png", "b.png"]
    a, b = dataset.samples
    assert a.boxes_xyxy.tolist() == [[1, 2, 30, 12], [5.5, 6, 7, 8]]
    assert a.class_ids.tolist() == [1, 0]
    assert b.boxes_xyxy.shape == (0, 4)
    assert f"split 'train' of {tmp_path / 'set.yaml'}: 2 images, 2 boxes, from CSV" in (
        dataset.report
    )


def test_paths_of_another_machine(tmp_path: Path, csv_folder) -> None:
    csv_folder("C:\\x\\images\\a.png,1,2,3,4,cat\nC:\\x\\images\\b.png,1,2,3,4,cat\n")
    dataset = open_dataset(tmp_path / "set.yaml", "train")
    assert len(dataset) == 2
    assert (
        "listed images found by the ends of their paths, such as images/a.png for "
        "C:\\x\\images\\a.png: 2"
    ) in dataset.report


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.png,1,x,3,4,cat", "y1: 'x' is not a number"),
        ("a.png,1,,3,4,cat", "y1: '' is not a number"),
        ("a.png,1,nan,3,4,cat", "y1: 'nan' is not a finite number"),
        ("a.png,1,2,3,4,", "a box without a class"),
        ("a.png,5,2,3,4,cat", "box (5, 2, 3, 4) (x1, y1, x2, y2) has a negative size"),
        (
            "a.png,.1,.2,.3,.4,cat",
            "box (0.1, 0.2, 0.3, 0.4) has fractions of the image, expected pixels",
        ),
        ("a.png,1,2,3,4,cap", "class 'cap' is not among the names; did you mean 'cat'?"),
        ("a.png,1,2,3,4,emu", "class 'emu' is not among the names, expected one of: cat, dog"),
    ],
)
def test_an_invalid_row(tmp_path: Path, csv_folder, row: str, message: str) -> None:
    file = csv_folder(f"b.png,1,2,3,4,dog\n{row}\na.png,1,2,3,4,dog\n")
    with pytest.raises(DetectorError) as caught:
        open_dataset(tmp_path / "set.yaml", "train")
    assert str(caught.value) == f"{file}:2: {message} (--skip-bad leaves it out)"
    dataset = open_dataset(tmp_path / "set.yaml", "train", skip_bad=True)
    assert "label rows dropped (--skip-bad): 1" in dataset.report
    assert sum(len(sample.class_ids) for sample in dataset.samples) == 2


@pytest.mark.parametrize(
    ("rows", "line", "message"),
    [
        (
            "a.png,40,20,cat,1,2,3,4\nc.png,40,20,cat,1,2,3,4\n",
            3,
            "no image 'c.png', looked for at {root}/images/c.png",
        ),
        (
            "b.png,40,20,cat,1,2,3,4\nb.png,40,20,cat,1,2,4,4\na.png,80,40,cat,1,2,3,4\n",
            4,
            "image 'a.png': labels are of an image of 80×40 pixels, found 40×20",
        ),
        ("b.png,0,,cat,1,2,3,4\na.png,x,20,cat,1,2,3,4\n", 3, "width: 'x' is not a number"),
        ("b.png,,,cat,1,2,3,4\na.png,4.5,2,cat,1,2,3,4\n", 3, "width: '4.5' is not a whole number"),
    ],
)
def test_images_and_their_sizes(
    tmp_path: Path, csv_folder, rows: str, line: int, message: str
) -> None:
    file = csv_folder(HEADER + rows)
    with pytest.raises(DetectorError) as caught:
        open_dataset(tmp_path / "set.yaml", "train")
    text = message.format(root=tmp_path)
    assert str(caught.value) == f"{file}:{line}: {text} (--skip-bad leaves it out)"


def test_boxes_of_zero_size_and_images_without_a_row_are_counted(
    tmp_path: Path, csv_folder
) -> None:
    csv_folder("a.png,1,2,1,4,cat\na.png,1,2,3,4,cat\n")
    report = open_dataset(tmp_path / "set.yaml", "train").report
    assert "boxes of zero size dropped: 1" in report
    assert "images that boxes.csv does not name, left out: 1" in report


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"",
            ": no columns of boxes, expected rows path,x1,y1,x2,y2,class or a header with "
            "filename, xmin, ymin, xmax, ymax and class",
        ),
        (b"a.png,1,2,3,4,cat\na.png,1,2,3,4\n", ":2: 5 columns, expected 6"),
        (b"a.png,1,2,3,4,cat\na.png,1,2,3,4,cat,red\n", ":2: 7 columns, expected 6"),
        (b"a.png,1,2,3,4,cat\n,1,2,3,4,cat\n", ":2: '', expected the path of an image"),
        (
            b'a.png,1,2,3,4,cat\n"a.png,1,2,3,4,cat\n\n',
            ":2: CSV syntax: unexpected end of data",
        ),
        (
            b"a.png,1,2,3,4,cat\na.png,1,2,3,4," + b"x" * 200_000,
            ":2: CSV syntax: field larger than field limit (131072)",
        ),
        (
            b"a.png,1,2,3,4,cat\n" + b"x" * 252 + b".png,1,2,3,4,cat\n",  # 256 bytes
            f":2: '{'x' * 56}..., expected the path of an image",
        ),
        (HEADER.encode(), ": is empty, expected a row for each box"),
        (b"a.png,1,2,3,4,\xff\n", ": is not UTF-8 text"),
        (
            b"path,filename,xmin,ymin,xmax,ymax,class\n",
            ":1: columns 'path' and 'filename' may both be the image, expected one",
        ),
    ],
)
def test_a_file_that_cannot_be_read(csv_folder, content: bytes, message: str) -> None:
    file = csv_folder(content)
    with pytest.raises(DetectorError) as caught:
        read_file(file)
    assert str(caught.value) == f"{file}{message}"


@pytest.mark.parametrize(
    "text",
    [
        "filename,class\na.png,cat\n",  # classes of whole images
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\nim0,x,/m/01,1,.1,.2,.3,.4\n",
        "cat,0\ndog,1\n",
        "epoch,loss,ap,ap50,lr,time\n1,2,3,4,5,6\n",
        "1,2,3,4,5,6\n",
        "a.png\r,1,2,3,4,cat",
        "",
    ],
)
def test_other_csv_files_are_none_of_boxes(csv_folder, text: str) -> None:
    assert find_columns(csv_folder(text)) is None


def test_limits(csv_folder, monkeypatch) -> None:
    file = csv_folder("a.png,1,2,3,4,cat\n")  # 18 bytes
    monkeypatch.setattr("detector.data.formats.csv_boxes.MAX_CSV_BYTES", 17)
    with pytest.raises(DetectorError) as caught:
        read_file(file)
    assert str(caught.value) == f"{file}: has more than 17 bytes"


# ------------------------------------------------------------------------------------ folders


def test_a_folder_with_one_file_is_divided(tmp_path: Path, csv_folder) -> None:
    csv_folder("images/a.png,1,2,3,4,dog\nimages/b.png,1,2,3,4,cat\n")
    (tmp_path / "set.yaml").unlink()
    definition = load_definition(tmp_path)
    place = {"annotations": "boxes.csv", "images": ".", "seed": 0}
    assert definition.splits == {
        "train": (Split(**place, part=(0, 0.8)),),
        "val": (Split(**place, part=(0.8, 1)),),
    }
    assert definition.names == ("cat", "dog")
    assert definition.notes[0] == (f"{tmp_path}: train: CSV, boxes.csv with the images in .")
    assert definition.notes[-1] == "class names are those in the CSV files, sorted"


@pytest.mark.parametrize(
    ("files", "places"),
    [
        (
            {"train_labels.csv": "a.png", "test_labels.csv": "b.png"},
            {"train": ("train_labels.csv", "images"), "test": ("test_labels.csv", "images")},
        ),
        (
            {"data/annotations-train.csv": "a.png", "data/annotations-val.csv": "b.png"},
            {
                "train": ("data/annotations-train.csv", "images"),
                "val": ("data/annotations-val.csv", "images"),
            },
        ),
        (
            {"train/_annotations.csv": "c.png", "valid/_annotations.csv": "c.png"},
            {
                "train": ("train/_annotations.csv", "train"),
                "val": ("valid/_annotations.csv", "valid"),
            },
        ),
    ],
)
def test_files_of_splits(
    tmp_path: Path, make_image, files: dict[str, str], places: dict[str, tuple[str, str]]
) -> None:
    for image in ("images/a.png", "images/b.png", "train/c.png", "valid/c.png"):
        make_image(image)
    for name, image in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{HEADER}{image},40,20,cat,1,2,3,4\n")
    definition = load_definition(tmp_path)
    assert definition.splits == {
        split: (Split(annotations=file, images=folder),) for split, (file, folder) in places.items()
    }
    assert all(len(open_dataset(definition, split)) == 1 for split in places)


def test_files_of_no_split_beside_those_of_splits(tmp_path: Path, csv_folder) -> None:
    file = csv_folder("a.png,1,2,3,4,cat\n")
    (tmp_path / "set.yaml").unlink()
    file.with_name("train.csv").write_text("a.png,1,2,3,4,cat\n")
    definition = load_definition(tmp_path)
    assert definition.splits == {"train": (Split(annotations="train.csv", images="images"),)}
    assert "boxes of no split, left out: boxes.csv" in definition.notes


def test_two_files_of_one_split(tmp_path: Path, csv_folder) -> None:
    file = csv_folder("a.png,1,2,3,4,cat\n")
    (tmp_path / "set.yaml").unlink()
    file.with_name("more.csv").write_text("b.png,1,2,3,4,cat\n")
    with pytest.raises(DetectorError) as caught:
        load_definition(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: boxes.csv and more.csv both have boxes of no split; a data.yaml says which: "
        "SPLIT: {annotations: FILE, images: FOLDER}"
    )


def test_images_that_are_nowhere(tmp_path: Path, csv_folder) -> None:
    file = csv_folder("/x/c.png,1,2,3,4,cat\n")
    (tmp_path / "set.yaml").unlink()
    with pytest.raises(DetectorError) as caught:
        load_definition(tmp_path)
    assert str(caught.value) == (
        f"{file}: its first image, '/x/c.png', is in no folder below {tmp_path}"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dog,0\ncat,1\n", ("dog", "cat")),
        ("cat,1\ndog,0\n", ("dog", "cat")),
        ("name,id\ndog,0\ncat,1\n", ("dog", "cat")),
        ("cat,1\ndog,00\n", ("dog", "cat")),
        ("dog,0\ncat,2\n", ": id 1 is missing, expected 0, 1, 2, …"),
        ("dog,1\ncat,2\n", ": id 0 is missing, expected 0, 1, 2, …"),
        ("\n", ": id 0 is missing, expected 0, 1, 2, …"),
        ("dog,0\ncat,0\n", ":2: id 0 is that of 'dog', too"),
        ("dog,0\ncat\n", ":2: 'cat', expected a name and a number: name,id"),
        ("dog,0\ncat,one\n", ":2: 'cat,one', expected a name and a number: name,id"),
    ],
)
@pytest.mark.parametrize("name", ["classes.csv", "class_list.csv"])
def test_files_of_classes(
    tmp_path: Path, csv_folder, text: str, expected: str | tuple[str, ...], name: str
) -> None:
    csv_folder("a.png,1,2,3,4,cat\nb.png,1,2,3,4,dog\n")
    (tmp_path / "set.yaml").unlink()
    file = tmp_path / name
    file.write_text(text)
    if isinstance(expected, tuple):
        definition = load_definition(tmp_path)
        assert definition.names == expected
        assert definition.notes[-1] == f"class names are from {name}, by their ids"
    else:
        with pytest.raises(DetectorError) as caught:
            load_definition(tmp_path)
        assert str(caught.value) == f"{file}{expected}"


AMBIGUOUS = "path,filename,xmin,ymin,xmax,ymax,class\n"


def test_a_file_with_an_ambiguous_header_beside_another_layout(tmp_path: Path, make_image) -> None:
    make_image("images/train/a.png")
    (tmp_path / "boxes.csv").write_text(AMBIGUOUS)
    with pytest.raises(DetectorError) as caught:
        load_definition(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'boxes.csv'}:1: columns 'path' and 'filename' may both be the image, "
        "expected one"
    )
    (tmp_path / "labels/train").mkdir(parents=True)
    (tmp_path / "labels/train/a.txt").write_text("0 .5 .5 .1 .1\n")
    definition = load_definition(tmp_path)
    assert definition.splits == {"train": (Split(images="images/train"),)}
    assert "boxes of no split, left out: boxes.csv" in definition.notes


def test_many_files_of_no_split_are_counted(tmp_path: Path, make_image) -> None:
    make_image("images/train/a.png")
    (tmp_path / "labels/train").mkdir(parents=True)
    (tmp_path / "labels/train/a.txt").write_text("0 .5 .5 .1 .1\n")
    for number in range(7):
        (tmp_path / f"{number}.csv").write_text("a.png,1,2,3,4,cat\n")
    assert (
        "boxes of no split, left out: 0.csv, 1.csv, 2.csv, 3.csv, 4.csv and 2 more"
    ) in load_definition(tmp_path).notes


TEXTS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=8)
CLASSES = TEXTS.map(str.strip).filter(bool)
CORNERS = st.tuples(*[st.integers(0, 9999) | st.floats(0, 9999, width=32)] * 4)


@given(
    images=st.dictionaries(
        TEXTS.map(str.strip).filter(lambda text: text.strip("./\\") == text and text),
        st.lists(st.tuples(CLASSES, CORNERS), max_size=3),
        min_size=1,
        max_size=3,
    ),
    order=st.permutations(["filename", "xmin", "ymin", "xmax", "ymax", "class"]),
    has_header=st.booleans(),
    delimiter=st.sampled_from(",;\t"),
)
def test_written_boxes_come_back(
    tmp_path_factory, images, order: list[str], has_header: bool, delimiter: str
) -> None:
    order = order if has_header else ["filename", "xmin", "ymin", "xmax", "ymax", "class"]
    file = tmp_path_factory.mktemp("csv") / "boxes.csv"
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, order, delimiter=delimiter, restval="")
        if has_header:
            writer.writeheader()
        for name, boxes in images.items():
            corners = ("xmin", "ymin", "xmax", "ymax")
            rows = [{"class": text, **dict(zip(corners, box, strict=True))} for text, box in boxes]
            writer.writerows({"filename": f"{name}.png", **row} for row in rows or [{}])
    found = read_file(file)
    assert [image.name for image in found] == [f"{name}.png" for name in images]
    for image, boxes in zip(found, images.values(), strict=True):
        assert not image.issues
        assert [(box.class_name, box.box_xyxy) for box in image.boxes] == boxes
