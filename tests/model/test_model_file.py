"""A model file before anything is built: keys, variants, rows with their lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.model.model_file import ModelFile, check_model_file, read_model_file
from detector.registry import contract
from detector.utils.errors import DetectorError
from detector.utils.files import packaged_files
from detector.utils.yaml_file import YamlFile

ROWS = """
backbone:
  [[-1, 1, Conv, [64, 6, 2, 2]],  # 0-P1/2
   [-1, 3, C3, {c_out: 128}],
   [[-1, 0], 1, Concat, null],
  ]
head:
  - [-1, 1,
     Detect, [nc, anchors]]
"""


def model_file(keys: str = "", variant: str | None = None, rows: str = ROWS) -> ModelFile:
    return check_model_file(YamlFile(Path("a.yaml"), keys + rows), variant)


def test_defaults() -> None:
    keys = model_file().keys
    assert (keys.nc, keys.depth_multiple, keys.width_multiple, keys.imgsz) == (80, 1, 1, 640)
    assert (keys.anchors, keys.names, keys.activation, keys.variants) == (None, None, None, {})


def test_rows_are_numbered_through() -> None:
    rows = model_file().rows
    assert [row.index for row in rows] == [0, 1, 2, 3]
    assert [row.line for row in rows] == [3, 4, 5, 8]
    assert [row.section for row in rows] == ["backbone"] * 3 + ["head"]
    assert [row.source for row in rows] == [-1, -1, [-1, 0], -1]
    assert rows[1].args == {"c_out": 128}
    assert rows[2].args == []
    assert rows[3].args == ["nc", "anchors"]


def test_yolov5_keys() -> None:
    keys = model_file(
        "nc: 2\nch: 3\ndepth_multiple: 0.33\nwidth_multiple: 1\nanchors:\n  - [10, 13.5]\n"
    ).keys
    assert keys.width_multiple == 1.0
    assert keys.anchors == [[10, 13.5]]
    assert model_file("anchors: 3\n").keys.anchors == 3
    assert model_file("names: [a, b]\n").keys.names == ("a", "b")


TABLE = "variants: {s: {depth_multiple: 0.5}, m: {}}\ndepth_multiple: 2\nwidth_multiple: 3\n"


@pytest.mark.parametrize(
    ("keys", "asked", "name", "depth", "width"),
    [
        ("", None, None, 1, None),
        ("width_multiple: 1\n", None, None, 1, 1),
        ("depth_multiple: 2\nwidth_multiple: 3\n", None, None, 2, 3),
        (TABLE, None, None, 2, 3),
        (TABLE, "s", "s", 0.5, 3),  # what the variant gives takes the place of the file's
        (TABLE + "variant: m\n", None, "m", 2, 3),
        (TABLE + "variant: m\n", "s", "s", 0.5, 3),
    ],
)
def test_variants(
    keys: str, asked: str | None, name: str, depth: float, width: float | None
) -> None:
    found = model_file(keys, asked)
    assert found.variant == name
    assert (found.depth_multiple, found.width_multiple) == (depth, width)


SCALES = "scales: {n: [0.33, 0.25, 1024], m: [0.67, 0.75, 96]}\n"


@pytest.mark.parametrize(
    ("keys", "asked", "name", "depth", "width", "channels"),
    [
        (SCALES, "n", "n", 0.33, 0.25, 1024),
        (SCALES + "scale: m\n", None, "m", 0.67, 0.75, 96),
        (SCALES + "scale: m\n", "n", "n", 0.33, 0.25, 1024),
        ("depth_multiple: 2\nwidth_multiple: 3\n" + SCALES, "n", "n", 0.33, 0.25, 1024),
        (SCALES.replace("0.33", "1"), "n", "n", 1, 0.25, 1024),
    ],
)
def test_scales(
    keys: str, asked: str | None, name: str, depth: float, width: float, channels: int
) -> None:
    found = model_file(keys, asked)
    assert (found.variant, found.scale) == (name, name)
    assert (found.depth_multiple, found.width_multiple) == (depth, width)
    assert found.max_channels == channels


def test_a_variant_is_no_scale() -> None:
    found = model_file("variants: {n: {max_channels: 96}}\n", "n")
    assert (found.variant, found.scale, found.max_channels) == ("n", None, 96)


@pytest.mark.parametrize(
    ("keys", "asked", "message"),
    [
        (SCALES, None, "1: scales: none is chosen; expected --variant n, m"),
        (SCALES, "x", "1: unknown variant 'x'; the file has: n, m"),
        ("scale: x\n" + SCALES, None, "1: unknown variant 'x'; the file has: n, m"),
        ("scale: n\n", None, "1: scale: the file has no scales"),
        (SCALES + "variants: {}\n", "n",
         "2: variants: the file has scales; expected only one of the two"),
        (SCALES + "variant: n\n", None,
         "2: variant: the file has scales; expected the key 'scale'"),
        ("scales: {}\n", "n", "1: scales: expected 1 or more values, found {}"),
        ("scales: [n]\n", "n", "1: scales: expected a mapping, found ['n']"),
        ("scales:\n  n: [0.33, 0.25]\n", "n",
         "2: scales.n: expected [depth, width, max_channels], found [0.33, 0.25]"),
        ("scales:\n  n: 0.33\n", "n",
         "2: scales.n: expected [depth, width, max_channels], found 0.33"),
        ("scales:\n  n: [0, 0.25, 64]\n", "n", "2: scales.n.0: expected more than 0, found 0"),
        ("scales:\n  n: [1, 17, 64]\n", "n", "2: scales.n.1: expected at most 16, found 17"),
        ("scales:\n  n: [1, 1, 0]\n", "n", "2: scales.n.2: expected at least 1, found 0"),
        ("scales:\n  n: [1, 1, wide]\n", "n",
         "2: scales.n.2: expected a whole number, found 'wide'"),
    ],
)  # fmt: skip
def test_scales_refused(keys: str, asked: str | None, message: str) -> None:
    with pytest.raises(DetectorError) as caught:
        model_file(keys, asked)
    assert str(caught.value) == f"a.yaml:{message}"


def test_anchors_of_a_variant() -> None:
    keys = "anchors: [[1, 2]]\nvariants:\n  big: {anchors: [[8, 9]]}\n  same: {}\n"
    assert model_file(keys).anchors == [[1, 2]]
    assert model_file(keys, "same").anchors == [[1, 2]]
    assert model_file(keys, "big").anchors == [[8, 9]]
    with pytest.raises(DetectorError) as caught:
        model_file(keys.replace("[[8, 9]]", "[[8, -9]]"))
    assert str(caught.value) == "a.yaml:3: anchors: expected pixels, more than 0, found -9"


def test_preprocessing_of_a_file() -> None:
    keys = model_file("preprocess: {mode: stretch, mean_rgb: [1, 2, 3]}\n").keys
    assert keys.preprocess.mode == "stretch"
    assert keys.preprocess.mean_rgb == (1, 2, 3)
    assert keys.preprocess.scale_rgb == (255, 255, 255)
    with pytest.raises(DetectorError) as caught:
        model_file("nc: 2\npreprocess: {mode: zoom}\n")
    expected = "a.yaml:2: preprocess.mode: expected 'letterbox', 'stretch' or 'crop', found 'zoom'"
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("keys", "asked", "message"),
    [
        (TABLE, "x", "a.yaml:1: unknown variant 'x'; the file has: s, m"),
        ("nc: 1\n" + TABLE, "sm", "a.yaml:2: unknown variant 'sm'; did you mean 's'?"),
        ("", "s", "a.yaml:2: unknown variant 's'; the file has: none"),
        (
            f"variants: {{{', '.join(f'v{i}: {{}}' for i in range(12))}}}\n",
            "other",
            "a.yaml:1: unknown variant 'other'; the file has: v0, v1, v2, v3, v4, v5, v6, v7, v8, "
            "v9 and 2 more",
        ),
    ],
)
def test_unknown_variant(keys: str, asked: str, message: str) -> None:
    with pytest.raises(DetectorError) as caught:
        model_file(keys, asked)
    assert str(caught.value) == message


def test_error_names_file_line_row_and_module() -> None:
    found = model_file()
    assert str(found.rows[1].error("is odd")) == "a.yaml:4: row 1 (C3): is odd"


def test_number_of_rows_is_limited() -> None:
    rows = "backbone:\n" + "  - [-1, 1, Conv, [8]]\n" * 1000 + "head: [[-1, 1, Detect, [nc, 3]]]\n"
    with pytest.raises(DetectorError, match=r"^a\.yaml:1002: 1001 rows, at most 1000 are built$"):
        model_file(rows=rows)


@pytest.mark.parametrize("name", [n for n in packaged_files("cfg") if "/" not in n])
def test_packaged_files(name: str) -> None:
    found = read_model_file(name)
    assert contract(found.rows[-1].module).head
    for variant in found.keys.variants:
        assert read_model_file(name, variant).variant == variant


# ------------------------------------------------------------------------- a backbone that is named

FAMILY = """\
activation: ReLU
width_multiple: 0.5
values: {wide: 32, n: 2}
variant: small
variants: {small: {}, large: {values: {wide: 64}, depth_multiple: 3}}
backbone:
  - [-1, 1, Conv, [wide, 3, 2]]
  - [-1, n, Conv, [wide, 3, 2]]
