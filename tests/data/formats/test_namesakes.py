"""Images of two splits that lie in different folders but have one label file."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.data.dataset import open_dataset
from detector.utils.errors import DetectorError
from tests.data.conftest import voc_xml


@pytest.fixture
def write_set(tmp_path: Path, make_image):
    """Write labels of images 0 and 1, negatives 0 and 2 in a folder of their own, a definition."""

    def write(train: str, val: str) -> Path:
        for name in ("images/0.jpg", "images/1.jpg", "empty/0.jpg", "empty/2.jpg"):
            make_image(name)
        (tmp_path / "labels").mkdir()
        for number in range(2):
            (tmp_path / f"labels/{number}.txt").write_text("0 .5 .5 .1 .1\n")
            (tmp_path / f"labels/{number}.xml").write_text(voc_xml("cat 1 2 30 20"))
        (tmp_path / "labels/2.xml").write_text(voc_xml())
        (tmp_path / "list.txt").write_text("empty/0.jpg\nempty/2.jpg\n")
        definition = tmp_path / "set.yaml"
        definition.write_text(f"names: [cat]\ntrain: {train}\nval: {val}\ntest: nowhere\n")
        return definition

    return write


@pytest.mark.parametrize(
    ("train", "val", "suffix"),
    [
        ("images", "empty", "txt"),
        ("images", "list.txt", "txt"),
        ("[images]", "[empty]", "txt"),
        ("{images: images, annotations: labels}", "{images: empty, annotations: labels}", "xml"),
    ],
)
def test_negatives_of_one_split_do_not_get_boxes_of_another(
    write_set, tmp_path: Path, train: str, val: str, suffix: str
) -> None:
    definition = write_set(train, val)
    paths = {"train": tmp_path / "images/0.jpg", "val": tmp_path / "empty/0.jpg"}
    for split, other in (("train", "val"), ("val", "train")):
        with pytest.raises(DetectorError) as caught:
            open_dataset(definition, split)
        assert str(caught.value) == (
            f"{paths[split]}: {tmp_path}/labels/0.{suffix} may be its labels or those of "
            f"{paths[other]}, expected a file for each (--skip-bad leaves it out)"
        )
    (sample,) = open_dataset(definition, "train", skip_bad=True).samples
    assert sample.path.name == "1.jpg"


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("images", "images"),
        ("images", "{images: images, part: [0, 0.5]}"),
        ("images", "{images: ./images}"),
        ("images", "{images: empty, labels: other}"),  # where 0.txt and 2.txt are its own
    ],
)
def test_splits_may_share_images(write_set, tmp_path: Path, train: str, val: str) -> None:
    definition = write_set(train, val)
    (tmp_path / "other").mkdir()
    for number in (0, 2):
        (tmp_path / f"other/{number}.txt").write_text("")
    assert len(open_dataset(definition, "train")) == 2
    assert len(open_dataset(definition, "val")) == (1 if "part" in val else 2)


@pytest.mark.parametrize("others", [("val", "test"), ("test", "val")])
def test_of_several_splits_the_first_is_named(
    tmp_path: Path, make_image, others: tuple[str, str]
) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/0.txt").write_text("0 .5 .5 .1 .1\n")
    for folder in ("images", "val", "test"):
        make_image(f"{folder}/0.jpg")
    places = "".join(f"{name}: {{images: {name}, labels: labels}}\n" for name in others)
    (tmp_path / "set.yaml").write_text(f"names: [cat]\n{places}train: images\n")
    with pytest.raises(DetectorError) as caught:
        open_dataset(tmp_path / "set.yaml", "train")
    assert str(caught.value) == (
        f"{tmp_path}/images/0.jpg: {tmp_path}/labels/0.txt may be its labels or those of "
        f"{tmp_path}/{others[0]}/0.jpg, expected a file for each (--skip-bad leaves it out)"
    )
