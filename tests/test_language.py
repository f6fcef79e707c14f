"""Names and docstrings in the field's words: what a reader of timm or detectron2 expects."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "detector"

HOME_MADE = re.compile(r"figures?|truths?|suppress(es|ed|ion)?|lanes?|labelled", re.I)
"""Write metric, target or ground truth, NMS, workers, evaluation set."""

STANDARD = re.compile(r"ground.truth|non-maximum suppression|figure \d+", re.I)
"""Terms of the field that hold such a word, and figures of papers."""

ALLOWED = {"new_figure", "save_figure"}
"""Figures of matplotlib."""

QUESTION = re.compile(r"(What|Whether|Of|Those|How|Where)\b")
"""A first line of a docstring stands by itself: a verb or a noun phrase."""

MOST_QUESTIONS = 0.02


def nodes() -> Iterator[tuple[Path, ast.AST]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            yield path.relative_to(PACKAGE), node


def first_lines() -> Iterator[tuple[str, str]]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for path, node in nodes():
        text = ast.get_docstring(node) if isinstance(node, kinds) else None
        if text:
            yield f"{path}:{getattr(node, 'lineno', 1)}", text.splitlines()[0]


def names() -> Iterator[tuple[str, str]]:
    """Names of functions, classes and fields, which are flags."""
    for path, node in nodes():
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path}:{node.lineno}", node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield f"{path}:{node.lineno}", node.target.id


def words_of(name: str) -> str:
    """``LabelledImages`` → "Labelled Images"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name)


def test_names():
    found = [
        f"{place} {name}"
        for place, name in names()
        if name not in ALLOWED
        and re.search(rf"\b({HOME_MADE.pattern})\b", STANDARD.sub("", words_of(name)), re.I)
    ]
    assert found == []


def test_first_lines():
    pattern = re.compile(rf"\b({HOME_MADE.pattern})\b", re.I)
    lines = [(place, STANDARD.sub("", line)) for place, line in first_lines()]
    assert [f"{place} {line}" for place, line in lines if pattern.search(line)] == []


def test_first_lines_stand_by_themselves():
    lines = list(first_lines())
    questions = [f"{place} {line}" for place, line in lines if QUESTION.match(line)]
    assert len(questions) < MOST_QUESTIONS * len(lines), "\n".join(questions)
