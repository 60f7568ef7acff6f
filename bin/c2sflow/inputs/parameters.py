"""The pipeline's parameters against their schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from c2sflow.common.errors import likeliest

KINDS = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}


def parameter_groups(schema: Mapping) -> dict[str, dict[str, dict]]:
    """Parameters by group: name to schema entry."""
    return {group: dict(entry["properties"]) for group, entry in schema["$defs"].items()}


def _kinds(entry: Mapping) -> list[str]:
    kinds = entry["type"]
    return [kinds] if isinstance(kinds, str) else list(kinds)


def coerce(value: object, entry: Mapping) -> object:
    """A value in the type its schema entry asks for, where it can be read so.

    Nextflow hands over "12" and "false" as text, and names such as 123 as numbers.
    """
    kinds = _kinds(entry)
    if isinstance(value, str):
        text = value.strip()
        if "boolean" in kinds and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if "integer" in kinds and re.fullmatch(r"[+-]?\d+", text):
            return int(text)
        if "number" in kinds and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text):
            return float(text)
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if "integer" in kinds and value == int(value):
        return int(value)
    return str(value) if kinds == ["string"] else value


def check_parameters(params: Mapping, schema: Mapping) -> tuple[dict[str, dict], list[str]]:
    """Parameters by group, in their types and with defaults, and what is wrong with them.

    Parameters
    ----------
    params
        As Nextflow has them.
    schema
        ``nextflow_schema.json``.

    Returns
    -------
    group to name to value (None where nothing is given and there is no default), and the faults,
    one line each.
    """
    groups = parameter_groups(schema)
    entries = {name: entry for group in groups.values() for name, entry in group.items()}
    given = {name: value for name, value in params.items() if value is not None}
    values = {name: coerce(given[name], entries[name]) for name in given if name in entries}
    faults = _unknown([name for name in given if name not in entries], list(entries))
    errors = sorted(Draft202012Validator(schema).iter_errors(values), key=lambda e: e.json_path)
    # One line a parameter; that one is missing has no path of its own.
    firsts = {
        error.json_path if error.absolute_path else error.message: error for error in errors[::-1]
    }
    for error in reversed(firsts.values()):
        faults.append(_fault(error, entries))
        if error.validator in ("type", "minLength"):
            # Of no kind that it can be, it is as good as none to the checks that follow.
            values.pop(str(error.absolute_path[0]))
    options = {
        group: {name: values.get(name, entry.get("default")) for name, entry in group_.items()}
        for group, group_ in groups.items()
    }
    return options, faults


def _unknown(names: list[str], known: list[str]) -> list[str]:
    """One fault for each unknown parameter; Nextflow's camelCase copies are left out."""
    faults = []
    spelled = {name: re.sub(r"[-_]", "", name).lower() for name in names}
    for name in names:
        twins = [other for other in names if spelled[other] == spelled[name]]
        if name != min(twins, key=lambda twin: ("-" not in twin, twin)):
            continue
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("-", "_").lower()
        close = likeliest(snake, known)
        hint = f"did you mean --{close[0]}?" if close else "--help_full lists the parameters"
        faults.append(f"--{name}: no such parameter; {hint}")
    return faults


def _fault(error: ValidationError, entries: Mapping[str, Mapping]) -> str:
    if error.validator == "required":
        name = error.message.split("'")[1]
        return f"--{name} is missing: {entries[name]['description']}"
    name = str(error.absolute_path[0])
    limit: Any = error.validator_value
    kinds = " or ".join(KINDS.get(kind, "text") for kind in _kinds(entries[name]))
    if error.instance is True:
        return f"--{name} needs a value: {entries[name]['description']}"
    must = {
        "enum": lambda: f"must be one of {', '.join(map(str, limit))}",
        "minimum": lambda: f"must be {limit} or more",
        "maximum": lambda: f"must be {limit} or less",
        "minLength": lambda: "must not be empty",
        "pattern": lambda: entries[name]["errorMessage"],
        "type": lambda: f"must be {kinds}",
    }
    reason = must[error.validator]() if error.validator in must else error.message
    return f"--{name} {error.instance}: {reason}"
