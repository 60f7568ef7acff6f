"""Gene names that a spreadsheet made dates of: MARCHF1 was MARCH1, which Excel makes ``1-Mar``.

Ziemann, Eren and El-Osta, Genome Biology 2016; HGNC renamed these genes in 2020 (Bruford et al.).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from c2sflow.data.genes.names import once_a_name, texts_of

MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
# As spreadsheets in German, French, Spanish and others write those months that were genes.
SPELLINGS = {"mrz": "mar", "mär": "mar", "mars": "mar", "sept": "sep", "dez": "dec", "déc": "dec"}
SPELLINGS |= {"dic": "dec", "set": "sep", "okt": "oct"}
_MONTH = "|".join([*MONTHS, *SPELLINGS])
_FORMS = (
    re.compile(rf"^(?P<n>\d{{1,2}})[-. /]{{1,2}}(?P<month>{_MONTH})\.?$", re.I),
    re.compile(rf"^(?P<month>{_MONTH})[-. /](?P<n>\d{{1,2}})$", re.I),
    re.compile(rf"^(?P<n>\d{{1,2}})[-. /](?P<month>{_MONTH})[-. /](?:\d{{2}}|\d{{4}})$", re.I),
    re.compile(r"^(?P<year>\d{4})-(?P<number>\d\d)-(?P<n>\d\d)(?:[ T]00:00(?::00)?)?$"),
)
# What a month begins with: nearly no name has to be compared with all forms.
_FIRST = tuple({month[:2] for month in [*MONTHS, *SPELLINGS]})
FAMILIES = {"mar": ("MARCHF", 11), "sep": ("SEPTIN", 14)}
SINGLE = {("dec", 1): "DELEC1", ("sep", 15): "SELENOF", ("oct", 4): "POU5F1"}
SHOWN = 10


@once_a_name
def likely_gene(name: str) -> str | None:
    """The gene that a date was; "" if it is a date of no gene known; None if it is no date."""
    text = name.strip()
    if not (text[:1].isdigit() or text.casefold().startswith(_FIRST)):
        return None
    for form in _FORMS:
        if found := form.match(text):
            parts = found.groupdict()
            break
    else:
        return None
    if number := parts.get("number"):
        if not 1 <= int(number) <= 12:
            return None
        month = MONTHS[int(number) - 1]
    else:
        month = parts["month"].lower()
        month = SPELLINGS.get(month, month)
    genes = [_gene(month, int(parts["n"]))]
    # Excel takes SEPT6 for a day of this year, or for a month of 2006.
    if (year := parts.get("year")) and 2000 < int(year) < 2016:
        genes.append(_gene(month, int(year) - 2000) if parts["n"] == "01" else None)
    return " or ".join(dict.fromkeys(filter(None, genes)))


def _gene(month: str, number: int) -> str | None:
    family, most = FAMILIES.get(month, ("", 0))
    return SINGLE.get((month, number)) or (f"{family}{number}" if 1 <= number <= most else None)


def dates_note(names: Iterable[str]) -> list[str]:
    """A line about the names that are dates, if any."""
    texts = texts_of(names)
    genes = zip(texts, map(likely_gene, texts), strict=True)
    dates = {name: gene for name, gene in genes if gene is not None}
    if not dates:
        return []
    shown = [f"{name} ({gene})" if gene else name for name, gene in list(dates.items())[:SHOWN]]
    more = f" and {len(dates) - SHOWN} more" if len(dates) > SHOWN else ""
    return [
        f"{len(dates)} gene names are dates, which a spreadsheet makes of symbols: "
        f"{', '.join(shown)}{more}; likely genes in brackets: correct them in the file"
    ]
