"""Lint: its warnings, and above all the cases without a warning."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from detector.model.detector import Detector, build_model_file
from detector.model.lint import check_anchor_order, lint, log_warnings
from detector.model.model_file import check_model_file, read_model_file
from detector.utils.errors import DetectorError
from detector.utils.files import packaged_files
from detector.utils.yaml_file import YamlFile

TEXT = """\
nc: 4
depth_multiple: 1
width_multiple: 1
anchors:
  - [10, 13, 16, 30]      # P3/8
  - [30, 61, 62, 45]      # P4/16
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]  # COMMENT
  - [-1, 1, Conv, [8, 3, 2]]
head:
  - [-1, 1, nn.Upsample, [None, 2]]
  - [[-1, 2], 1, Concat, [1]]   # JOIN
  - [[5, 3], 1, Detect, [nc, anchors]]  # HEAD
"""


def warnings_of(text: str, variant: str | None = None, classes: int | None = None) -> list[str]:
    model_file = check_model_file(YamlFile(Path("a.yaml"), text), variant)
    found = lint(model_file, build_model_file(model_file, classes))
    assert found == sorted(found, key=lambda warning: warning.line)
    return [f"{warning.line}: {warning.text}" for warning in found]


@cache
def unchanged() -> Detector:
    return build_model_file(check_model_file(YamlFile(Path("a.yaml"), TEXT)))


def warnings_with(placeholder: str, comment: str) -> list[str]:
    """Return the warnings for a comment, with one network for all: comments do not change it."""
    text = TEXT.replace(placeholder, comment)
    model_file = check_model_file(YamlFile(Path("a.yaml"), text))
    return [f"{warning.line}: {warning.text}" for warning in lint(model_file, unchanged())]


def test_nothing_to_say() -> None:
    assert warnings_of(TEXT) == []


@pytest.mark.parametrize("name", [n for n in packaged_files("cfg") if "/" not in n])
def test_packaged_files(name: str) -> None:
    model_file = read_model_file(name)
    texts = [warning.text for warning in lint(model_file, build_model_file(model_file))]
    assert texts == (["nc is missing: 80"] if name == "yolov5_repvgg" else [])


def test_original_of_yolov5_repvgg() -> None:
    text = read_model_file("yolov5_repvgg").file.text
    (line,) = (i for i, row in enumerate(text.splitlines(), 1) if "# 7-P5/32" in row)
    assert warnings_of(text.replace("# 7-P5/32", "# 7-P4/16"))[1:] == [
        f"{line}: row 7 (RepVGGBlock) is P5/32, the comment says P4/16"
    ]


# ------------------------------------------------------------------------------------- comments

TRUE = [
    "2",
    "2.",
    "2-P3/8",
    "2-P3",
    "2 (P3/8-small)",
    "2 - P3/8",
    "2: P3/8",
    "(P3/8-small)",
    "P3/8",
    "P3",
    "p3/8",
    "P3-small",
    "/8",
    "2 /8",
    "P3/8 downsample",
    "cat backbone P3",
    "cat head P3",
]
NO_CLAIM = [
    "",
    "64 channels",
    "3x3",
    "1x1 conv",
    "5 convs",
    "2 blocks of P4",
    "1/4",
    "80x80",
    "640*640*3",
    "from P4",
    "route backbone P4",
    "P4 to P3",
    "P4/16 to P3/8",
    "P4 upsampled",
    "uses P4",
    "cat P4 with P3",
    "Detect(P3, P4)",
    "4, as in the paper",
    "0.5",
    "-1",
    "12345678901234567890",
    "P",
    "P3/",
    "see arXiv 2101.03697",
    "stride 2",
    "TODO",
]


@pytest.mark.parametrize("comment", TRUE + NO_CLAIM)
def test_sound(comment: str) -> None:
    assert warnings_with("COMMENT", comment) == []


@pytest.mark.parametrize(
    ("comment", "text"),
    [
        ("3", "10: row 2 (Conv): the comment says 3"),
        ("3-P3/8", "10: row 2 (Conv): the comment says 3"),
        ("2-P4/16", "10: row 2 (Conv) is P3/8, the comment says P4/16"),
        ("2-P3/16", "10: row 2 (Conv) is P3/8, the comment says P3/16"),
        ("2-P4/8", "10: row 2 (Conv) is P3/8, the comment says P4/8"),
        ("P4", "10: row 2 (Conv) is P3/8, the comment says P4"),
        ("(P5/32-large)", "10: row 2 (Conv) is P3/8, the comment says P5/32"),
        ("17 (P3/8-small)", "10: row 2 (Conv): the comment says 17"),
        ("/32", "10: row 2 (Conv) is P3/8, the comment says /32"),
        ("2 /16", "10: row 2 (Conv) is P3/8, the comment says /16"),
        ("P4/16 downsample", "10: row 2 (Conv) is P3/8, the comment says P4/16"),
        ("cat backbone P4", "10: row 2 (Conv) is P3/8, the comment says P4"),
    ],
)
def test_wrong_claims(comment: str, text: str) -> None:
    assert warnings_with("COMMENT", comment) == [text]


def test_wrong_index_and_level_are_two_warnings() -> None:
    assert warnings_with("COMMENT", "7-P5/32") == [
        "10: row 2 (Conv): the comment says 7",
        "10: row 2 (Conv) is P3/8, the comment says P5/32",
    ]


def test_join() -> None:
    assert warnings_with("JOIN", "cat backbone P3") == []
    assert warnings_with("JOIN", "cat backbone P4") == [
        "14: row 5 (Concat) is P3/8, the comment says P4"
    ]


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("Detect(P3, P4)", []),
        ("6 Detect(P3,P4)", []),
        ("Detect(P3, P4, P5)", ["reads P3/8, P4/16, the comment says P3, P4, P5"]),
        ("Detect(P4, P3)", ["reads P3/8, P4/16, the comment says P4, P3"]),
        ("6", []),
    ],
)
def test_head(comment: str, expected: list[str]) -> None:
    found = warnings_with("HEAD", comment)
    assert found == [f"15: row 6 (Detect) {text}" for text in expected]


def test_stride_that_is_no_level() -> None:
    text = TEXT.replace("[8, 3, 2]]  # COMMENT", "[8, 3, 3]]  # 2-P3/8").replace(
        "nc: 4", "nc: 4\nimgsz: 96"
    )
    assert warnings_of(text)[-1] == "11: row 2 (Conv) is stride 12, the comment says P3/8"


def test_rows_on_one_line_share_the_comment_of_the_last() -> None:
    text = TEXT.replace(
        "  - [-1, 1, Conv, [8, 3, 2]]\n  - [-1, 1, Conv, [8, 3, 2]]\n  - [-1, 1, Conv, [8, 3, 2]]"
        "  # COMMENT\n  - [-1, 1, Conv, [8, 3, 2]]\n",
        "  [[-1, 1, Conv, [8, 3, 2]], [-1, 1, Conv, [8, 3, 2]],  # 1-P2/4\n"
        "   [-1, 1, Conv, [8, 3, 2]], [-1, 1, Conv, [8, 3, 2]]]  # 2-P3/8\n",
    )
    assert warnings_of(text) == [
        "9: row 3 (Conv): the comment says 2",
        "9: row 3 (Conv) is P4/16, the comment says P3/8",
    ]


# ------------------------------------------------------------------------------------ all others


def test_output_that_nobody_reads() -> None:
    text = TEXT.replace("  - [[5, 3], 1", "  - [3, 1, Conv, [8]]\n  - [[5, 3], 1")
    assert warnings_of(text) == ["15: row 6 (Conv): no row reads its output"]


def test_join_of_one() -> None:
    text = TEXT.replace("[[-1, 2], 1, Concat", "[-1, 1, Concat")
    assert warnings_of(text)[-1] == "14: row 5 (Concat): joins a single feature map"


def test_defaulted_keys() -> None:
    without = TEXT.split("anchors:", 1)[1]
    assert warnings_of("anchors:" + without) == [
        "1: nc is missing: 80",
        "1: depth_multiple is missing: 1",
        "1: width_multiple is missing: 1",
    ]
    assert warnings_of("names: [a]\nanchors:" + without)[0].endswith("depth_multiple is missing: 1")
    assert not any("nc" in text for text in warnings_of("anchors:" + without, classes=3))
    table = "nc: 2\nvariants: {s: {}}\nanchors:" + without
    assert warnings_of(table, variant="s") == []
    assert len(warnings_of(table)) == 2


def test_anchors_that_no_row_reads() -> None:
    """As beside the head of YOLOv8, which has none."""
    text = "nc: 2\nscales: {n: [1, 1, 64]}\nscale: n\n" + TEXT[TEXT.index("anchors:") :]
    read = warnings_of(text.replace("[nc, anchors]", "[nc]"))
    assert [line for line in read if "no row reads" in line] == ["4: anchors: no row reads them"]


def test_anchors_against_the_strides() -> None:
    small, large = "[10, 13, 16, 30]      # P3/8", "[30, 61, 62, 45]      # P4/16"
    swapped = TEXT.replace(small, "X").replace(large, small).replace("X", large)
    assert warnings_of(swapped) == [
        "5: these anchors are for P3/8, the comment says P4/16",
        "6: anchors do not grow with the strides: larger at stride 8 than at 16",
        "6: these anchors are for P4/16, the comment says P3/8",
    ]
    without_comments = swapped.replace("# P4/16", "").replace("# P3/8", "")
    assert len(warnings_of(without_comments)) == 1
    assert warnings_of(without_comments.replace("[[5, 3]", "[[3, 5]")) == []
    assert warnings_of(TEXT.replace(f"\n  - {small}\n  - {large}", " 3")) == []


# ------------------------------------------------------------------------------ order of anchors

SMALL, LARGE = "[10, 13, 16, 30]      # P3/8", "[30, 61, 62, 45]      # P4/16"
REVERSED = TEXT.replace(SMALL, "X").replace(LARGE, SMALL).replace("X", LARGE)
ONE_LINE = TEXT.replace(f"\n  - {SMALL}\n  - {LARGE}", " [[10, 13, 16, 30], [30, 61, 62, 45]]")
INLINE = "[[30, 61, 62, 45], [10, 13, 16, 30]]"


def check_order(text: str) -> None:
    model_file = check_model_file(YamlFile(Path("a.yaml"), text))
    check_anchor_order(model_file, build_model_file(model_file))


@pytest.mark.parametrize(
    ("text", "line"),
    [(REVERSED, 5), (TEXT.replace("[nc, anchors]", f"[nc, {INLINE}]"), 15)],
)
def test_reversed_anchors_are_refused_with_the_right_order(text: str, line: int) -> None:
    with pytest.raises(DetectorError) as caught:
        check_order(text)
    assert str(caught.value) == (
        f"a.yaml:{line}: anchors run against the strides: the first ones are for stride 8; "
        "expected anchors: [[10, 13, 16, 30], [30, 61, 62, 45]]"
    )


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        ONE_LINE,
        TEXT.replace(f"\n  - {SMALL}\n  - {LARGE}", " 3"),
        REVERSED.replace("[[5, 3]", "[[3, 5]"),
        TEXT.replace("[30, 61, 62, 45]", "[10, 13, 16, 30]"),  # the same on both levels
    ],
)
def test_other_anchors_are_accepted(text: str) -> None:
    check_order(text)


def test_stored_networks_are_judged_by_the_anchors_of_their_weights(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = build_model_file(check_model_file(YamlFile(Path("a.yaml"), REVERSED)))
    with caplog.at_level("WARNING"):
        log_warnings(model)
    assert caplog.messages[1] == (
        "a.yaml: anchors do not grow with the strides: larger at stride 8 than at 16"
    )
    caplog.clear()
    model.head.anchors_wh.copy_(model.head.anchors_wh.flip(0))
    log_warnings(model)
    assert not any("do not grow" in message for message in caplog.messages)
