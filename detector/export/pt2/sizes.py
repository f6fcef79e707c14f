"""Validation of symbolic sizes in ``.pt2`` files: parsed, never evaluated."""

from __future__ import annotations

import ast
import re

MAX_CHARACTERS = 400
"""Maximum length of a size; the longest one seen in a real network has 183 characters."""
MAX_POWER = 8

DOUBLE_PRECISION = 53
"""Bits of precision of Python's numbers."""

FLOAT = re.compile(r"\d{1,20}\.\d{1,20}")
SYMBOL = re.compile(r"[su]\d{1,6}")
FUNCTIONS = re.compile(
    "Add|CeilToInt|Eq|FloorToInt|Ge|Gt|Integer|Le|Lt|Max|Min|Mul|Ne|ToFloat|TruncToInt"
)
DIVISIONS = re.compile("CeilDiv|CleanDiv|FloorDiv|IntTrueDiv|Rational")
"""Divisions; the divisor must be an integer, since sympy's search for common factors of polynomials
may not end."""
REMAINDERS = re.compile("Mod|PythonMod")
"""Remainders; the dividend must not contain products of sums, which sympy would expand."""
OPERATORS = (ast.Add, ast.Sub, ast.Mult)
ASSUMPTIONS = ("finite", "integer", "negative", "nonnegative", "positive", "real", "zero")


def is_size(text: str) -> bool:
    """Return True if a text is arithmetic of integers and symbols, and nothing else.

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
        return _number(node) is not None
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub) and _is_size(node.operand)
    if isinstance(node, ast.BinOp):
        return _is_operation(node)
    if not isinstance(node, ast.Call):
        return _is_symbol(node)
    return _is_symbol(node) or _is_float(node) or _is_call(node)


def _is_operation(node: ast.BinOp) -> bool:
    if isinstance(node.op, ast.Pow):
        return _is_power(node.left, node.right)
    if isinstance(node.op, (ast.Div, ast.FloorDiv)):
        return _is_division(node.left, node.right)
    if isinstance(node.op, ast.Mod):
        return _is_remainder(node.left, node.right)
    return isinstance(node.op, OPERATORS) and _is_size(node.left) and _is_size(node.right)


def _is_call(node: ast.Call) -> bool:
    if not isinstance(node.func, ast.Name) or node.keywords:
        return False
    if node.func.id == "Pow":
        return len(node.args) == 2 and _is_power(*node.args)
    if DIVISIONS.fullmatch(node.func.id):
        return len(node.args) == 2 and _is_division(*node.args)
    if REMAINDERS.fullmatch(node.func.id):
        return len(node.args) == 2 and _is_remainder(*node.args)
    return FUNCTIONS.fullmatch(node.func.id) is not None and all(map(_is_size, node.args))


def _is_division(dividend: ast.AST, divisor: ast.AST) -> bool:
    return _is_size(dividend) and _number(divisor) is not None


def _is_remainder(dividend: ast.AST, divisor: ast.AST) -> bool:
    products = (_factors(node) for node in ast.walk(dividend))
    of_sums = (len(list(filter(_has_sum, factors))) > 1 for factors in products)
    return _is_division(dividend, divisor) and not any(of_sums)


def _factors(node: ast.AST) -> list[ast.expr]:
    """Return the factors of a product, [] for other nodes."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return [node.left, node.right]
    return node.args if isinstance(node, ast.Call) and _names(node.func, "Mul") else []


def _has_sum(node: ast.AST) -> bool:
    return any(isinstance(one, (ast.Add, ast.Sub)) or _names(one, "Add") for one in ast.walk(node))


def _names(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _number(node: ast.AST) -> int | None:
    """Return the integer of a node such as ``16`` or ``Integer(16)``, None for other nodes."""
    if isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords:
        node = node.args[0] if _names(node.func, "Integer") else node
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value if abs(node.value) < 1 << 63 else None
    return None


def _is_symbol(node: ast.AST) -> bool:
    """Return True for ``s0`` and ``Symbol('s0', positive=True, …)``."""
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


def _is_float(call: ast.Call) -> bool:
    """Return True for ``Float('2.0', precision=53)``, the factor of an enlargement."""
    return (
        _names(call.func, "Float")
        and len(call.args) == 1
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
        and FLOAT.fullmatch(call.args[0].value) is not None
        and [keyword.arg for keyword in call.keywords] == ["precision"]
        and _number(call.keywords[0].value) == DOUBLE_PRECISION
    )


def _is_power(base: ast.AST, exponent: ast.AST) -> bool:
    """Return True for a small power of a symbol; powers of powers would grow without bound."""
    number = _number(exponent)
    return _is_symbol(base) and number is not None and 0 <= number <= MAX_POWER
