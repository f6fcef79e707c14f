"""Cache of decoded images, shrunk to the size that the network needs, in memory or on disk.

Only pixels are cached. Labels and class names are read from their files at the start of every run.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from detector.settings.values import CacheKind
from detector.structures.tiles import Window, cut_out
from detector.utils import system
from detector.utils.archive import NO_ARRAYS
from detector.utils.errors import DetectorError
from detector.utils.files import atomic
from detector.utils.opencv import Image, check_image, cv2, decode_image, read_bytes, read_image

MEMORY_BYTES = 8 << 30
"""Largest cache in memory; it never exceeds half of the free memory either."""

DISK_BYTES = 64 << 30
"""Largest cache folder, images of other runs included; it never exceeds half of the free disk space
either. Delete the folder to make room."""

VERSION = 1
"""Version of the cached pixels, part of the folder's name. Increase it whenever decoding or
shrinking changes."""


def image_cache(
    kind: CacheKind,
    paths: Sequence[Path],
    size_hw: tuple[int, int],
    folder: Path,
    windows: Sequence[Window | None] | None = None,
) -> ImageReader:
    """Return a reader of images by index, with the cache that the settings ask for.

    Args:
        kind: where decoded images are cached.
        paths: image files.
        size_hw: images are shrunk to fit this size, pixels; smaller ones stay as they are.
        folder: cache folder for ``kind="disk"``.
        windows: the part of each file's image that is read, None for all of it; default: all.
    """
    if kind == "disk":
        return DiskCache(paths, size_hw, folder, windows)
    if kind == "ram":
        return MemoryCache(paths, size_hw, windows)
    return ImageReader(paths, size_hw, windows)


class ImageReader:
    """Images by index, decoded at each access."""

    is_shared = False
    """True if worker processes can use the images that the main process has cached."""

    def __init__(
        self,
        paths: Sequence[Path],
        size_hw: tuple[int, int],
        windows: Sequence[Window | None] | None = None,
    ) -> None:
        self.paths = paths
        self.windows = [None] * len(paths) if windows is None else windows
        self.size_hw = size_hw
        self.bytes_left = 0  # set to 0 by the first image that does not fit

    def __getitem__(self, index: int) -> Image:
        return self.prepared(read_image(self.paths[index]), index)

    def prepared(self, image: Image, index: int) -> Image:
        """Return the part of a decoded image that is asked for, shrunk."""
        return shrink(cut_out(image, self.windows[index]), self.size_hw)

    def reserve(self, image: Image) -> bool:
        """Subtract an image's bytes from the budget; return False if too few were left."""
        fits = 0 < image.nbytes <= self.bytes_left
        self.bytes_left = self.bytes_left - image.nbytes if fits else 0
        return fits

    def fill(self) -> None:
        """Decode as many images as the budget allows, in threads."""

        def keep(index: int) -> None:
            if self.bytes_left:
                self[index]

        with ThreadPoolExecutor(system.available_cores()) as pool:
            list(pool.map(keep, range(len(self.paths))))


class MemoryCache(ImageReader):
    """Images cached in memory, as many as fit; a pickled copy starts empty."""

    def __init__(
        self,
        paths: Sequence[Path],
        size_hw: tuple[int, int],
        windows: Sequence[Window | None] | None = None,
    ) -> None:
        super().__init__(paths, size_hw, windows)
        self.bytes_left = memory_budget()
        self.images: dict[int, Image] = {}
        self.of_file: dict[Path, list[int]] = {}
        for index, path in enumerate(paths):
            self.of_file.setdefault(path, []).append(index)

    @property
    def is_shared(self) -> bool:  # type: ignore[override]
        """True if worker processes are forked, and so inherit the cached images."""
        return multiprocessing.get_start_method() == "fork"

    def __getitem__(self, index: int) -> Image:
        image = self.images.get(index)
        if image is None:
            path = self.paths[index]
            decoded = read_image(path)
            image = self._keep(decoded, index)
            for other in self.of_file[path]:  # the file's other tiles need not decode it again
                if self.bytes_left and other not in self.images:
                    self._keep(decoded, other)
        return image

    def _keep(self, decoded: Image, index: int) -> Image:
        image = self.prepared(decoded, index)
        if self.reserve(image):
            self.images[index] = image
        return image

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "images": {}}


class DiskCache(ImageReader):
    """Images cached in files that are named by a hash of the image file's content, and the window.

    The image file is read and hashed at each access, which costs little beside decoding. A replaced
    image is thus always noticed, even one of the same name, size and modification time. A cache
    file is a zip of one array; one that fails its checksum is decoded again.
    """

    is_shared = True

    def __init__(
        self,
        paths: Sequence[Path],
        size_hw: tuple[int, int],
        folder: Path,
        windows: Sequence[Window | None] | None = None,
    ) -> None:
        super().__init__(paths, size_hw, windows)
        self.folder = folder / f"{size_hw[0]}x{size_hw[1]}-v{VERSION}"
        self.bytes_left = disk_budget(folder)

    def __getitem__(self, index: int) -> Image:
        path = self.paths[index]
        data = read_bytes(path)
        window = "".join(f"-{side}" for side in self.windows[index] or ())
        file = self.folder / f"{hashlib.blake2b(data, digest_size=16).hexdigest()}{window}.npz"
        image = _read(file)
        if image is None:
            image = self.prepared(decode_image(data, str(path)), index)
            self._keep(file, image)
        return image

    def _keep(self, file: Path, image: Image) -> None:
        if not self.reserve(image):
            return
        # Neither a full disk nor another thread that writes the same image may end the training.
        with contextlib.suppress(DetectorError), atomic(file, synced=False) as temporary:
            np.savez(temporary, image=image)


def _read(file: Path) -> Image | None:
    """Return the image of a cache file, or None if the file is missing or damaged."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            image: Image = arrays["image"]
        check_image(image)
    except (*NO_ARRAYS, DetectorError):
        return None
    return image


def shrink(image: Image, size_hw: tuple[int, int]) -> Image:
    """Shrink an image to fit a size, aspect ratio kept; return a smaller one as it is."""
    height, width = image.shape[:2]
    ratio = min(size_hw[0] / height, size_hw[1] / width)
    if ratio >= 1:
        return image
    size = max(round(width * ratio), 1), max(round(height * ratio), 1)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def memory_budget() -> int:
    """Return how many bytes this process may cache in memory; all training processes share them."""
    return max(min(MEMORY_BYTES, free_memory() // 2) // system.local_world_size(), 0)


def free_memory() -> int:
    """Return how many bytes the processes of this machine, or of its container, may still use."""
    free: list[int] = [psutil.virtual_memory().available]
    with contextlib.suppress(ValueError, OSError, KeyError):  # the limit of a container
        free.append(_left_in(Path("/sys/fs/cgroup")))
    return max(min(free), 0)


def _left_in(cgroup: Path) -> int:
    """Return how many bytes a control group may still use; its cached file pages count as free."""
    limit, used = (int((cgroup / f"memory.{name}").read_text()) for name in ("max", "current"))
    statistics = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    return limit - used + int(statistics["inactive_file"])


def disk_budget(folder: Path) -> int:
    """Return how many more bytes may be cached in a folder.

    Raises:
        DetectorError: the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        used = sum(file.stat().st_size for file in folder.glob("*/*.npz"))
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise DetectorError(f"cannot be written: {error.strerror}", file=folder) from error
    return max(min(DISK_BYTES - used, free // 2), 0)
