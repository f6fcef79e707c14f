"""Decoded images, shrunk to what the network needs, kept in memory or on disk.

Only pixels are kept. Labels and names come from their files at the start of every run.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import shutil
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from detector.settings import CacheKind
from detector.utils import system
from detector.utils.archive import UNREADABLE
from detector.utils.errors import DetectorError
from detector.utils.files import atomic
from detector.utils.opencv import Image, cv2, decode_image, read_bytes, read_image

MEMORY_BYTES = 8 << 30
"""Most memory for decoded images; never more than half of what is free."""

DISK_BYTES = 64 << 30
"""Most space for them in a folder, those of other runs counted; never more than half of what is
free. Delete the folder to make room."""

VERSION = 1
"""Raise it with every change of how images are decoded or shrunk: it is part of a folder's name."""


def image_cache(
    kind: CacheKind, paths: Sequence[Path], size_hw: tuple[int, int], folder: Path
) -> Images:
    """Images by index, kept in the way that the settings name.

    Args:
        kind: where they are kept.
        paths: the image files.
        size_hw: images are shrunk to fit it, pixels; smaller ones stay as they are.
        folder: of those on disk.
    """
    if kind == "disk":
        return DiskCache(paths, size_hw, folder)
    return MemoryCache(paths, size_hw) if kind == "ram" else Images(paths, size_hw)


class Images:
    """Images by index, decoded each time."""

    is_shared = False
    """Whether worker processes find what is kept here."""

    def __init__(self, paths: Sequence[Path], size_hw: tuple[int, int]) -> None:
        self.paths = paths
        self.size_hw = size_hw
        self.bytes_left = 0  # 0 from the first image on that does not fit

    def __getitem__(self, index: int) -> Image:
        return shrink(read_image(self.paths[index]), self.size_hw)

    def reserve(self, image: Image) -> bool:
        """Take the image's bytes of what is left; whether there were as many."""
        fits = 0 < image.nbytes <= self.bytes_left
        self.bytes_left = self.bytes_left - image.nbytes if fits else 0
        return fits

    def fill(self) -> None:
        """Decode as many images as may be kept, in threads."""

        def keep(index: int) -> None:
            if self.bytes_left:
                self[index]

        with ThreadPoolExecutor(system.available_cores()) as pool:
            list(pool.map(keep, range(len(self.paths))))


class MemoryCache(Images):
    """Images in memory, as many as fit; a copy that is sent to another process starts empty."""

    def __init__(self, paths: Sequence[Path], size_hw: tuple[int, int]) -> None:
        super().__init__(paths, size_hw)
        self.bytes_left = memory_budget()
        self.images: dict[int, Image] = {}

    @property
    def is_shared(self) -> bool:  # type: ignore[override]
        """Processes that are forked have it all."""
        return multiprocessing.get_start_method() == "fork"

    def __getitem__(self, index: int) -> Image:
        image = self.images.get(index)
        if image is None:
            image = super().__getitem__(index)
            if self.reserve(image):
                self.images[index] = image
        return image

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "images": {}}


class DiskCache(Images):
    """Images in files that are named by what the image file holds, byte for byte.

    The image file is read and hashed each time, which takes a small part of decoding it; so
    another image under the same name, of the same size and time, is never mistaken for it. The
    files are zips of one array, whose checksum tells a damaged one; that is decoded anew.
    """

    is_shared = True

    def __init__(self, paths: Sequence[Path], size_hw: tuple[int, int], folder: Path) -> None:
        super().__init__(paths, size_hw)
        self.folder = folder / f"{size_hw[0]}x{size_hw[1]}-v{VERSION}"
        self.bytes_left = disk_budget(folder)

    def __getitem__(self, index: int) -> Image:
        path = self.paths[index]
        data = read_bytes(path)
        file = self.folder / f"{hashlib.blake2b(data, digest_size=16).hexdigest()}.npz"
        image = _read(file)
        if image is None:
            image = shrink(decode_image(data, str(path)), self.size_hw)
            self._keep(file, image)
        return image

    def _keep(self, file: Path, image: Image) -> None:
        if not self.reserve(image):
            return
        # A full disk does not end a training, nor does another thread with the same image.
        with contextlib.suppress(DetectorError), atomic(file, synced=False) as temporary:
            np.savez(temporary, image=image)


def _read(file: Path) -> Image | None:
    """The image in a file; None where there is none, or it is damaged."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            image = arrays["image"]
    except (*UNREADABLE, KeyError, zlib.error):
        return None
    is_image = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    return image if is_image else None


def shrink(image: Image, size_hw: tuple[int, int]) -> Image:
    """An image that fits into the size; smaller ones stay as they are."""
    height, width = image.shape[:2]
    ratio = min(size_hw[0] / height, size_hw[1] / width)
    if ratio >= 1:
        return image
    size = max(round(width * ratio), 1), max(round(height * ratio), 1)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def memory_budget() -> int:
    """Bytes that images may take in memory; the processes of a training share it."""
    free: list[int] = [MEMORY_BYTES * 2, psutil.virtual_memory().available]
    with contextlib.suppress(ValueError, OSError, KeyError):  # a container's own limit
        free.append(_left_in(Path("/sys/fs/cgroup")))
    return max(min(free) // 2 // system.local_world_size(), 0)


def _left_in(cgroup: Path) -> int:
    """Bytes that a control group may still take; files that were read are given back for them."""
    limit, used = (int((cgroup / f"memory.{name}").read_text()) for name in ("max", "current"))
    statistics = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    return limit - used + int(statistics["inactive_file"])


def disk_budget(folder: Path) -> int:
    """Bytes that images may still take in that folder.

    Raises:
        DetectorError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        used = sum(file.stat().st_size for file in folder.glob("*/*.npz"))
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise DetectorError(f"cannot be written: {error.strerror}", file=folder) from error
    return max(min(DISK_BYTES - used, free // 2), 0)
