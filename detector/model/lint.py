"""Lint of model files that build: comments that contradict their rows, outputs that no row reads.

A comment is checked only where it states something as YOLO's files do: an index, P-level or stride
at its beginning (``7-P5/32``, ``17 (P3/8-small)``, ``9``, ``/32``), a join (``cat backbone P4``),
or the levels of a head (``Detect(P3, P4, P5)``). Free text is ignored.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch

from detector.heads.head import hook
from detector.model.detector import Detector
from detector.model.model_file import ModelFile, RawRow, check_model_file
from detector.registry import contract
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import YamlFile

logger = logging.getLogger(__name__)

_BETWEEN = r"[\s(:,;|–-]"
_INDEX = rf"(?P<index>\d{{1,6}})(?=[.,:;]?$|{_BETWEEN}*P\d|{_BETWEEN}+/\d)"  # 17, 17-P3, 17 (P3
_LEVEL = r"P(?P<level>\d{1,2})(?:/(?P<stride>\d{1,6}))?"  # P3, P3/8
_OWN = re.compile(
    rf"(?:{_INDEX})?{_BETWEEN}*(?:{_LEVEL}|/(?P<only>\d{{1,6}}))?(?P<rest>.*)", re.IGNORECASE
)
_JOIN = re.compile(rf"(?:con)?cat(?:enate)?\s(?:\w+\s)?{_LEVEL}", re.IGNORECASE)
_HEAD = re.compile(r"\(\s*(P\d{1,2}(?:\s*,\s*P\d{1,2})*)\s*\)")
_ANOTHER_LEVEL = re.compile(r"P\d", re.IGNORECASE)
_SIZE_WORD = re.compile(r"[\s-]*(?:[a-z]*(?:small|medium|large))?[\s).]*")


@dataclass(frozen=True)
class LintWarning:
    """A warning about one line of the model file, or of the file whose backbone it names."""

    file: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


def lint(model_file: ModelFile, model: Detector) -> list[LintWarning]:
    """Find probable mistakes in a model file that builds.

    Args:
        model_file: a checked model file.
        model: the network that was built from it.

    Returns:
        Warnings in the order of their lines, those of a named backbone's file first.
    """
    return _sorted([*_defaults(model_file, model), *_contradictions(model_file, model)], model_file)


def find_contradictions(model_file: ModelFile, model: Detector) -> list[LintWarning]:
    """Find what :func:`lint` does, without keys that are missing and have a default."""
    return _sorted(_contradictions(model_file, model), model_file)


def _contradictions(model_file: ModelFile, model: Detector) -> Iterator[LintWarning]:
    yield from _unread_anchors(model_file)
    yield from _anchors(model_file, model)
    yield from _connections(model_file, model)
    yield from _comments(model_file, model)


def _sorted(found: Iterable[LintWarning], model_file: ModelFile) -> list[LintWarning]:
    own = model_file.file.path
    return sorted(found, key=lambda warning: (warning.file == own, warning.line))


def check_anchor_order(model_file: ModelFile, model: Detector) -> None:
    """Raise DetectorError for anchors in the opposite order of the strides, with the right one.

    Args:
        model_file: a checked model file.
        model: the network that was built from it, without weights.
    """
    lines = _anchor_lines(model_file, model)
    if len(lines) > 1 and len(_shrinking_levels(model)) == len(lines) - 1:
        levels = reversed(model.plan[-1].arguments["anchors"])
        anchors = ", ".join(f"[{', '.join(f'{side:g}' for side in level)}]" for level in levels)
        raise DetectorError(
            f"anchors run against the strides: the first ones are for stride {model.strides[0]}; "
            f"expected anchors: [{anchors}]",
            file=model_file.file.path,
            line=lines[0],
        )


def log_warnings(model: Detector) -> None:
    """Log contradictions in the model file that is stored with a network's weights."""
    definition = model.definition
    file = YamlFile(Path(definition.path), definition.text)
    for warning in find_contradictions(check_model_file(file, definition.variant), model):
        logger.warning(f"{warning.file}: {warning.text}")  # whose lines may have changed since


def _defaults(model_file: ModelFile, model: Detector) -> Iterator[LintWarning]:
    """Warn of keys that YOLOv5's files have and this one leaves out."""
    keys, given = model_file.keys, model_file.keys.model_fields_set
    missing: list[str] = []
    if not given & {"nc", "names"} and len(model.names) == keys.nc:
        missing.append("nc")
    if model_file.variant is None:
        missing += [key for key in ("depth_multiple", "width_multiple") if key not in given]
    for key in missing:
        yield LintWarning(
            model_file.file.path,
            model_file.file.line(),
            f"{key} is missing: {getattr(keys, key):g}",
        )


def _connections(model_file: ModelFile, model: Detector) -> Iterator[LintWarning]:
    read = {source for row in model.plan for source in row.sources}
    for raw, row in zip(model_file.rows[:-1], model.plan, strict=False):
        if row.index not in read and row.number:
            yield _about(raw, ": no row reads its output")
        if contract(row.module).joins and len(row.sources) == 1:
            yield _about(raw, ": joins a single feature map")


