"""Groups of cells that are held out together: parts of combinations, doses, shares of cells."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Set

from c2sflow.common.errors import UserError
from c2sflow.data.obs.labels import CONTROL_LABELS

_UNITS = (
    r"[npuµμm]?M|[npuµμm]?mol(?:/l)?|[npuµμm]?g(?:/(?:m?l|kg))?|[ik]?u(?:/m?l)?|%|x"
    r"|h(?:rs?|ours?)?|min(?:s|utes?)?|d(?:ays?)?|w(?:ks?|eeks?)?"
)
_NUMBER = r"\d+(?:[.,]\d+)?(?:e[+-]?\d+)?"
# With something before it that parts it from the name: "IL-2" has no dose.
_DOSE = re.compile(
    rf"(?:[\s_@:]+|[\s_@:-]*[(\[]\s*|(?<=\w)-)\(?{_NUMBER}[\s_]*(?:{_UNITS})\s*[)\]]?(?=$|[\s_+&|;,/)])",
    re.IGNORECASE,
)
_BETWEEN = re.compile(
    r"\s*(?<!\()[+&|;/]\s*|\s*,\s+|,(?=\D)|\s+(?:and|plus|with)\s+", re.IGNORECASE
)
_WEAK = re.compile(r"[_@:()\[\]]+")
_LAST_NUMBER = re.compile(rf"[\s_@:(\[]+({_NUMBER})[)\]]?$")


def clean_label(label: object) -> str:
    """The label with single blanks, and none at its ends."""
    return " ".join(str(label).split())


def parts_of(label: object) -> frozenset[str]:
    """Single perturbations of a label, in lower case, without doses; one that is none is itself.

    Control labels beside others ("A+ctrl") are no parts.
    """
    text = clean_label(label)
    bare = _DOSE.sub("", text)
    pieces = {clean_label(piece).casefold() for piece in _BETWEEN.split(bare)} - {""}
    return frozenset(pieces - CONTROL_LABELS or pieces or {text.casefold()})


def contained_in(label: object) -> frozenset[str]:
    """All that a label may contain: its parts, what underscores part in them, and bare names."""
    found: set[str] = set()
    for part in parts_of(label):
        pieces = [clean_label(piece) for piece in _WEAK.split(part)]
        pieces = [piece for piece in pieces if piece]
        runs = {
            tuple(pieces[start:stop])
            for start in range(len(pieces))
            for stop in range(start + 1, len(pieces) + 1)
        }
        found |= {part, *("_".join(run) for run in runs)}
        found |= {base for run in runs if (base := without_number("_".join(run))[0])}
    return frozenset(found)


def without_number(name: str) -> tuple[str, str]:
    """A name without a number at its end, and the number: ("a", "10") of "a_10"; "" for none."""
    match = _LAST_NUMBER.search(name)
    return (name[: match.start()], match[1]) if match and match.start() else ("", "")


def dose_series(names: Iterable[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Names that differ in a last number only.

    It is a dose if the bare name occurs, or the numbers are no count (1, 2, 3): such as 10, 100.

    Returns
    -------
    Name to the bare name, of doses; and bare name to the names of those that may be anything.
    """
    names = set(names)
    series: dict[str, dict[str, str]] = {}
    for name in names:
        base, number = without_number(name)
        if base:
            series.setdefault(base, {})[name] = number
    doses: dict[str, str] = {}
    open_: dict[str, list[str]] = {}
    for base, own in series.items():
        if base in names or (len(own) > 1 and not _counts(own.values())):
            doses |= dict.fromkeys(own, base)
        elif len(own) > 1:
            open_[base] = sorted(own)
    return doses, open_


def _counts(numbers: Iterable[str]) -> bool:
    """Whether these are whole numbers one behind the other, as of guides or compounds."""
    if not all(number.isdigit() for number in numbers):
        return False
    found = sorted(map(int, numbers))
    return found == list(range(found[0], found[0] + len(found)))


TRAIN, VALIDATION, TEST = ("train", "validation", "test")
UNUSED = "unused"  # of no group: it could be of one that is held out


