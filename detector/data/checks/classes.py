"""Class names and the balance of classes: missing ones, rare ones, one name in two spellings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from detector.data.checks.finding import Finding, number_of
from detector.structures.class_names import are_known
from detector.structures.samples import Sample
from detector.utils.errors import first_names, shown

MIN_LIKE_NAME = 6
"""Smallest length of names that are compared letter by letter: shorter ones often differ by one."""

MAX_LIKE_NAME = 64
"""Largest length of such names."""

MAX_IMBALANCE = 100
"""Ratio of boxes of the most and the least frequent class from which it is noted."""

MAX_NAMED = 10
"""Largest number of classes that a message names."""

Counts = dict[str, dict[str, int]]
"""Number of boxes by class name and split."""


def class_counts(names: Sequence[str], samples: Mapping[str, Sequence[Sample]]) -> Counts:
    """Return the number of boxes of each class in each split; crowd regions do not count."""
    totals = {
        split: np.bincount(
            np.concatenate([np.zeros(0, np.int64), *(s.class_ids[~s.crowd] for s in some)]),
            minlength=len(names),
        )
        for split, some in samples.items()
    }
    return {
        name: {split: int(total[index]) for split, total in totals.items()}
        for index, name in enumerate(names)
    }


def class_findings(counts: Counts) -> Iterator[Finding]:
    """Yield findings on names, and on classes that are missing or rare."""
    yield from name_findings(list(counts))
    totals = {name: sum(by_split.values()) for name, by_split in counts.items()}
    used = {name: total for name, total in totals.items() if total}
    if not used:
        return
    yield from missing_findings(counts)
    most, least = max(used, key=lambda n: used[n]), min(used, key=lambda n: used[n])
    if used[most] >= MAX_IMBALANCE * used[least]:
        yield Finding(
            "imbalance",
            "note",
            f"class {shown(most)} has {used[most]} boxes, class {shown(least)} {used[least]}",
            1,
            "train --balance-classes repeats images of rare classes",
        )


def missing_findings(counts: Counts) -> Iterator[Finding]:
    """Yield a finding for classes without a box, and for each split that lacks some of the rest."""
    unused = [name for name, by_split in counts.items() if not any(by_split.values())]
    if unused:
        yield Finding(
            "unused-classes",
            "note",
            f"{number_of(len(unused), 'class')} without a box: {_listed(unused)}",
            len(unused),
            "the network learns them as absent; leave them out of the names if they are not meant",
        )
    for split in next(iter(counts.values()), {}):
        missing = [
            name for name, by_split in counts.items() if not by_split[split] and name not in unused
        ]
        if missing:
            yield Finding(
                "missing-classes",
                "warning",
                f"split {split!r} has no box of {number_of(len(missing), 'class')} that other "
                f"splits have: {_listed(missing)}",
                len(missing),
                "they are not learned from it, or not measured on it; divide the images anew",
            )


def name_findings(names: Sequence[str]) -> Iterator[Finding]:
    """Yield findings on names that differ in case, separators, plural or one letter only."""
    same = _groups(names)
    if same:
        yield _names_finding("same-names", "warning", "case, spaces or hyphens", same)
    grouped = {name for group in same for name in group}
    like = _like(names) if are_known(names) else []
    like = [pair for pair in like if not set(pair) <= grouped]
    if like:
        yield _names_finding("like-names", "note", "one letter or the plural", like)


def _names_finding(kind: str, severity: str, how: str, groups: Sequence[Sequence[str]]) -> Finding:
    texts = [" and ".join(map(shown, group)) for group in groups]
    return Finding(
        kind,
        "warning" if severity == "warning" else "note",
        f"{number_of(len(groups), 'class')} under several names that differ in {how} only: "
        f"{first_names(texts, MAX_NAMED)}",
        len(groups),
        "write one name in all labels, unless they are different things",
    )


def _folded(name: str) -> str:
    """Return a name without case, spaces and separators."""
    return "".join(letter for letter in name.casefold() if letter.isalnum()) or name


def _groups(names: Sequence[str]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_folded(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _like(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return pairs of names of which one letter is another, missing, or exchanged with the next.

    Such names are equal after one letter of each is left out, or of one of them; looking up these
    forms takes no comparison of all pairs.
    """
    known: dict[str, list[str]] = {}
    found: dict[tuple[str, str], None] = {}
    for name in names:
        folded = _folded(name)
        if not MIN_LIKE_NAME <= len(folded) <= MAX_LIKE_NAME or any(map(str.isdigit, folded)):
            continue
        for form in {folded, *(folded[:n] + folded[n + 1 :] for n in range(len(folded)))}:
            for other in known.setdefault(form, []):
                found.setdefault((other, name))
            known[form].append(name)
    return list(found)


def _listed(names: Sequence[str]) -> str:
    return first_names([shown(name) for name in names], MAX_NAMED)
