"""A figure becomes a file, or none."""

import os
import subprocess
import sys
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


PROGRAM = """
import os, pathlib
from detector.utils.plotting import new_figure, save_figure
figure = new_figure(1, 1)
figure.subplots().set_title("text")
save_figure(figure, pathlib.Path("a.png"))
assert os.environ.get("MPLCONFIGDIR") == {expected!r}
"""


@pytest.mark.parametrize("chosen", [False, True])
def test_matplotlib_writes_into_its_own_folder_only_where_the_user_chose_one(
    chosen: bool, tmp_path: Path
):
    folders = {name: tmp_path / name for name in ("home", "temporary", "fonts")}
    for folder in folders.values():
        folder.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "MPL"))}
    environment |= {"HOME": str(folders["home"]), "TMPDIR": str(folders["temporary"])}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    expected = str(folders["fonts"]) if chosen else None
    if expected is not None:
        environment["MPLCONFIGDIR"] = expected
    program = PROGRAM.format(expected=expected)
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=tmp_path, check=True)
    assert (tmp_path / "a.png").is_file()
    written = {name: any(folder.iterdir()) for name, folder in folders.items()}
    assert written == {"home": False, "temporary": False, "fonts": chosen}
