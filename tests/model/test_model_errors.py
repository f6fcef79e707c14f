"""Mistakes in model files: each case states the exact line and message."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.model.detector import build, build_model_file
from detector.model.model_file import check_model_file
from detector.registry import registered
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import YamlFile

BASE = """\
nc: 4
names: [cell, plate, dot, ring]
depth_multiple: 0.5
width_multiple: 0.5
imgsz: 64
activation: nn.ReLU()
anchors:
  - [10, 13, 16, 30]                       # P3/8
  - [30, 61, 62, 45]                       # P4/16

backbone:
  - [-1, 1, Conv, [32, 3, 2]]              # 0-P1/2
  - [-1, 1, Conv, [64, 3, 2]]              # 1-P2/4
  - [-1, 2, C3, [64]]
  - [-1, 1, RepVGGBlock, [64, 3, 2]]       # 3-P3/8
  - [-1, 1, RepVGGBlock, [128, 3, 2]]      # 4-P4/16

head:
  - [-1, 1, Conv, [64, 1]]                 # 5
  - [-1, 1, nn.Upsample, [None, 2, nearest]]
  - [[-1, 3], 1, Concat, [1]]
  - [-1, 1, C3, [64, False]]               # 8 (P3/8-small)
  - [[8, 5], 1, Detect, [nc, anchors]]     # Detect(P3, P4)