def assign_groups(
    sizes: Mapping[str, int],
    held_out: float,
    validation: float,
    seed: int,
    containing: Mapping[str, Set[str]] | None = None,
) -> dict[str, str]:
    """Split of each group, so that the shares of the cells come near to those asked for.

    The largest group is for training. The others are gone through in an order drawn by seed and
    name; each that brings its split nearer to its share is taken, and if none does, the smallest.

    Parameters
    ----------
    sizes
        Cells of each group.
    held_out, validation
        Shares of the cells for test and validation; of 0, no group is taken.
    seed
        Decides which.
    containing
        Of each group, those that must be held out with it, itself among them; None: alone.

    Raises
    ------
    UserError
        If there are fewer groups than splits.
    """
    wanted = {TEST: held_out, VALIDATION: validation}
    wanted = {name: share * sum(sizes.values()) for name, share in wanted.items() if share > 0}
    own = {name: frozenset({name}) for name in sizes} | dict(containing or {})
    if len(sizes) <= len(wanted):
        raise UserError(_too_few(sizes, wanted))
    order = sorted(sizes, key=lambda name: (_draw(name, seed), name))
    # Of training: the largest that leaves enough groups that are no part of it.
    for largest in sorted(order, key=sizes.__getitem__, reverse=True):
        free = [name for name in order if largest not in own[name]]
        if len(free) >= len(wanted):
            break
    splits = dict.fromkeys(order, TRAIN)
    for left, (split, target) in zip(range(len(wanted) - 1, -1, -1), wanted.items(), strict=True):
        taken = _nearest(free, sizes, own, target, left)
        if not taken:
            raise UserError(_too_few(sizes, wanted))
        splits |= dict.fromkeys(taken, split)
        free = [name for name in free if name not in taken]
    return splits


def _too_few(sizes: Collection[str], wanted: Iterable[str]) -> str:
    names = ", ".join([TRAIN, *reversed(list(wanted))])
    listed = ", ".join(sorted(sizes)[:10]) or "none"
    return (
        f"{len(sizes)} groups ({listed}) for {len(names.split(', '))} splits ({names}): take a "
        "column with more, or --split_by cell, or give the split in a --split_column"
    )


def _nearest(
    free: list[str],
    sizes: Mapping[str, int],
    own: Mapping[str, Set[str]],
    target: float,
    left: int,
) -> set[str]:
    """Groups of `free` with about `target` cells together; at least `left` groups remain.

    Empty where no group can be taken.
    """

    def with_all(name: str) -> set[str]:
        return set(free).intersection(own[name])

    def size_of(names: Iterable[str]) -> int:
        return sum(sizes[name] for name in names)

    taken: set[str] = set()
    for name in free:
        more = taken | with_all(name)
        if len(free) - len(more) >= left and abs(size_of(more) - target) < abs(
            size_of(taken) - target
        ):
            taken = more
    if taken:
        return taken
    possible = [name for name in free if len(free) - len(with_all(name)) >= left]
    return with_all(min(possible, key=lambda name: size_of(with_all(name)))) if possible else set()


def _draw(name: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}\0split\0{name}".encode(), digest_size=8).digest()


def same_groups(sizes: Mapping[str, int], perturbations: bool) -> dict[str, str]:
    """Name of the group of each label: labels that differ in case only are one group.

    Parameters
    ----------
    sizes
        Label, without white space around it, to its cells.
    perturbations
        Labels of one perturbation are one group too: see `c2sflow.data.splits.groups`.

    Returns
    -------
    Label to the commonest label of its group, or for doses of what does not occur without one, to
    its bare name.
    """
    doses: Mapping[str, str] = {}
    if perturbations:
        alone = [next(iter(parts)) for parts in map(parts_of, sizes) if len(parts) == 1]
        doses = dose_series(alone)[0]
    groups: dict[frozenset[str], list[str]] = defaultdict(list)
    for label in sorted(sizes, key=lambda name: (-sizes[name], name)):
        parts = parts_of(label) if perturbations else {label.casefold()}
        groups[frozenset(doses.get(part, part) for part in parts)].append(label)
    names: dict[str, str] = {}
    for key, labels in groups.items():
        name = labels[0]
        if perturbations:
            plain = [label for label in labels if parts_of(label) == key]
            name = plain[0] if plain else "+".join(sorted(key))
        names |= dict.fromkeys(labels, name)
    return names


def groups_containing(names: Collection[str]) -> dict[str, frozenset[str]]:
    """For each perturbation, those that contain all of its parts, itself among them."""
    holders: dict[str, set[str]] = defaultdict(set)
    for name in names:
        for part in contained_in(name):
            holders[part].add(name)
    return {
        name: frozenset(set.intersection(*(holders[part] for part in parts_of(name))))
        for name in names
    }
