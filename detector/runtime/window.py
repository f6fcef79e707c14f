"""Window that shows results as they come, by Tk, which Python brings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from detector.runtime.pipeline import Result
from detector.runtime.writers import Writer
from detector.utils.errors import DetectorError, one_line
from detector.utils.opencv import Image, cv2

MAX_SIDE = 960
"""Largest width and height of a shown image, pixels; larger ones are reduced."""


class WindowWriter(Writer):
    """Window for each camera, or one for all files, with the latest image.

    Args:
        stop: called when a window is closed, or q or Escape is pressed.

    Raises:
        DetectorError: there is no display, or no Tk.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        super().__init__()
        self._stop = stop
        self._open = True
        self._labels: dict[str, Any] = {}
        try:
            import tkinter
        except ImportError as error:  # Debian's Python is without it
            raise DetectorError(
                f"--show: Python's tkinter is missing ({one_line(error)}); install python3-tk, or "
                "omit --show"
            ) from error
        self._tk = tkinter
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise DetectorError(
                f"--show: there is no display ({one_line(error)}); omit --show on a machine "
                "without a screen"
            ) from error
        self._root.withdraw()

    def _write(self, result: Result) -> None:
        if not self._open:
            return
        frame = result.frame
        label = self._label(frame.name if frame.time is not None else "detect")
        image_rgb = _reduced(result.draw())
        height, width = image_rgb.shape[:2]
        ppm = b"P6 %d %d 255 " % (width, height) + image_rgb.tobytes()
        label.image = self._tk.PhotoImage(master=self._root, data=ppm, format="ppm")
        label.configure(image=label.image)
        label.master.title(f"{frame.name}: {frame.index}")
        self._root.update()

    def _label(self, name: str) -> Any:
        """Return what shows the images of a camera, in its window."""
        if name not in self._labels:
            window = self._tk.Toplevel(self._root)
            window.protocol("WM_DELETE_WINDOW", self._close)
            for key in ("q", "<Escape>"):
                window.bind(key, lambda event: self._close())
            label = self._tk.Label(window)
            label.pack()
            self._labels[name] = label
        return self._labels[name]

    def _close(self) -> None:
        self._open = False
        self._stop()

    def _finish(self, failed: bool) -> None:
        self._labels.clear()
        self._root.destroy()


def _reduced(image_rgb: Image) -> Image:
    """Return an image that fits the window."""
    height, width = image_rgb.shape[:2]
    scale = MAX_SIDE / max(height, width)
    if scale >= 1:
        return image_rgb
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    resized: Image = cv2.resize(image_rgb, size_wh, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return resized
