"""What a perturbation's label is made of: parts of a combination, and a dose or time.

Labels are free text. Two are the same perturbation if they differ in white space, case, the order
of a combination, or a dose or time with its unit. What a label contains is taken generously: it
says which cells must not be trained on when a part is held out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from c2sflow.obs_labels import CONTROL_LABELS

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
    doses, open_ = {}, {}
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
