"""Symbolic sizes as files spell them: parsed here, never evaluated."""

from __future__ import annotations

import ast
import re

MAX_CHARACTERS = 4000
MAX_POWER = 8

SYMBOL = re.compile(r"[su]\d{1,6}")
FUNCTIONS = re.compile(
    "Add|CeilDiv|CeilToInt|CleanDiv|Eq|FloorDiv|FloorToInt|Ge|Gt|IntTrueDiv|Integer|Le|Lt|Max|Min"
    "|Mod|Mul|Ne|PythonMod|Rational|ToFloat|TruncToInt"
)
OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod)
ASSUMPTIONS = ("finite", "integer", "negative", "nonnegative", "positive", "real", "zero")


def is_size(text: str) -> bool:
    """Whether a text is arithmetic of whole numbers and symbols, and nothing else.

    >>> is_size("Mul(Integer(32), Symbol('s0', positive=True, integer=True))"), is_size("32*s0")
    (True, True)
    >>> is_size("exit()"), is_size("9**9**9"), is_size("s0.__class__")
    (False, False, False)
    """
    if len(text) > MAX_CHARACTERS:
        return False
    try:
        return _is_size(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False


def _is_size(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int) and abs(node.value) < 1 << 63
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub) and _is_size(node.operand)
    if isinstance(node, ast.BinOp):
        return _is_operation(node)
    return _is_symbol(node) or (isinstance(node, ast.Call) and _is_call(node))


def _is_operation(node: ast.BinOp) -> bool:
    if isinstance(node.op, ast.Pow):
        return _is_power(node.left, node.right)
    return isinstance(node.op, OPERATORS) and _is_size(node.left) and _is_size(node.right)


def _is_call(node: ast.Call) -> bool:
    if not isinstance(node.func, ast.Name) or node.keywords:
        return False
    if node.func.id == "Pow":
        return len(node.args) == 2 and _is_power(*node.args)
    return FUNCTIONS.fullmatch(node.func.id) is not None and all(map(_is_size, node.args))


def _is_symbol(node: ast.AST) -> bool:
    """``s0``, or ``Symbol('s0', positive=True, …)``."""
    if isinstance(node, ast.Name):
        return SYMBOL.fullmatch(node.id) is not None
    if not isinstance(node, ast.Call) or len(node.args) != 1:
        return False
    name = node.args[0]
    return (
        isinstance(node.func, ast.Name)
        and node.func.id == "Symbol"
        and isinstance(name, ast.Constant)
        and isinstance(name.value, str)
        and SYMBOL.fullmatch(name.value) is not None
        and all(
            keyword.arg in ASSUMPTIONS
            and isinstance(keyword.value, ast.Constant)
            and isinstance(keyword.value.value, bool)
            for keyword in node.keywords
        )
    )


def _is_power(base: ast.AST, exponent: ast.AST) -> bool:
    """A symbol's small power; powers of powers would grow without end."""
    if isinstance(exponent, ast.Call) and len(exponent.args) == 1 and not exponent.keywords:
        function = exponent.func
        if isinstance(function, ast.Name) and function.id == "Integer":
            exponent = exponent.args[0]
    return (
        _is_symbol(base)
        and isinstance(exponent, ast.Constant)
        and isinstance(exponent.value, int)
        and 0 <= exponent.value <= MAX_POWER
    )
