"""A figure becomes a file, or none."""

from pathlib import Path

import pytest

from detector.utils.errors import DetectorError
from detector.utils.opencv import read_image
from detector.utils.plotting import DOTS_PER_INCH, new_figure, save_figure


def test_a_figure_has_the_size_that_was_asked_for(tmp_path: Path):
    figure = new_figure(2, 1)
    figure.subplots().plot([0, 1])
    save_figure(figure, tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (DOTS_PER_INCH, 2 * DOTS_PER_INCH, 3)


def test_a_place_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DetectorError, match="file/a.png: cannot be written: "):
        save_figure(new_figure(1, 1), tmp_path / "file" / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
