"""Cache of decoded images: its limits; no stale and no damaged image is returned."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from detector.data import cache as cache_module
from detector.data.cache import (
    DiskCache,
    ImageReader,
    MemoryCache,
    _left_in,
    _read,
    disk_budget,
    image_cache,
    memory_budget,
    shrink,
)
from detector.data.dataset import open_dataset
from detector.data.loader import training_loader
from detector.engine.head_settings import train_settings
from detector.structures.preprocess import Preprocess
from detector.utils.errors import DetectorError
from detector.utils.opencv import read_image, write_image


def test_shrink_never_enlarges() -> None:
    image = np.zeros((50, 100, 3), np.uint8)
    assert shrink(image, (64, 64)).shape == (32, 64, 3)
    assert shrink(image, (64, 128)) is image
    assert shrink(np.zeros((1, 1000, 3), np.uint8), (64, 64)).shape == (1, 64, 3)


def test_the_kind_is_a_setting(make_image, tmp_path: Path) -> None:
    paths = [make_image("a.png", (100, 100), 7)]
    kinds = {"ram": MemoryCache, "disk": DiskCache, "none": ImageReader}
    for kind, expected in kinds.items():
        images = image_cache(kind, paths, (50, 60), tmp_path / "cache")
        assert type(images) is expected
        assert np.array_equal(images[0], np.full((50, 50, 3), 7))


# ---------------------------------------------------------------------------------------- memory


def test_memory_keeps_what_fits(make_image) -> None:
    paths = [make_image(f"{number}.png", (10, 10), number) for number in range(3)]
    images = MemoryCache(paths, (64, 64))
    images.bytes_left = 700  # two images of 10 · 10 · 3 bytes
    images.fill()
    assert len(images.images) == 2
    assert images.bytes_left == 0  # the third does not fit
    assert [int(images[number][0, 0, 0]) for number in range(3)] == [0, 1, 2]
    assert pickle.loads(pickle.dumps(images)).images == {}


def test_nothing_is_decoded_once_nothing_fits(make_image, monkeypatch) -> None:
    paths = [make_image(f"{number}.png", (10, 10), number) for number in range(50)]
    monkeypatch.setattr(cache_module.system, "available_cores", lambda: 1)
    images, read = MemoryCache(paths, (64, 64)), []
    monkeypatch.setattr(cache_module, "read_image", lambda p: read.append(p) or read_image(p))
    images.bytes_left = 700
    images.fill()
    assert len(read) == 3  # two are kept, one shows that there is no room


def test_free_memory_of_a_control_group(tmp_path: Path) -> None:
    """Limit − usage + cached file pages: 1000 − 900 + 300."""
    files = {"max": "1000", "current": "900", "stat": "anon 500\ninactive_file 300\n"}
    for name, text in files.items():
        (tmp_path / f"memory.{name}").write_text(text)
    assert _left_in(tmp_path) == 400


def test_workers_without_shared_memory_share_the_budget(yolo_folder, monkeypatch) -> None:
    monkeypatch.setattr(cache_module.multiprocessing, "get_start_method", lambda: "spawn")
    monkeypatch.setattr(cache_module, "memory_budget", lambda: 1000)
    dataset = open_dataset(yolo_folder({"a": "", "b": ""}), "train")
    settings = train_settings(batch=1, workers=2)
    loader = training_loader(dataset, Preprocess(size_hw=(64, 64)), settings)
    assert loader.dataset.images.bytes_left == 500


@pytest.mark.parametrize(
    ("available", "left", "processes", "expected"),
    [
        (6_000_000_000, None, 1, 3_000_000_000),  # half of what is free
        (6_000_000_000, None, 2, 1_500_000_000),  # each process half of that
        (6_000_000_000, 1_000_000_000, 1, 500_000_000),  # half of what a container leaves
        (100 << 30, None, 1, 8 << 30),  # never more than MEMORY_BYTES
        (6_000_000_000, -5, 1, 0),  # a container that is over its limit
    ],
)
def test_the_budget_is_a_part_of_the_memory(
    monkeypatch, available: int, left: int | None, processes: int, expected: int
) -> None:
    def left_in(cgroup: Path) -> int:
        if left is None:
            raise FileNotFoundError
        return left

    memory = SimpleNamespace(available=available)
    monkeypatch.setattr(cache_module.psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(cache_module, "_left_in", left_in)
    monkeypatch.setattr(cache_module.system, "local_world_size", lambda: processes)
    assert memory_budget() == expected


# ------------------------------------------------------------------------------------------ disk


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the names of the images that are decoded from here on."""
    names: list[str] = []
    decode = cache_module.decode_image

    def note(data: bytes, name: str) -> np.ndarray:
        names.append(Path(name).name)
        return decode(data, name)

    monkeypatch.setattr(cache_module, "decode_image", note)
    return names


def test_disk_is_read_by_the_next_run(make_image, tmp_path: Path, decoded: list[str]) -> None:
    paths = [make_image(f"{number}.png", (100, 100), number) for number in range(3)]
    DiskCache(paths, (64, 64), tmp_path / "cache").fill()
    assert sorted(decoded) == ["0.png", "1.png", "2.png"]
    again = DiskCache(paths, (64, 64), tmp_path / "cache")
    assert [int(again[number][0, 0, 0]) for number in range(3)] == [0, 1, 2]
    assert len(decoded) == 3
    # Another size is another image.
    assert DiskCache(paths, (32, 32), tmp_path / "cache")[0].shape == (32, 32, 3)
    assert decoded[3:] == ["0.png"]