head: []
"""
NAMING = """\
nc: 2
backbone: {cfg: family.yaml}
values: {wide: 7}
head:
  - [0, 1, Conv, [wide]]
  - [[P1, -1], 1, Detect, [nc, 1]]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "family.yaml").write_text(FAMILY)
    return tmp_path


def naming(folder: Path, old: str = "", new: str = "", variant: str | None = None) -> ModelFile:
    assert old in NAMING
    (folder / "naming.yaml").write_text(NAMING.replace(old, new) if old else NAMING)
    return read_model_file(folder / "naming.yaml", variant)


def test_each_file_rules_its_own_rows(folder: Path) -> None:
    found = naming(folder, "{cfg: family.yaml}", "{cfg: family.yaml, variant: large}")
    assert found.names_backbone
    assert not model_file().names_backbone
    assert [row.index for row in found.rows] == [0, 1, 2, 3]
    assert [row.scope.file.path.name for row in found.rows] == ["family.yaml"] * 2 + [
        "naming.yaml"
    ] * 2
    assert [row.line for row in found.rows] == [7, 8, 5, 6]
    family, own = found.rows[0].scope, found.rows[-1].scope
    assert (family.variant, own.variant) == ("large", None)
    assert (family.activation, own.activation) == ("ReLU", None)
    assert (family.width_multiple, family.depth_multiple) == (0.5, 3)
    assert (own.width_multiple, own.depth_multiple) == (None, 1)
    assert (family.values["wide"], own.values["wide"]) == (64, 7)
    assert found.rows[1].number == 2
    assert found.rows[3].source == ["P1", -1]
    assert str(found.rows[1].error("is odd")) == f"{folder}/family.yaml:8: row 1 (Conv): is odd"
    assert str(found.rows[2].error("is odd")) == f"{folder}/naming.yaml:5: row 2 (Conv): is odd"