def _unread_anchors(model_file: ModelFile) -> Iterator[LintWarning]:
    """Warn of anchors that no row of the file names, as beside a head without anchors."""
    file = model_file.file
    arguments = (row.args for row in model_file.rows)
    named = any("anchors" in (a.values() if isinstance(a, dict) else a) for a in arguments)
    if model_file.keys.anchors is not None and not named:
        yield LintWarning(file.path, file.line("anchors"), "anchors: no row reads them")


def _anchors(model_file: ModelFile, model: Detector) -> Iterator[LintWarning]:
    """Warn of anchors that do not grow with the stride, or whose comment names another level."""
    lines, file = _anchor_lines(model_file, model), model_file.file
    for i in _shrinking_levels(model) if lines else ():
        low, high = sorted((model.strides[i - 1], model.strides[i]))
        text = f"anchors do not grow with the strides: larger at stride {low} than at {high}"
        yield LintWarning(file.path, lines[i], text)
    last_on_line = dict(zip(lines, model.strides, strict=False))
    last_on_line.pop(model_file.rows[-1].line, None)  # whose comment is about the head
    for line, stride in last_on_line.items():
        claim = _Claim.read(file.comments.get(line, ""))
        if claim.contradicts(Fraction(stride)):
            yield LintWarning(file.path, line, f"these anchors are for {_level(stride)}, {claim}")


def _anchor_lines(model_file: ModelFile, model: Detector) -> list[int]:
    """Return the line of each level's anchors; empty if the file does not list them."""
    anchors, file = model.plan[-1].arguments.get("anchors"), model_file.file
    if not isinstance(anchors, list):
        return []
    if anchors != model_file.anchors:
        return [model_file.rows[-1].line] * len(anchors)
    place: tuple[str, ...] = ("anchors",)
    if model_file.anchors is not model_file.keys.anchors:
        place = ("variants", str(model_file.variant), "anchors")
    return [file.line(*place, i) for i in range(len(anchors))]


def _shrinking_levels(model: Detector) -> list[int]:
    """Return the levels whose anchors are smaller than the previous level's at a larger stride.

    Weights bring anchors of their own, which may be in order where those of the file are not.
    """
    sizes_wh = hook(model.head, "anchor_sizes_wh")
    if sizes_wh is None:
        sizes_wh = torch.tensor(model.plan[-1].arguments["anchors"]).unflatten(1, (-1, 2))
    areas, strides = sizes_wh.prod(-1).sum(-1).tolist(), model.strides
    return [
        i
        for i in range(1, len(areas))
        if (areas[i] - areas[i - 1]) * (strides[i] - strides[i - 1]) < 0
    ]


def _comments(model_file: ModelFile, model: Detector) -> Iterator[LintWarning]:
    last_on_line = {(raw.scope.file.path, raw.line): raw for raw in model_file.rows}
    for raw in last_on_line.values():
        comment = raw.scope.file.comments.get(raw.line, "")
        claim, stride = _Claim.read(comment), model.plan[raw.index].stride
        if claim.index not in (None, raw.index):
            yield _about(raw, f": the comment says {claim.index}")
        if contract(raw.module).head:
            yield from _head_comment(comment, raw, model)
        elif claim.contradicts(stride):
            yield _about(raw, f" is {_level(stride)}, {claim}")


def _head_comment(comment: str, raw: RawRow, model: Detector) -> Iterator[LintWarning]:
    match = _HEAD.search(comment)
    claimed = [int(level) for level in re.findall(r"\d+", match[1])] if match else []
    if claimed and [2**level for level in claimed] != list(model.strides):
        read = ", ".join(_level(stride) for stride in model.strides)
        said = ", ".join(f"P{level}" for level in claimed)
        yield _about(raw, f" reads {read}, the comment says {said}")


@dataclass(frozen=True)
class _Claim:
    """Index, P-level and stride that a comment states about its row; None where it states none."""

    index: int | None = None
    level: int | None = None
    stride: int | None = None

    @classmethod
    def read(cls, comment: str) -> _Claim:
        match = _JOIN.fullmatch(comment) or _OWN.fullmatch(comment)
        if match is None:
            return cls()
        found = match.groupdict()
        index, level, stride = found.get("index"), found["level"], found["stride"]
        stride = stride or found.get("only")
        rest = found.get("rest", "")
        # "P5 to P4" and "P4 of the backbone" also mention other rows.
        if _ANOTHER_LEVEL.search(rest) or (stride is None and not _SIZE_WORD.fullmatch(rest)):
            level = stride = None
        return cls(*(None if text is None else int(text) for text in (index, level, stride)))

    def contradicts(self, stride: Fraction) -> bool:
        """Return whether the comment states another level or stride than the row has."""
        wrong_level = self.level is not None and 2**self.level != stride
        return wrong_level or self.stride not in (None, stride)

    def __str__(self) -> str:
        level = "" if self.level is None else f"P{self.level}"
        return f"the comment says {level}" + ("" if self.stride is None else f"/{self.stride}")


def _about(raw: RawRow, text: str) -> LintWarning:
    text = f"row {raw.index} ({raw.module}){text}"
    return LintWarning(raw.scope.file.path, raw.line, text)


def _level(stride: Fraction | int) -> str:
    """Return 'P5/32' for a power of two, otherwise 'stride 12'."""
    whole = int(stride)
    power_of_two = whole == stride and whole > 1 and whole & (whole - 1) == 0
    return f"P{whole.bit_length() - 1}/{whole}" if power_of_two else f"stride {stride}"
