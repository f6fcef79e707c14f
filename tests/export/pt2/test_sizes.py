"""Symbolic sizes: arithmetic passes, everything that could run does not."""

import pytest

from detector.export.pt2.sizes import MAX_CHARACTERS, is_size


@pytest.mark.parametrize(
    "text",
    [
        "3",
        "-1",
        "s0",
        "u12",
        "32*s30 + 1",
        "(s0 + 1)//2 % 3 - s1/4",
        "Mod(s0, 2)",
        "Mod(Mul(Integer(3), s0, Add(s1, Integer(1))), Integer(4))",
        "(s0//2 + 1)*(s1//2 + 1)",
        "Rational(1, 4)",
        "s0**2",
        "Symbol('s0', positive=True, integer=True)",
        "Mul(Integer(32), Symbol('s30', positive=True, integer=True))",
        "Min(Integer(4), Mul(Integer(8), s0))",
        "FloorDiv(Add(Integer(-1), s0), Integer(16))",
        "Pow(Symbol('s0'), Integer(2))",
    ],
)
def test_arithmetic(text: str):
    assert is_size(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.5",
        "True if s0 else False",
        "os",
        "exit()",
        "__import__('os').system('true')",
        "s0.__class__",
        "s0.subs",
        "(lambda: 1)()",
        "[1 for s0 in (1,)]",
        "Symbol('x')",
        "Symbol('s0', commutative=print())",
        "Symbol('s0', 's1')",
        "Symbol(s0)",
        "Integer('3')",
        "Integer(3, evaluate=True)",
        "Function('f')(s0)",
        "Mul(*s0)",
        "Mul('s0', 's1')",
        "f'{s0}'",
        "9**9**9**9",
        "2**s0",
        "s0**99",
        "(s0 + 1)**2",
        "Pow(Integer(9), Integer(9))",
        "Pow(Symbol('s0'), Pow(Symbol('s0'), Integer(2)))",
        "1" * 30,
        "s0 + " * (MAX_CHARACTERS // 5) + "s0",
        "s0//s1",
        "s0 % (s1 + 1)",
        "s0/s1",
        "FloorDiv(s0*s0, s1*s0 + 1)",
        "CleanDiv(s0, s1)",
        "Mod(s0, s1)",
        "Mod((s0 + 1)*(s1 + 1), 2)",
        "(s0 + 1)*s2*(1 - s1) % 2",
        "PythonMod(Mul(Add(s0, 1), 3, Add(s1, 1)), Integer(2))",
        "FloorDiv(s0)",
        "-" * 3000 + "1",
        "(" * 500 + "1" + ")" * 500,
        "s0\x00",
        "import os",
    ],
)
def test_everything_else(text: str):
    assert not is_size(text)
