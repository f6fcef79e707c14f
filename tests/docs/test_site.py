"""The site: links, numbers, the drawing, the reference; pages load nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import detector
from detector.utils.files import packaged_files
from tests.docs.pages import PAGES, ROOT, TEXTS, blocks, codes, table_rows, without_blocks

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.M)


def anchors(file: Path) -> set[str]:
    """Return the names of a page's headings, as links write them."""
    headings = HEADING.findall(without_blocks(file))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.name)
def test_links_lead_somewhere(file: Path) -> None:
    missing = []
    for link in LINK.findall(without_blocks(file)):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (file.parent / path) if path else file
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    assert missing == []


def test_headings_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# From *YOLOv5*\n```sh\n# no heading\n```\n## Networks of `timm`, 2\n")
    assert anchors(page) == {"from-yolov5", "networks-of-timm-2"}


def test_every_page_is_in_the_navigation() -> None:
    listed = [
        line
        for tree in blocks(ROOT / "docs" / "index.md", "{toctree}")
        for line in tree.text.splitlines()
        if line and not line.startswith(":")
    ]
    assert sorted(listed) == sorted({page.stem for page in PAGES} - {"index"} | {"api"})


def test_figures_of_models_are_those_of_the_sources() -> None:
    """Each row of the table to choose from stands in docs/weights.md, its costs further down."""
    weights = {codes(row[0])[0]: row for row in read_weights()}
    tables = table_rows(ROOT / "docs" / "models.md")
    costs = {row[0]: row for row in tables if len(row) == 4}
    rows = [row for row in tables if len(row) == 10 and row[0].startswith("`")]
    assert len(rows) == 8
    for file, model, licence, side, ap, measured, parameters, gmac, _ms, _mb in rows:
        source = weights[codes(file)[0]]
        assert source[1:6] == [model, licence, side, ap, measured]
        assert source[6].endswith(f"→ {parameters}")
        cfg, variant = codes(model)[0], model.rpartition(" ")[2]
        assert costs[f"`cfg/{cfg}.yaml` --variant {variant}"][2:] == [parameters, gmac]


def read_weights() -> list[list[str]]:
    """Return the rows of docs/weights.md with the file's name as code in the first cell."""
    rows = [row for row in table_rows(ROOT / "docs" / "weights.md") if row[0].startswith("[")]
    return [[re.sub(r"\[(.*)\]\(.*\)", r"`\1`", row[0]), *row[1:]] for row in rows]


def test_model_files_and_presets_of_the_pages_exist() -> None:
    named = {name for file in TEXTS for name in re.findall(r"\bcfg/[\w/]+\.yaml", file.read_text())}
    assert {name for name in named if not (ROOT / name).is_file()} == set()
    assert len(named) > 20
    assert "yolov5n" in packaged_files("cfg")


def test_paths_of_the_project_in_pages_exist() -> None:
    """Tests, modules and folders that sentences name."""
    missing = {
        (page.name, code)
        for page in PAGES
        for code in codes(without_blocks(page))
        if re.fullmatch(r"(tests|detector|tools)/[\w/.]+", code) and not (ROOT / code).exists()
    }
    assert missing == set()


def test_drawing_shows_the_rooms_in_their_order() -> None:
    """Line by line those of the layers in pyproject.toml, from the top."""
    drawing = (ROOT / "docs" / "rooms.svg").read_text(encoding="utf-8")
    lines: dict[str, list[str]] = {}
    for y, name in re.findall(r'class="room" x="[\d.]+" y="(\d+)">(\w+)<', drawing):
        lines.setdefault(y, []).append(name)
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    layers = re.search(r"\nlayers = \[\n(.*?)\n\]", text, re.S)
    assert layers is not None
    assert [" | ".join(names) for names in lines.values()] == re.findall(r'"(.*)"', layers[1])


def test_reference_has_all_public_names() -> None:
    text = (ROOT / "docs" / "api.rst").read_text(encoding="utf-8")
    named = re.findall(r"^\.\. auto\w+:: detector\.(\w+)$", text, re.M)
    assert sorted(named) == sorted(detector.__all__)


# ------------------------------------------------------------------------ nothing from elsewhere


@pytest.fixture(scope="module")
def offline() -> ModuleType:
    pytest.importorskip("sphinx", reason="needs Sphinx (requirements-dev.txt)")
    spec = importlib.util.spec_from_file_location("offline", ROOT / "docs" / "offline.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ("", []),
        ('<a href="https://a.org/x">', []),
        ('<link rel="canonical" href="https://a.org/x">', []),
        ('<script src="_static/a.js"></script><img src="a.png">', []),
        ("<p>url(https://a.org/x.css)</p>", []),
        ('<script src="https://a.org/x.js"></script>', ["https://a.org/x.js"]),
        ('<script src="//a.org/x.js"></script>', ["//a.org/x.js"]),
        ('<link rel="stylesheet" href="HTTPS://a.org/x.css">', ["HTTPS://a.org/x.css"]),
        ('<link rel="preconnect" href="https://a.org">', ["https://a.org"]),
        ('<img src="a.png" srcset="https://a.org/b.png 2x">', ["https://a.org/b.png 2x"]),
        ("<style>@import url('https://a.org/x.css')</style>", ["https://a.org/x.css"]),
        ('<p style="background: url(//a.org/x.png)">', ["//a.org/x.png"]),
        ('<form action="https://a.org/search">', ["https://a.org/search"]),
    ],
)
def test_what_a_page_loads(html: str, found: list[str], offline: ModuleType) -> None:
    assert offline.loaded_from_elsewhere(html, ".html") == found


def test_what_a_style_sheet_loads(offline: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("@font-face { src: url(https://a.org/x.woff2) }")
    (tmp_path / "b.css").write_text("p { background: url(data:image/png;base64,AA) }")
    (tmp_path / "c.html").write_text("<p>")
    assert list(offline.faults(tmp_path)) == ["a.css: loads https://a.org/x.woff2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("", "", ""),
        ("(start.md)", "(strat.md)", "strat.md"),
        ("(start.md)", "(start.md#nowhere)", "nowhere"),
        ("{toctree}", "{toctreee}", "toctreee"),
        ("(cells.jpg)", "(https://a.org/x.png)", "index.html: loads https://a.org/x.png"),
    ],
)
def test_strict_build(old: str, new: str, message: str, tmp_path: Path) -> None:
    """The site builds, and does not with a broken link, directive or a picture from elsewhere."""
    pytest.importorskip("sphinx", reason="needs Sphinx (requirements-dev.txt)")
    source = shutil.copytree(ROOT / "docs", tmp_path / "source")
    index = (source / "index.md").read_text(encoding="utf-8")
    assert old in index
    (source / "index.md").write_text(index.replace(old, new, 1))
    command = [sys.executable, "-m", "sphinx", "-q", "-n", "-W", "-b", "html"]
    done = subprocess.run(
        [*command, str(source), str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (not message), done.stderr
    assert message in done.stderr
