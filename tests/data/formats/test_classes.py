"""Class folders, and lists of images with their classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.data.formats.classes import (
    folder_names,
    images_in_folders,
    images_in_list,
    is_folder,
    is_list,
    list_names,
)
from detector.data.formats.rows import AnnotatedImage
from detector.utils.errors import DetectorError

NAMES = ("cat", "dog")


def kinds(images: list[AnnotatedImage]) -> dict[str, int]:
    """Class numbers by file name; the object is the whole of a 20×40 image."""
    found = {}
    for image in images:
        (row,) = image.read_labels((20, 40)).rows
        assert row.box_xyxy == (0, 0, 40, 20)
        found[image.path.name] = row.class_id
    return found


def test_folders(tmp_path: Path, make_image) -> None:
    for name in ("dog/a.png", "cat/b.png", "cat/deep/c.png"):
        make_image(name)
    (tmp_path / "empty").mkdir()
    (tmp_path / ".git").mkdir()
    assert folder_names(tmp_path) == ["cat", "dog"]
    images, issues = images_in_folders(tmp_path, NAMES)
    # the first of each class, then the second of each: a few images show all classes
    assert list(kinds(images).items()) == [("b.png", 0), ("a.png", 1), ("c.png", 0)]
    assert [image.image_id for image in images] == [1, 2, 3]
    assert issues == []


def test_linked_folders_are_classes_and_hidden_ones_are_not(tmp_path: Path, make_image) -> None:
    for name in ("set/a/1.png", "set/b/2.png", "store/c/3.png", "set/.cache/d/4.png"):
        make_image(name)
    make_image("set/a/.ipynb_checkpoints/1-checkpoint.png")
    (tmp_path / "set/c").symlink_to("../store/c")
    (tmp_path / "set/c/again").symlink_to(tmp_path / "set")
    (tmp_path / "set/of").symlink_to("a")  # the same images once more: no class without images
    assert folder_names(tmp_path / "set") == ["a", "b", "c"]
    images, issues = images_in_folders(tmp_path / "set", ("a", "b", "c"))
    assert kinds(images) == {"1.png": 0, "2.png": 1, "3.png": 2}
    assert issues == []


def test_images_that_have_no_class(tmp_path: Path, make_image) -> None:
    for name in ("a.png", "cats/b.png", "cat/c.png", "zebra/d.png"):
        make_image(name)
    images, issues = images_in_folders(tmp_path, NAMES)
    assert kinds(images) == {"c.png": 0}
    assert [str(issue) for issue in issues] == [
        f"{tmp_path}/a.png: is not in the folder of a class",
        f"{tmp_path}/cats/b.png: is in folder 'cats', which is not a class; did you mean 'cat'?",
        f"{tmp_path}/zebra/d.png: is in folder 'zebra', which is not a class; "
        "expected a name or 0 to 1",
    ]
    assert all(issue.drops_image for issue in issues)


def test_no_image(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match="no image in this folder"):
        images_in_folders(tmp_path, NAMES)


def write_list(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "val_label.txt"
    path.write_text(text)
    return path


def test_lists(tmp_path: Path, make_image) -> None:
    make_image("a.png")
    text = "a.png 1\npictures/b c.png cat\n# none\n\nd.JPEG\tdog\n"
    path = write_list(tmp_path, text)
    images, issues, _ = images_in_list(path, tmp_path / "elsewhere", NAMES)
    assert kinds(images) == {"a.png": 1, "b c.png": 0, "d.JPEG": 1}
    assert [image.path for image in images] == [
        tmp_path / "a.png",
        tmp_path / "elsewhere/pictures/b c.png",
        tmp_path / "elsewhere/d.JPEG",
    ]
    assert issues == []


def test_a_list_of_another_machine(tmp_path: Path, make_image) -> None:
    make_image("pictures/b.png")
    path = write_list(tmp_path, "/content/pictures/b.png cat\n/content/c.png dog\n")
    images, _, counts = images_in_list(path, tmp_path, NAMES)
    assert [image.path for image in images] == [
        tmp_path / "pictures/b.png",
        Path("/content/c.png"),  # which the check of the images reports
    ]
    assert list(counts.items()) == [
        (
            "listed images found by the ends of their paths, such as pictures/b.png for "
            "/content/pictures/b.png",
            1,
        )
    ]


def test_a_name_before_a_number(tmp_path: Path) -> None:
    images, _, _ = images_in_list(write_list(tmp_path, "a.png 1\nb.png 0\n"), tmp_path, ("1", "2"))
    assert kinds(images) == {"a.png": 0, "b.png": 0}


def test_a_name_with_a_space_after_a_tab(tmp_path: Path) -> None:
    names = ("dog", "great white shark")
    images, _, _ = images_in_list(write_list(tmp_path, f"a b.png\t{names[1]}\n"), tmp_path, names)
    assert kinds(images) == {"a b.png": 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.png 2", "class '2'; expected a name or 0 to 1"),
        ("a.png -1", "class '-1'; expected a name or 0 to 1"),
        ("a.png dgo", "class 'dgo'; did you mean 'dog'?"),
        ("a.png", "no class after a path"),
        ("lonely", "no class after a path"),
    ],
)
def test_rows_without_a_class(tmp_path: Path, row: str, message: str) -> None:
    path = write_list(tmp_path, f"b.png cat\n{row}\n")
    images, issues, _ = images_in_list(path, tmp_path, NAMES)
    assert kinds(images) == {"b.png": 0}
    assert [str(issue) for issue in issues] == [f"{path}:2: {message}"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a.png 3\nb.png 0\n", ["0", "1", "2", "3"]),
        ("a.png dog\nb.png cat\nc.png dog\n", ["cat", "dog"]),
        ("a.png 1\nb.png cat\n", ["1", "cat"]),
        ("a.png\n", []),
    ],
)
def test_names_in_a_list(tmp_path: Path, text: str, names: list[str]) -> None:
    assert list_names(write_list(tmp_path, text)) == names


def test_what_is_recognised(tmp_path: Path, make_image) -> None:
    assert is_list(write_list(tmp_path, "a.png 1\n"))
    assert not is_list(write_list(tmp_path, "images/a 1.png\n"))
    assert not is_list(tmp_path / "none.txt")
    # quotes, which the reader of a list of images then reports
    assert not is_list(write_list(tmp_path, '"images/a 1.png"\nimages/b.png\n'))
    assert not is_list(write_list(tmp_path, "'a.png'\n"))
    assert is_list(write_list(tmp_path, '"a.png" 1\n'))
    assert not is_folder(tmp_path / "none")
    make_image("set/cat/a.png")
    assert is_folder(tmp_path / "set")
    make_image("set/.thumbnail.png")
    assert is_folder(tmp_path / "set")
    make_image("set/b.png")
    assert not is_folder(tmp_path / "set")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("README.txt", True),
        ("classes.txt", True),
        ("cat/README.txt", True),
        ("cat/.a.txt", True),
        ("cat/a.txt", False),  # the label of cat/a.png
        ("marks/a.txt", False),
        ("labels/README.txt", False),
    ],
)
def test_only_labels_say_that_folders_are_no_classes(
    tmp_path: Path, make_image, name: str, expected: bool
) -> None:
    make_image("set/cat/a.png")
    (tmp_path / "set" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "set" / name).touch()
    assert is_folder(tmp_path / "set") == expected


def test_numbers_of_any_length(tmp_path: Path) -> None:
    digits = "9" * 5000
    file = tmp_path / "train.txt"
    file.write_text(f"a.png 0\nb.png {digits}\n")
    with pytest.raises(DetectorError) as caught:
        list_names(file)
    found = f"class '{'9' * 56}..."
    assert str(caught.value) == f"{file}:2: {found} without a name, expected 0 to 65535"
    _, (issue,), _ = images_in_list(file, tmp_path, ["x", "y"])
    assert str(issue) == f"{file}:2: {found}; expected a name or 0 to 1"
