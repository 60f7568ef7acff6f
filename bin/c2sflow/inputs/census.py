"""census://: the cells of CELLxGENE Census that a run asks for, as the user writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

from c2sflow.common.errors import UserError

SCHEME = "census://"
EXAMPLE = f"{SCHEME}homo_sapiens?tissue_general=lung&disease=normal&version=2025-01-30"
MOVING = ("stable", "latest")  # versions that are another one next month


@dataclass(frozen=True)
class CensusQuery:
    """Cells of one organism that have, in each column of obs, one of some values.

    Either `version` is the date of a release, or `uri` the place of a Census.
    """

    organism: str
    wanted: dict[str, list[str]] = field(default_factory=dict)
    version: str = ""
    uri: str = ""


def census_organism(text: str) -> str:
    """The organism of a query, as the Census spells it; "" if it names none."""
    name = unquote(text.removeprefix(SCHEME).partition("?")[0])
    return re.sub(r"\s+", "_", name.strip("/ ")).lower()


def parse_census(text: str) -> CensusQuery:
    """What ``census://ORGANISM?COLUMN=VALUE&COLUMN=VALUE&version=DATE`` asks for.

    A column that is named twice may have either value. ``%26`` is an ``&`` within a value.

    Raises
    ------
    UserError
        If it is not of this form, or names no release.
    """
    organism, wanted = census_organism(text), dict[str, list[str]]()
    places: dict[str, str] = {}
    if not organism:
        raise UserError(f"{text}: names no organism; write it as {EXAMPLE}")
    for part in text.partition("?")[2].split("&"):
        name, equals, value = (unquote(word).strip() for word in part.partition("="))
        if not name and not value:
            continue
        if not equals or not name or not value:
            raise UserError(
                f"{text}: {part!r} is not COLUMN=VALUE (an & within a value is %26); write it as "
                f"{EXAMPLE}"
            )
        if name not in ("version", "uri"):
            wanted.setdefault(name, []).append(value)
        elif name in places:
            raise UserError(f"{text}: {name} twice; give one")
        else:
            places[name] = value
    if len(places) == 2:
        raise UserError(f"{text}: version, or uri for a Census in a place of its own, not both")
    if not places or places.get("version") in MOVING:
        moves = (
            f"version={places['version']} changes with every release" if places else "no version"
        )
        raise UserError(f"{text}: {moves}; name one by its date, such as version=2025-01-30")
    return CensusQuery(organism, wanted, places.get("version", ""), places.get("uri", ""))