def test_a_replaced_image_is_seen(make_image, tmp_path: Path) -> None:
    """Same size in bytes, same modification time, replaced during a run."""
    path = make_image("a.bmp", (20, 20), 10)
    images, before = DiskCache([path], (64, 64), tmp_path / "cache"), path.stat()
    assert int(images[0][0, 0, 0]) == 10
    make_image("a.bmp", (20, 20), 20)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert int(images[0][0, 0, 0]) == 20


def test_a_damaged_file_is_decoded_anew(make_image, tmp_path: Path, decoded: list[str]) -> None:
    paths = [make_image("a.png", (20, 20), 10)]
    images = DiskCache(paths, (64, 64), tmp_path / "cache")
    expected = images[0]
    (file,) = images.folder.iterdir()
    whole = file.read_bytes()
    half = len(whole) // 2
    flipped = whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :]
    foreign = pickle.dumps({"image": 1})
    for number, damaged in enumerate((b"", whole[:half], flipped, foreign), 2):
        file.write_bytes(damaged)
        assert np.array_equal(images[0], expected)
        assert len(decoded) == number
        assert file.read_bytes() == whole
    np.savez(file, image=np.zeros((4, 4), np.float32))
    assert np.array_equal(images[0], expected)
    np.savez(file, image=np.array([{}], dtype=object))
    assert np.array_equal(images[0], expected)
    np.savez(file, image=np.zeros((0, 4, 3), np.uint8))
    assert np.array_equal(images[0], expected)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("image", b"not an array")  # which numpy returns as bytes
    assert np.array_equal(images[0], expected)


@pytest.mark.parametrize(
    "header", [b"{'shape':", b"{'shape': (", b"[" * 5000, b"{[]: 1}", b"nu\0ll", b"\xff"]
)
def test_a_header_that_numpy_cannot_parse(
    header: bytes, make_image, tmp_path: Path, decoded: list[str]
) -> None:
    images = DiskCache([make_image("a.png", (20, 20), 10)], (64, 64), tmp_path / "cache")
    expected = images[0]
    (file,) = images.folder.iterdir()
    with zipfile.ZipFile(file, "w") as archive:
        array = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header
        archive.writestr("image.npy", array)
    assert np.array_equal(images[0], expected)
    assert len(decoded) == 2


def test_no_flipped_bit_is_an_error(make_image, tmp_path: Path) -> None:
    """The flips include the flag of an encrypted member and all compression methods."""
    images = DiskCache([make_image("a.png", (2, 2), 10)], (64, 64), tmp_path / "cache")
    expected = images[0]
    (file,) = images.folder.iterdir()
    whole = file.read_bytes()
    directory = whole.rindex(b"PK\1\2")  # and the zip's end behind it
    for at in range(directory, len(whole)):
        for bit in range(8):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            found = _read(file)
            assert found is None or np.array_equal(found, expected)


def test_the_folder_has_a_limit(make_image, tmp_path: Path, monkeypatch) -> None:
    paths = [make_image(f"{number}.png", (10, 10), number) for number in range(4)]
    monkeypatch.setattr(cache_module, "DISK_BYTES", 1000)  # three images of 300 bytes
    images = DiskCache(paths, (64, 64), tmp_path / "cache")
    images.fill()
    files = list(images.folder.iterdir())
    assert len(files) == 3
    assert [int(images[number][0, 0, 0]) for number in range(4)] == [0, 1, 2, 3]
    # Zips are larger than their arrays: the next run has no room.
    assert disk_budget(tmp_path / "cache") == 0


def test_a_full_disk_ends_no_training(make_image, tmp_path: Path, monkeypatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    images = DiskCache([make_image("a.png", (10, 10), 9)], (64, 64), tmp_path / "cache")
    assert int(images[0][0, 0, 0]) == 9
    assert list(images.folder.iterdir()) == []


def test_a_folder_that_is_a_file(make_image, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(DetectorError, match=r"cache: cannot be written: File exists$"):
        DiskCache([make_image("a.png")], (64, 64), tmp_path / "cache")


# --------------------------------------------------------------------------------- never stale


def test_labels_and_names_are_those_of_their_files(yolo_folder, tmp_path: Path) -> None:
    """With the images on disk: an edited label, a renamed class, a replaced image."""
    definition = yolo_folder({"a": "0 0.5 0.5 0.5 0.5\n"})

    def seen(kind: str) -> tuple[tuple[str, ...], list[int], list[float], int]:
        settings = train_settings(batch=1, augment=False, cache=kind, cache_dir=tmp_path / "cache")
        dataset = open_dataset(definition, "train")
        (batch,) = training_loader(dataset, Preprocess(size_hw=(64, 64)), settings)
        boxes = batch.targets.boxes_xyxy.flatten().tolist()
        return (
            dataset.names,
            batch.targets.class_ids.tolist(),
            boxes,
            int(batch.images[0, 0, 32, 0]),
        )

    # 40×20 pixels in 64×64: × 1.6, 16 above
    assert seen("disk") == (("cat", "dog"), [0], [16, 24, 48, 40], 128)
    (tmp_path / "labels/train/a.txt").write_text("1 0.25 0.5 0.5 0.5\n")
    definition.write_text(definition.read_text().replace("dog", "wolf"))
    write_image(tmp_path / "images/train/a.png", np.full((20, 40, 3), 77, np.uint8))
    for kind in ("disk", "ram", "none"):
        assert seen(kind) == (("cat", "wolf"), [1], [0, 24, 32, 40], 77)