def test_the_family_has_a_choice_of_its_own(folder: Path) -> None:
    assert naming(folder).rows[0].scope.variant == "small"


def test_another_activation(folder: Path) -> None:
    found = naming(folder, "{cfg: family.yaml}", "{cfg: family.yaml, activation: SiLU}")
    assert [row.scope.activation for row in found.rows] == ["SiLU", "SiLU", None, None]


def test_a_variant_names_the_backbone(folder: Path) -> None:
    """A variant's backbone replaces the file's, be it rows or a name."""
    table = """\
variants:
  a: {}
  b: {backbone: {cfg: family, variant: large}}
  c: {backbone: {cfg: repvgg, variant: A1}}
"""
    (folder / "family").write_text(FAMILY)  # a name without suffix is a file's, if there is one
    for old in ("", "backbone: {cfg: family.yaml}\n"):
        for variant, wide in (("b", 64), ("c", None)):
            found = naming(folder, old or "nc: 2\n", table, variant)
            assert found.rows[0].scope.values.get("wide") == wide
    assert naming(folder, "nc: 2\n", table, "a").rows[0].scope.variant == "small"
    with pytest.raises(DetectorError) as caught:
        naming(folder, "backbone: {cfg: family.yaml}\n", table, "a")
    assert str(caught.value) == f"{folder}/naming.yaml:1: key 'backbone' is missing"


def test_a_file_beside_comes_before_a_packaged_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "repvgg.yaml").write_text(FAMILY)
    monkeypatch.chdir("/")
    assert naming(folder, "family.yaml", "repvgg.yaml").rows[0].args == ["wide", 3, 2]
    assert naming(folder, "family.yaml", "repvgg").rows[0].module == "RepVGGStage"
    assert naming(folder, "family.yaml", f"{folder}/family.yaml").rows[0].line == 7