"""

# Pieces of BASE that several cases replace.
ANCHORS = BASE[BASE.index("anchors:") : BASE.index("\nbackbone")]
HEAD = BASE[BASE.index("head:") :]
CONV = "[64, 3, 2]]              # 1-P2/4"
C3 = "[-1, 2, C3, [64]]"
UPSAMPLE = "[None, 2, nearest]"
LAST = "  - [[8, 5], 1, Detect, [nc, anchors]]     # Detect(P3, P4)\n"

CONV_USAGE = (
    "expected [c_out, kernel, stride, padding, groups, dilation, activation, eps, momentum, "
    "padding_mode]"
)
ANCHORS_USAGE = (
    "anchors: expected a list [w, h, w, h, …] per level, or the number of anchors per level, "
    "1 to 100"
)
KEYS = (
    "known keys: nc, names, ch, depth_multiple, width_multiple, anchors, activation, imgsz, "
    "preprocess, values, variants, variant, scales, scale, backbone, head"
)
FLOW_FROM_13 = "while parsing a flow sequence from line 13"
BLOCK_FROM_1 = "while parsing a block mapping from line 1"


class Case(NamedTuple):
    """One mutation of BASE; ``MODULES`` in the message stands for the registered names."""

    name: str
    old: str
    new: str
    line: int
    message: str


# One line for the change, one for the line number and the message.
# fmt: off
YAML = [
    Case("nothing", BASE, "", 1, "expected a mapping of settings, found nothing"),
    Case("a list", BASE, f"- {C3}", 1, "expected a mapping of settings, found list"),
    Case("a word", BASE, "yolov5n", 1, "expected a mapping of settings, found str"),
    Case(
        "bracket left open",
        CONV, "[64, 3, 2]",
        14, f"YAML syntax: expected ',' or ']', but got '-' ({FLOW_FROM_13})",
    ),
    Case(
        "tab",
        f"  - {C3}", f"\t- {C3}",
        14, "YAML syntax: found character '\\t' that cannot start any token "
        "(while scanning for the next token)",
    ),
    Case(
        "indentation",
        f"  - {C3}", f" - {C3}",
        14, "YAML syntax: expected <block end>, but found '<block sequence start>' "
        f"({BLOCK_FROM_1})",
    ),
    Case(
        "two documents",
        "\nhead:", "\n---\nhead:",
        18, "YAML syntax: but found another document "
        "(expected a single document in the stream from line 1)",
    ),
    Case(
        "control character",
        "nc: 4", "nc: 4\x07",
        1, "YAML syntax: character '\\x07' is not allowed",
    ),
    Case(
        "unknown alias",
        "nc: 4", "nc: *four",
        1, "YAML syntax: found undefined alias 'four'",
    ),
    Case("key twice", "imgsz: 64", "nc: 64", 5, "key 'nc' appears twice"),
    Case("mapping as a key", "imgsz: 64", "{a: 1}: 64", 1, "a mapping's key is not a plain word"),
    Case(
        "alias bomb",
        "[cell, plate, dot, ring]",
        "\n  - &a [x,x,x,x,x,x,x,x,x,x]\n  - &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]"
        "\n  - &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n  - &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]"
        "\n  - &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]",
        3, "expands to more than 100000 values",
    ),
    Case(
        "alias of itself",
        "[cell, plate, dot, ring]", "&a [*a]",
        2, "is nested deeper than 64 levels",
    ),
    Case(
        "nested deeply",
        "imgsz: 64", "imgsz: " + "[" * 100_000,
        5, "YAML syntax: nested deeper than 64 levels",
    ),
    Case(
        "tag that calls",
        "nn.ReLU()", "!!python/object/apply:os.system ['touch pwned']",
        6, "tag '!!python/object/apply:os.system' is not allowed, a file holds plain values only",
    ),
    Case(
        "tag that imports",
        "nn.ReLU()", "!!python/name:os.system",
        6, "tag '!!python/name:os.system' is not allowed, a file holds plain values only",
    ),
]

KEY = [
    Case(
        "backbone misspelt",
        "backbone:", "bckbone:",
        11, "unknown key 'bckbone'; did you mean 'backbone'?",
    ),
    Case("head missing", HEAD, "", 1, "key 'head' is missing"),
    Case("head empty", HEAD, "head: []\n", 18, "head has no rows"),
    Case("head without rows", HEAD, "head:\n", 18, "head: expected a list, found None"),
    Case(
        "key misspelt",
        "depth_multiple", "depth_mutliple",
        3, "unknown key 'depth_mutliple'; did you mean 'depth_multiple'?",
    ),
    Case("key of a preset", "imgsz: 64", "workers: 2", 5, f"unknown key 'workers'; {KEYS}"),
    Case("nc 0", "nc: 4", "nc: 0", 1, "nc: expected at least 1, found 0"),
    Case("nc negative", "nc: 4", "nc: -4", 1, "nc: expected at least 1, found -4"),
    Case("nc huge", "nc: 4", "nc: 999999", 1, "nc: expected at most 100000, found 999999"),
    Case("nc quoted", "nc: 4", "nc: '4'", 1, "nc: expected a whole number, found '4'"),
    Case("nc yes", "nc: 4", "nc: yes", 1, "nc: expected a whole number, found True"),
    Case("nc 4.5", "nc: 4", "nc: 4.5", 1, "nc: expected a whole number, found 4.5"),
    Case("nc without value", "nc: 4", "nc:", 1, "nc: expected a whole number, found None"),
    Case("other nc than names", "nc: 4", "nc: 5", 2, "nc is 5, but there are 4 names"),
    Case("name twice", "dot, ring", "dot, cell", 2, "names: class name 'cell' appears twice"),
    Case("name that is a bool", "[cell", "[yes", 2, "names.0: expected a word, found True"),
    Case(
        "no names",
        "[cell, plate, dot, ring]", "[]",
        2, "names: expected 1 or more values, found []",
    ),
    Case(
        "width 0",
        "width_multiple: 0.5", "width_multiple: 0",
        4, "width_multiple: expected more than 0, found 0",
    ),
    Case(
        "width huge",
        "width_multiple: 0.5", "width_multiple: 1e3",
        4, "width_multiple: expected at most 16, found 1000.0",
    ),
    Case(
        "depth not a number",
        "depth_multiple: 0.5", "depth_multiple: .nan",
        3, "depth_multiple: expected a finite number, found nan",
    ),
    Case(
        "depth in words",
        "depth_multiple: 0.5", "depth_multiple: a third",
        3, "depth_multiple: expected a number, found 'a third'",
    ),
    Case("imgsz 1", "imgsz: 64", "imgsz: 1", 5, "imgsz: expected at least 32, found 1"),
    Case(
        "imgsz between strides",
        "imgsz: 64", "imgsz: 100",
        5, "imgsz: expected a multiple of the largest stride, 16, found 100",
    ),
    Case("grey images", "imgsz: 64", "ch: 1", 5, "ch: expected 3, found 1"),
    Case(
        "activation of more values than there is memory",
        "nn.ReLU()", "nn.PReLU(2000000000)",
        12,
        "row 0 (Conv): activation 'nn.PReLU(2000000000)': the network exceeds 536870912 parameters",
    ),
    Case(
        "activation misspelt",
        "nn.ReLU()", "nn.RelU6x()",
        6, "unknown activation 'RelU6x'; did you mean 'ReLU6'?",
    ),
    Case(
        "activation with code",
        "nn.ReLU()", "nn.SiLU(__import__('os').system('touch pwned'))",
        6, "activation \"nn.SiLU(__import__('os').system('touch pwned'))\": "
        "expected a name with numbers, as nn.LeakyReLU(0.1)",
    ),
    Case("anchors a word", ANCHORS, "anchors: auto\n", 7, f"{ANCHORS_USAGE}; found 'auto'"),
    Case("anchors 0", ANCHORS, "anchors: 0\n", 7, f"{ANCHORS_USAGE}; found 0"),
    Case(
        "anchors flat",
        ANCHORS, "anchors: [10, 13, 16, 30]\n",
        7, "anchors: expected a list [w, h, w, h, …] of pixels, found 10",
    ),
    Case(
        "anchors odd",
        "[30, 61, 62, 45]", "[30, 61, 62]",
        9, "anchors: expected pairs of width and height, found 3 values",
    ),
    Case(
        "fewer anchors on a level",
        "[30, 61, 62, 45]", "[30, 61]",
        9, "anchors: expected 4 values as on the first level, found 2",
    ),
    Case(
        "anchor negative",
        "[30, 61, 62, 45]", "[30, -61, 62, 45]",
        9, "anchors: expected pixels, more than 0, found -61",
    ),
    Case(
        "anchor quoted",
        "[30, 61, 62, 45]", "[30, '61', 62, 45]",
        9, "anchors: expected pixels, more than 0, found '61'",
    ),
    Case(
        "anchors missing",
        ANCHORS, "",
        20, "row 9 (Detect): refers to 'anchors', but the file has no such key",
    ),
    Case(
        "anchors of one level",
        "  - [30, 61, 62, 45]                       # P4/16\n", "",
        22, "row 9 (Detect): anchors: expected 2 levels, found 1",
    ),
    Case(
        "variant without a table",
        "imgsz: 64", "variant: s",
        5, "unknown variant 's'; the file has: none",
    ),
    Case(
        "variant unknown",
        "imgsz: 64", "variants: {small: {}, large: {}}\nvariant: smal",
        6, "unknown variant 'smal'; did you mean 'small'?",
    ),
    Case(
        "variant with an unknown key",
        "imgsz: 64", "variants: {s: {depth: 1}}",
        5, "unknown key 'variants.s.depth'; known keys: depth_multiple, width_multiple, "
        "max_channels, anchors, values, backbone",
    ),
]

ROW = [
    Case(
        "three values",
        C3, "[-1, C3, [64]]",
        14, "row 2: expected [from, number, module, args], found 3 values",
    ),
    Case("a word", C3, "C3", 14, "row 2: expected [from, number, module, args], found 'C3'"),
    Case(
        "from a later row",
        C3, "[4, 2, C3, [64]]",
        14, "row 2 (C3): 'from' 4 is not an earlier row, expected -3 (the image) to 1",
    ),
    Case(
        "from itself",
        C3, "[2, 2, C3, [64]]",
        14, "row 2 (C3): 'from' 2 is not an earlier row, expected -3 (the image) to 1",
    ),
    Case(
        "from before the image",
        C3, "[-4, 2, C3, [64]]",
        14, "row 2 (C3): 'from' -4 is not an earlier row, expected -3 (the image) to 1",
    ),
    Case(
        "first row from itself",
        "[-1, 1, Conv, [32", "[0, 1, Conv, [32",
        12, "row 0 (Conv): 'from' 0 is not an earlier row, expected -1 (the image)",
    ),
    Case(
        "from nowhere",
        "[[8, 5], 1, Detect", "[[8, 50], 1, Detect",
        23, "row 9 (Detect): 'from' 50 is not an earlier row, expected -10 (the image) to 8",
    ),
    Case(
        "from a fraction",
        C3, "[-1.0, 2, C3, [64]]",
        14, "row 2: 'from' is a row index or a list of them, found -1.0",
    ),
    Case(
        "from quoted",
        C3, "['-1', 2, C3, [64]]",
        14, "row 2: 'from' is a row index or a list of them, found '-1'",
    ),
    Case(
        "from an empty list",
        "[[-1, 3], 1", "[[], 1",
        21, "row 7: 'from' is a row index, a level such as P4, or a list of them, found []",
    ),
    Case(
        "from two rows",
        C3, "[[-1, 0], 2, C3, [64]]",
        14, "row 2 (C3): reads one row, found 'from' [-1, 0]",
    ),
    Case(
        "number 0",
        C3, "[-1, 0, C3, [64]]",
        14, "row 2: 'number' is a whole number of 1 to 100, found 0",
    ),
    Case(
        "number true",
        C3, "[-1, true, C3, [64]]",
        14, "row 2: 'number' is a whole number of 1 to 100, found True",
    ),
    Case(
        "number huge",
        C3, "[-1, 1000000, C3, [64]]",
        14, "row 2: 'number' is a whole number of 1 to 100, found 1000000",
    ),
    Case(
        "number of a join",
        "1, Concat", "4, Concat",
        21, "row 7 (Concat): 'number' must be 1 here, found 2",
    ),
    Case(
        "module misspelt",
        "RepVGGBlock, [64", "RepVGBlok, [64",
        15, "row 3: unknown module 'RepVGBlok'; did you mean 'RepVGGBlock'?",
    ),
    Case(
        "kernel of two sides",
        "Conv, [32, 3, 2]", "Conv, [32, [3, 5], 2]",
        12, "row 0 (Conv): argument 'kernel': expected a whole number of at least 1, found [3, 5]",
    ),
    Case(
        "module in lower case",
        C3, "[-1, 2, c3, [64]]",
        14, "row 2: unknown module 'c3'; did you mean 'C3'?",
    ),
    Case(
        "head misspelt",
        "Detect, [nc", "Detecct, [nc",
        23, "row 9: unknown module 'Detecct'; did you mean 'Detect'?",
    ),
    Case(
        "module that is code",
        C3, "[-1, 2, \"__import__('os').system('touch pwned')\", [64]]",
        14, "row 2: unknown module \"__import__('os').system('touch pwned')\"; "
        "known modules: MODULES",
    ),
    Case(
        "module that is a number",
        C3, "[-1, 2, 3, [64]]",
        14, "row 2: 'module' is the name of a module, found 3",
    ),
    Case(
        "args a word",
        C3, "[-1, 2, C3, '64']",
        14, "row 2: 'args' is a list, or a mapping of arguments by name, found '64'",
    ),
]

ARGUMENT = [
    Case(
        "too many",
        "RepVGGBlock, [64, 3, 2]",
        "RepVGGBlock, [64, 3, 2, 1, 1, 1, zeros, False, False, ReLU, 4, False, True, True, "
        "0.1, 0.1, 7]",
        15, "row 3 (RepVGGBlock): takes at most 16 arguments, found 17; expected [c_out, kernel, "
        "stride, padding, dilation, groups, padding_mode, deploy, use_se, activation, se_ratio, "
        "se_last, pointwise, identity, eps, momentum]",
    ),
    Case(
        "none",
        CONV, "[]]",
        13, f"row 1 (Conv): argument 'c_out' is missing; {CONV_USAGE}",
    ),
    Case(
        "a word for a number",
        CONV, "[64, three, 2]]",
        13, "row 1 (Conv): argument 'kernel': expected a whole number of at least 1, found 'three'",
    ),
    Case(
        "a fraction for a whole number",
        CONV, "[64, 3.0, 2]]",
        13, "row 1 (Conv): argument 'kernel': expected a whole number of at least 1, found 3.0",
    ),
    Case(
        "a bool for a number",
        CONV, "[64, True, 2]]",
        13, "row 1 (Conv): argument 'kernel': expected a whole number of at least 1, found True",
    ),
    Case(
        "kernel 0",
        CONV, "[64, 0, 2]]",
        13, "row 1 (Conv): argument 'kernel': expected a whole number of at least 1, found 0",
    ),
    Case(
        "stride negative",
        CONV, "[64, 3, -2]]",
        13, "row 1 (Conv): argument 'stride': expected a whole number of at least 1, found -2",
    ),
    Case(
        "no channels",
        CONV, "[0, 3, 2]]",
        13, "row 1 (Conv): argument 'c_out': expected a whole number of at least 1, found 0",
    ),
    Case(
        "channels without end",
        CONV, "[1000000, 3, 2]]",
        13, "row 1 (Conv): 500000 channels, at most 65536 are built",
    ),
    Case(
        "weights without end",
        CONV, "[60000, 999, 2]]",
        13, "row 1 (Conv): the network exceeds 536870912 parameters",
    ),
    Case(
        "blocks without end",
        C3, "[-1, 1, OSA, {c_out: 8, width: 8, convs: 2147483647}]",
        14, "row 2 (OSA): the network exceeds 10000 tensors",
    ),
    Case(
        "stride without end",
        CONV, "[64, 3, 2000]]",
        13, "row 1 (Conv): the output has stride 4000, expected 1/1024 to 1024",
    ),
    Case(
        "name misspelt",
        CONV, "{c_out: 64, kernle: 3}]",
        13, "row 1 (Conv): unknown argument 'kernle'; did you mean 'kernel'?",
    ),
    Case(
        "what the builder fills in",
        CONV, "{c_in: 16, c_out: 64}]",
        13, f"row 1 (Conv): unknown argument 'c_in'; {CONV_USAGE}",
    ),
    Case(
        "groups that do not divide",
        CONV, "{c_out: 64, groups: 3}]",
        13, "row 1 (Conv): argument 'groups': 3 does not divide 16 → 32 channels",
    ),
    Case(
        "not finite",
        CONV, "{c_out: 64, eps: .inf}]",
        13, "row 1 (Conv): argument 'eps': expected a number above 0, found inf",
    ),
    Case(
        "activation misspelt",
        CONV, "{c_out: 64, activation: SiLu}]",
        13, "row 1 (Conv): unknown activation 'SiLu'; did you mean 'SiLU'?",
    ),
    Case(
        "activation with code",
        CONV, "{c_out: 64, activation: 'nn.LeakyReLU(exec(1))'}]",
        13, "row 1 (Conv): activation 'nn.LeakyReLU(exec(1))': expected a name with numbers, "
        "as nn.LeakyReLU(0.1)",
    ),
    Case(
        "padding that separates the branches",
        "RepVGGBlock, [64, 3, 2]", "RepVGGBlock, [64, 3, 2, 0]",
        15, "row 3 (RepVGGBlock): argument 'padding': the branches fit only with 1 here, found 0",
    ),
    Case(
        "even kernel",
        "RepVGGBlock, [64, 3, 2]", "RepVGGBlock, [64, 4, 2]",
        15, "row 3 (RepVGGBlock): argument 'kernel': expected an odd number, found 4",
    ),
    Case(
        "one of a few words",
        "RepVGGBlock, [64, 3, 2]", "RepVGGBlock, {c_out: 64, padding_mode: zero}",
        15, "row 3 (RepVGGBlock): argument 'padding_mode': expected 'zeros' or 'reflect' or "
        "'replicate' or 'circular' or 'same', found 'zero'",
    ),
    Case(
        "no hidden channels",
        C3, "[-1, 2, C3, [64, True, 1, 0.001]]",
        14, "row 2 (C3): argument 'expansion': 0.001 of 32 channels leaves none",
    ),
    Case(
        "a number for a bool",
        C3, "[-1, 2, C3, [64, 1]]",
        14, "row 2 (C3): argument 'shortcut': expected True or False, found 1",
    ),
    Case(
        "upsampling without a scale",
        UPSAMPLE, "[]",
        20, "row 6 (nn.Upsample): expected a 'scale_factor' and no 'size', found {}",
    ),
    Case(
        "upsampling by 0",
        UPSAMPLE, "[None, 0]",
        20, "row 6 (nn.Upsample): argument 'scale_factor': expected a number above 0 or None, "
        "found 0",
    ),
    Case(
        "upsampling in a wrong way",
        UPSAMPLE, "[None, 2, neerest]",
        20, "row 6 (nn.Upsample): argument 'mode': expected 'nearest' or 'nearest-exact' or "
        "'bilinear' or 'bicubic', found 'neerest'",
    ),
    Case(
        "pool padded too far",
        C3, "[-1, 1, nn.MaxPool2d, [2, 2, 2]]",
        14, "row 2 (nn.MaxPool2d): argument 'padding': expected at most half of the kernel, "
        "found 2",
    ),
]

GRAPH = [
    Case(
        "join of different sizes",
        "[[-1, 3], 1, Concat", "[[-1, 1], 1, Concat",
        21, "row 7 (Concat): joins feature maps of different sizes: row 6 has stride 8, "
        "row 1 has stride 4",
    ),
    Case(
        "join with the image",
        "[[-1, 3], 1, Concat", "[[-1, -8], 1, Concat",
        21, "row 7 (Concat): joins feature maps of different sizes: row 6 has stride 8, "
        "the image has stride 1",
    ),
    Case(
        "upsampling by 3",
        UPSAMPLE, "[None, 3, nearest]",
        21, "row 7 (Concat): joins feature maps of different sizes: row 6 has stride 16/3, "
        "row 3 has stride 8",
    ),
    Case(
        "join along the height",
        "Concat, [1]", "Concat, [2]",
        21, "row 7 (Concat): feature maps are concatenated along their channels, dim 1, found 2",
    ),
    Case(
        "head without anchors",
        "[nc, anchors]", "[nc]",
        23, "row 9 (Detect): argument 'anchors' is missing; expected [nc, anchors]",
    ),
    Case(
        "head with a misspelt nc",
        "[nc, anchors]", "[nx, anchors]",
        23, "row 9 (Detect): argument 'nc': expected a whole number, found 'nx'",
    ),
    Case(
        "head with its own number of classes",
        "[nc, anchors]", "[20, anchors]",
        23, "row 9 (Detect): argument 'nc': expected 4, the number of classes, found 20",
    ),
    Case(
        "head of three levels",
        "[[8, 5], 1, Detect", "[[8, 5, 4], 1, Detect",
        23, "row 9 (Detect): anchors: expected 3 levels, found 2",
    ),
    Case(
        "head at a fraction of a stride",
        HEAD, "head:\n  - [-1, 1, nn.Upsample, [None, 3]]\n  - [-1, 1, Detect, [nc, anchors]]\n",
        20, "row 6 (Detect): row 5 has stride 16/3, a head reads rows of integer stride",
    ),
    Case(
        "second head",
        LAST, LAST * 2,
        24, "row 10 (Detect): only one head is allowed, row 9 (Detect) is one already",
    ),
    Case(
        "head not last",
        LAST, f"{LAST}  - [5, 1, Conv, [64]]\n",
        23, "row 9 (Detect): a head must be the last row, which is 10",
    ),
    Case(
        "no head",
        LAST, "",
        22, "row 8 (C3): the last row must be a head (HEADS), the file has none",
    ),
]
# fmt: on

BUILDS = {
    "a file as it is": (BASE, BASE),
    "a convolution without padding: its output is 2 pixels smaller, within the tolerance": (
        CONV,
        "[64, 3, 2, 0]]",
    ),
    "a join of one row changes nothing": ("[[-1, 3], 1, Concat", "[-1, 1, Concat"),
    "a head may read two rows of one stride": ("[[8, 5], 1, Detect", "[[8, 6], 1, Detect"),
    "anchors may be a number until they are fitted": (ANCHORS, "anchors: 2\n"),
}
"""Mutations of BASE that build, by the reason."""


def mutated(old: str, new: str) -> str:
    assert BASE.count(old) == 1, f"{old!r} stands {BASE.count(old)} times in the base"
    return BASE.replace(old, new)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=f"{group}: {case.name}")
        for group, cases in {
            "yaml": YAML,
            "key": KEY,
            "row": ROW,
            "argument": ARGUMENT,
            "graph": GRAPH,
        }.items()
        for case in cases
    ],
)
def test_error(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "model.yaml"
    file.write_text(mutated(case.old, case.new), encoding="utf-8")
    message = case.message.replace("MODULES", ", ".join(registered())).replace(
        "HEADS", ", ".join(name for name, known in registered().items() if known.head)
    )
    with pytest.raises(DetectorError) as caught:
        build(file)
    assert str(caught.value) == f"{file}:{case.line}: {message}"
    assert [path.name for path in tmp_path.iterdir()] == ["model.yaml"], "something ran"


@pytest.mark.parametrize("why", BUILDS)
def test_builds(why: str, tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_text(mutated(*BUILDS[why]), encoding="utf-8")
    assert build(file).strides in {(8, 16), (8, 8)}


WORDS = re.findall(r"-?\d+\.?\d*|[\w.']+|[\[\]{},:()#-]|\n|\s+", BASE)
STRAY = [
    *("0", "-1", "2", "1.5", "1000000", "99999999999999999999", "true", "null", "None", ".nan"),
    *("nc", "anchors", "Conv", "C3", "Concat", "Detect", "nn.Upsample", "SEBlock", "OSA", "SPPF"),
    *("[]", "{}", "[[-1, 2]]", "x: 1", "'x'", "'", "&a", "*a", "!!str", "\t", "#", ":", "- ", ""),
]


@settings(max_examples=120)
@given(
    st.lists(
        st.tuples(st.integers(0, len(WORDS) - 1), st.booleans(), st.sampled_from(STRAY)),
        min_size=1,
        max_size=3,
    )
)
def test_any_change_builds_or_is_one_line(changes: list[tuple[int, bool, str]]) -> None:
    words = list(WORDS)
    for index, keep, stray in changes:
        words[index] = words[index] + stray if keep else stray
    message = "a.yaml:1: "
    try:
        build_model_file(check_model_file(YamlFile(Path("a.yaml"), "".join(words))))
    except DetectorError as error:
        message = str(error)
    assert re.match(r"a\.yaml:\d+: ", message)
    assert len(message.splitlines()) == 1


def test_table_is_large() -> None:
    assert len(YAML + KEY + ROW + ARGUMENT + GRAPH) >= 60
    assert len(BUILDS) <= 5


def test_all_unknown_modules_are_named() -> None:
    text = BASE.replace("RepVGGBlock, [", "RepVGBlok, [").replace("2, C3, ", "2, C3k9, ")
    with pytest.raises(DetectorError) as caught:
        build_model_file(check_model_file(YamlFile(Path("a.yaml"), text)))
    assert caught.value.line == 14
    assert str(caught.value).startswith("a.yaml:14: row 2: unknown module 'C3k9'; ")
    assert str(caught.value).endswith("; unknown, too: 'RepVGBlok'")


def test_pairs_of_equal_sides_are_one_number() -> None:
    text = BASE.replace("Conv, [32, 3, 2]", "Conv, [32, [3, 3], [2, 2]]")
    assert text != BASE
    model = build_model_file(check_model_file(YamlFile(Path("a.yaml"), text)))
    assert (model.plan[0].arguments["kernel"], model.plan[0].arguments["stride"]) == (3, 2)
