#!/usr/bin/env python3
"""Check locked packages against a copy of the advisory database: `make audit ADVISORIES=FOLDER`.

For machines that reach no service of advisories. FOLDER is a clone of pypa/advisory-database on
GitHub, whose advisories are files of YAML in the format of OSV.

    setup/advisories.py FOLDER LOCK ...
"""

import datetime as dt
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)", re.MULTILINE)
STALE = 30  # days


def main(folder: str, *locks: str) -> None:
    """Print each pin that an advisory is about; status 1 if there is one, 2 without advisories."""
    advisories = sorted(Path(folder).glob("vulns/*/*.yaml"))
    if not advisories:
        print(f"audit: {folder} holds no vulns/PACKAGE/ID.yaml", file=sys.stderr)
        sys.exit(2)
    pins = {(canonicalize_name(name), version) for lock in locks for name, version in pins_of(lock)}
    found, newest = 0, ""
    for path in advisories:
        text = path.read_text(encoding="utf-8")
        dates = re.findall(r"^modified: *['\"]?(\d{4}-\d\d-\d\d)", text, re.MULTILINE)
        newest = max(newest, *dates, "")
        if canonicalize_name(path.parent.name) not in {name for name, _ in pins}:
            continue
        for line in concerns(yaml.safe_load(text), pins):
            found += 1
            print(line)
    age = (dt.date.today() - dt.date.fromisoformat(newest)).days
    print(
        f"audit: {len(pins)} pins, {len(advisories):,} advisories, {found} of these pins' versions"
    )
    if age > STALE:
        print(f"audit: the newest advisory is of {newest}: what became known since, it cannot tell")
    sys.exit(1 if found else 0)


def pins_of(lock: str) -> list[tuple[str, str]]:
    """Package and version of each pin."""
    return PIN.findall(Path(lock).read_text(encoding="utf-8"))


def concerns(advisory: dict, pins: set[tuple[str, str]]) -> Iterator[str]:
    """A line for each pin that an advisory is about, which nobody has withdrawn."""
    if advisory.get("withdrawn"):
        return
    for affected in advisory["affected"]:
        package = canonicalize_name(affected["package"]["name"])
        for _, version in sorted(pin for pin in pins if pin[0] == package):
            if is_affected(version, affected):
                names = " ".join([advisory["id"], *advisory.get("aliases", ())])
                fixed = ", ".join(fixes(affected)) or "in no version"
                yield f"{package} {version}: {names}; fixed: {fixed}"


def is_affected(version: str, affected: dict) -> bool:
    """Whether a version is listed, or in one of the ranges."""
    ranges = [span for span in affected.get("ranges", ()) if span["type"] == "ECOSYSTEM"]
    return version in map(str, affected.get("versions", ())) or any(
        within(version, span["events"]) for span in ranges
    )


def within(version: str, events: list[dict]) -> bool:
    """Whether the last event up to a version is that the fault came in."""
    inside = False
    for event in sorted(events, key=lambda event: place(*event.items())):
        [(kind, at)] = event.items()
        if kind == "last_affected":
            inside = inside and order(version) <= order(at)
        elif order(at) <= order(version):
            inside = kind == "introduced"
    return inside


def place(event: tuple[str, str]) -> tuple[Version, bool]:
    """Where an event comes; of two at one version, the fault's end is the first."""
    return order(event[1]), event[0] == "introduced"


def order(version: str) -> Version:
    """A version to compare; "0" and what is none are before all."""
    try:
        return Version(str(version))
    except InvalidVersion:
        return Version("0.dev0")


def fixes(affected: dict) -> list[str]:
    """Versions without the fault."""
    spans = affected.get("ranges", ())
    ended = [
        e["fixed"] for s in spans if s["type"] == "ECOSYSTEM" for e in s["events"] if "fixed" in e
    ]
    return list(map(str, ended))


if __name__ == "__main__":
    main(*sys.argv[1:])