NAMED = "{cfg: family.yaml}"


@pytest.mark.parametrize(
    ("new", "line", "message"),
    [
        ("{}", 2, "key 'cfg' is missing"),
        ("{cfg: repvgg, vriant: A0}", 2, "unknown key 'vriant'; did you mean 'variant'?"),
        ("{cfg: 3}", 2, "cfg: expected a word, found 3"),
        ("repvgg", 2, "backbone: expected a list of rows or {cfg: FILE}, found 'repvgg'"),
        ("[]", 2, "backbone has no rows"),
        ("null", 1, "key 'backbone' is missing"),
        ("{cfg: repvg}", 2, "backbone: repvg: no such file; did you mean 'repvgg'?"),
        ("{cfg: ''}", 2, "backbone: .: no such file"),
        ("\n  variant: A0\n  cfg: .", 4, "backbone: .: no such file"),
        (
            "\n  cfg: repvgg\n  variant: A00",
            4,
            "backbone: repvgg: unknown variant 'A00'; did you mean 'A0'?",
        ),
        (
            "{cfg: yolov5n, variant: A0}",
            2,
            "backbone: yolov5n: unknown variant 'A0'; the file has: none",
        ),
        (
            "{cfg: ssd300_neck}",
            2,
            "backbone: ssd300_neck names its backbone itself, expected a file with rows",
        ),
        (
            "{cfg: naming.yaml}",
            2,
            "backbone: naming.yaml names its backbone itself, expected a file with rows",
        ),
    ],
)
def test_bad_names(folder: Path, new: str, line: int, message: str) -> None:
    with pytest.raises(DetectorError) as caught:
        naming(folder, NAMED, new)
    assert str(caught.value) == f"{folder}/naming.yaml:{line}: {message}"


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        (FAMILY, "", 1, "expected a mapping of settings, found nothing"),
        (
            "width_mul",
            "widht_mul",
            2,
            "unknown key 'widht_multiple'; did you mean 'width_multiple'?",
        ),
        ("n, Conv", "1.5, Conv", 8, "row 1: 'number' is a whole number of 1 to 100, found 1.5"),
        ("[-1, n", "[P1, n", 8, "row 1: 'from' is a row index or a list of them, found 'P1'"),
        ("variant: small", "variant: x", 4, "unknown variant 'x'; the file has: small, large"),
    ],
)
def test_bad_family(folder: Path, old: str, new: str, line: int, message: str) -> None:
    assert old in FAMILY
    (folder / "family.yaml").write_text(FAMILY.replace(old, new))
    with pytest.raises(DetectorError) as caught:
        naming(folder)
    assert str(caught.value) == f"{folder}/family.yaml:{line}: {message}"


def test_rows_of_both_files_are_limited(folder: Path) -> None:
    rows = "  - [-1, 1, Conv, [8]]\n"
    (folder / "family.yaml").write_text(f"backbone:\n{rows * 999}head: []\n")
    with pytest.raises(DetectorError, match=r"naming\.yaml:4: 1001 rows, at most 1000 are built$"):
        naming(folder)


@pytest.mark.parametrize("level", ["P11", "P-1", "P", "p3", "P03", "P3.0", "3P", "P٣"])
def test_no_level(folder: Path, level: str) -> None:
    with pytest.raises(DetectorError) as caught:
        naming(folder, "P1", level)
    message = "row 3: 'from' is a row index, a level such as P4, or a list of them"
    assert str(caught.value) == f"{folder}/naming.yaml:6: {message}, found ['{level}', -1]"


@pytest.mark.parametrize("text", ["010", "1:30"])
def test_a_number_of_several_meanings_in_a_row(tmp_path: Path, text: str) -> None:
    file = tmp_path / "model.yaml"
    row = "  - [-1, 1, Conv, [{}]]\n"
    rest = "head:\n  - [-1, 1, Conv, [8]]\n"
    file.write_text(f"nc: 1\nbackbone:\n{row.format('10')}{row.format(text)}{rest}")
    with pytest.raises(DetectorError) as caught:
        read_model_file(file)
    message = f"backbone.1.3.0: {text} has several meanings in YAML, expected a plain number"
    assert str(caught.value) == f"{file}:4: {message}"
    file.write_text(file.read_text().replace(text, "'10'"))
    assert len(read_model_file(file).rows) == 3
