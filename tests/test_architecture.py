"""The rooms of the package: no import circle, few files outside of them, each one described."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
PACKAGE = CHECKOUT / "detector"
FOLDERS = sorted({path.parent for path in PACKAGE.rglob("*.py")})

EXCEPTIONS: dict[tuple[str, str], str] = {}
"""(importing module, imported module) → why this import may close a circle. There is none today."""

MOST_FLAT_MODULES = 4
"""Beside ``__init__`` and ``__main__``."""


def imports(file: Path) -> Iterator[tuple[str, int]]:
    """Yield what a file imports, in functions too, with lines; nothing for type checkers only."""
    waiting: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        waiting += ast.iter_child_nodes(node)


def module_file(name: str, root: Path) -> Path | None:
    """Return the file of a module, or of the module that has a name such as ``module.function``."""
    for path in (root / name.replace(".", "/"), root / name.rpartition(".")[0].replace(".", "/")):
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
    return None


def module_name(file: Path, root: Path) -> str:
    """Return the name that a file is imported by."""
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def circle(folder: Path, root: Path) -> list[str]:
    """Return the imports of one circle between what lies in a folder, or nothing.

    A folder inside counts as one: it holds all its files.
    """
    found: dict[str, dict[str, str]] = {}
    for file in sorted(folder.rglob("*.py")):
        importing = file.relative_to(folder).parts[0]
        found.setdefault(importing, {})
        for name, line in imports(file):
            target = module_file(name, root)
            if target is None or not target.is_relative_to(folder):
                continue
            imported = target.relative_to(folder).parts[0]
            if (module_name(file, root), module_name(target, root)) in EXCEPTIONS:
                continue
            if imported != importing:
                place = f"{file.relative_to(root)}:{line} imports {module_name(target, root)}"
                found[importing].setdefault(imported, place)
    try:
        TopologicalSorter(found).prepare()
    except CycleError as error:
        names = error.args[1][::-1]  # it gives them from the imported one to the importing one
        return [found[a][b] for a, b in zip(names, names[1:], strict=False)]
    return []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: module_name(folder, CHECKOUT))
def test_no_import_circle(folder: Path):
    assert circle(folder, CHECKOUT) == []


def test_each_exception_is_an_import_of_today():
    for (importing, imported), reason in EXCEPTIONS.items():
        file = module_file(importing, CHECKOUT)
        assert file is not None
        targets = [module_file(name, CHECKOUT) for name, _ in imports(file)]
        assert module_file(imported, CHECKOUT) in targets, reason


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, []),
        ({"a.py": "import p.b\nimport os", "b.py": ""}, []),
        ({"a.py": "from p.b import f", "b.py": "from p.a import g"}, ["a.py:1 imports p.b"]),
        ({"a.py": "import p.b", "b.py": "def f():\n  from p import a"}, ["b.py:2 imports p.a"]),
        (
            {"a.py": "import p.b", "b.py": "if TYPE_CHECKING:\n  import p.a\nelse:\n  import re"},
            [],
        ),
        (
            {"a/x.py": "import p.b.y", "a/z.py": "", "b/y.py": "from p.a.z import f"},
            ["a/x.py:1 imports p.b.y", "b/y.py:1 imports p.a.z"],
        ),
        ({"__init__.py": "from p.a import f", "a.py": "from p import __version__"}, ["a.py:1"]),
    ],
)
def test_circles_are_found(files: dict[str, str], expected: list[str], tmp_path: Path):
    for name, text in {"__init__.py": "", **files}.items():
        file = tmp_path / "p" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        (file.parent / "__init__.py").touch()
    found = circle(tmp_path / "p", tmp_path)
    assert bool(found) == bool(expected)
    for words in expected:
        assert any(step.startswith(f"p/{words}") for step in found)


def test_few_modules_lie_outside_of_rooms():
    flat = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert len(flat) <= MOST_FLAT_MODULES, sorted(flat)


def test_the_contributors_table_has_each_room_in_the_order_of_the_layers():
    text = (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
    layers = ast.literal_eval(re.search(r"^layers = (\[.*?^\])", text, re.M | re.S)[1])
    expected = [name.split(" | ") for name in layers]
    rooms = [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
    flat = [path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("__")]
    assert sorted(sum(expected, [])) == sorted([*rooms, *flat])

    table = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| `(\w+)(?:/|\.py)`", table, re.M)
    found: dict[int, list[str]] = {}
    for level, name in rows:
        found.setdefault(int(level), []).append(name)
    assert list(found) == list(range(1, len(expected) + 1))
    assert list(found.values()) == expected
