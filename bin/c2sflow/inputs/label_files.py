"""Labels from ``labels.yml``, or from a notebook's entries, with all that is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from c2sflow.common.errors import UserError, likeliest
from c2sflow.common.files import read_text
from c2sflow.common.yaml_texts import read_yaml
from c2sflow.inputs.label_schema import PROPERTIES, SCHEMA
from c2sflow.inputs.labels import CELL_TYPE, SUFFIXES, Label, labels_to_text
from c2sflow.inputs.lists import MOST, distinct_labels
from c2sflow.inputs.parameters import KINDS, coerce

# Names whose column has another meaning already, in one of the results.
TAKEN = frozenset(
    {"n_genes", "n_tokens", "truncated", "organism", "split", "leiden", "umap", "neighbors"}
    | {"embedding_spread", "content", "sentence", "condition", "perturbation", "source_cell"}
    | {"n_predicted_genes", "invalid_genes", "duplicate_genes", "finish_reason", "no_op"}
    | {"log_likelihood", "log_likelihood_valid", "group", "groups", "n_cells", "cells"}
)
# Characters of all labels together: a task gets them as one word of its command line.
MOST_TEXT = 100_000


def vocabulary_paths(path: str | Path) -> list[str]:
    """The vocabulary files that a file of labels names; none of one that cannot be read."""
    try:
        content, *_ = read_yaml(read_text(Path(path), Path(path).name), Path(path).name)
    except UserError:
        return []
    records = content if isinstance(content, list) else []
    named = [record.get("vocabulary") for record in records if isinstance(record, dict)]
    return [name for name in named if isinstance(name, str) and name]


def read_labels(
    path: str | Path, vocabularies: Mapping[str, Path | None] | None = None
) -> tuple[list[Label], list[str]]:
    """Labels of a file, and what is wrong with them.

    Parameters
    ----------
    path
        YAML or JSON: a list of entries as ``assets/schema_labels.json`` has them. Numbers, dates
        and yes and no among candidates are the texts that they are written as.
    vocabularies
        Files by the paths that `path` has for them, None where there is none; by default those
        paths themselves, from the folder of `path`.

    Returns
    -------
    The labels, as far as they are sound; and a line for each fault, with the place.
    """
    path = Path(path)
    where = f"--labels {path.name}"
    try:
        content, lines, faults = read_yaml(read_text(path, where), where)
    except UserError as error:
        return [], [str(error)]
    if not isinstance(content, list) or not content:
        return [], [f"{where}: must be a list of labels, each with a name (- name: tissue)"]
    if vocabularies is None:
        found = [path.parent / name for name in vocabulary_paths(path)]
        named = zip(vocabulary_paths(path), found, strict=True)
        vocabularies = {name: file if file.is_file() else None for name, file in named}
    labels, places = [], []
    for line, record in zip(lines, content, strict=True):
        place = f"{where}, line {line}"
        if not isinstance(record, dict):
            faults.append(f"{place}: must be an entry with a name (- name: tissue)")
            continue
        label, wrong = _read_entry(record, place, vocabularies)
        faults += wrong
        if label is not None:
            labels.append(label)
            places.append(place)
    faults += _collisions(labels, places)
    if (n := len(labels_to_text(labels))) > MOST_TEXT:
        faults.append(f"{where}: its labels are {n:,} characters; the most is {MOST_TEXT:,}")
    return labels, faults


def given_labels(
    given: str | Path | Sequence[Mapping[str, object]] | None,
) -> list[Label]:
    """Labels of a notebook: of a file, see `read_labels`, or of entries, see `labels_of`.

    Raises
    ------
    UserError
        With all faults, if there are any.
    """
    if not isinstance(given, str | Path):
        return labels_of(given or ())
    labels, faults = read_labels(given)
    if faults:
        raise UserError("; ".join(faults))
    return labels


def labels_of(records: Iterable[Mapping[str, object]]) -> list[Label]:
    """Labels of entries as a notebook gives them: those of ``labels.yml``, as Python has them.

    Raises
    ------
    UserError
        With all faults, if there are any.
    """
    labels, faults = [], []
    for number, record in enumerate(records, 1):
        texts = {
            name: [str(item) for item in value] if isinstance(value, list | tuple) else value
            for name, value in record.items()
        }
        place = f"labels, entry {number}"
        file = Path(str(texts.get("vocabulary")))
        label, wrong = _read_entry(texts, place, {str(file): file if file.is_file() else None})
        faults += wrong
        if label is not None:
            labels.append(label)
    faults += _collisions(labels, [f"labels, entry {n}" for n in range(1, len(labels) + 1)])
    if faults:
        raise UserError("; ".join(faults))
    return labels


def _read_entry(
    record: Mapping[str, object], place: str, vocabularies: Mapping[str, Path | None]
) -> tuple[Label | None, list[str]]:
    """One entry; None, if it has no name to go by."""
    known = {name: value for name, value in record.items() if value is not None}
    read = {
        name: coerce(value, PROPERTIES[name]) if name in PROPERTIES else value
        for name, value in known.items()
    }
    place = f"{place} ({read['name']})" if isinstance(read.get("name"), str) else place
    errors = list(Draft202012Validator(SCHEMA["items"]).iter_errors(read))
    faults = [f"{place}: {_fault(error)}" for error in errors if error.validator != "required"]
    faults += [f"{place}: has no name" for error in errors if error.validator == "required"]
    faults += [f"{place}: {name} is empty" for name, value in record.items() if value is None]
    wrong = {str(error.absolute_path[0]) for error in errors if error.absolute_path}
    sound = {n: v for n, v in read.items() if n in PROPERTIES and n not in wrong}
    sources = [n for n in ("candidates", "vocabulary", "free") if read.get(n) not in (None, False)]
    if len(sources) > 1:
        faults.append(f"{place}: {' and '.join(sources)} exclude one another; leave one")
    candidates: list[str] = []
    try:
        candidates = _candidates(sound, place, vocabularies)
    except UserError as error:
        faults.append(str(error))
    if not sources and read.get("name") != CELL_TYPE:
        faults.append(
            f"{place}: has no answers to choose from; give candidates, or a vocabulary file, or "
            "free: true"
        )
    if "name" not in sound:
        return None, faults
    settings: dict[str, Any] = {
        name: value for name, value in sound.items() if name not in ("candidates", "vocabulary")
    }
    for name in ("min_probability", "temperature"):
        if name in settings:
            settings[name] = float(settings[name])
    return Label(**settings, candidates=tuple(candidates)), faults


def _candidates(
    entry: Mapping[str, object], place: str, vocabularies: Mapping[str, Path | None]
) -> list[str]:
    """The answers of an entry to choose from, each once; none of one that names none."""
    given, source = entry.get("candidates"), "candidates"
    if "vocabulary" in entry:
        name = str(entry["vocabulary"])
        file, source = vocabularies.get(name), f"vocabulary {name}"
        if file is None:
            raise UserError(
                f"{place}: {source}: no such file; relative paths start from the folder of the "
                "file of labels"
            )
        given = read_text(file, f"{place}: {source}").splitlines()
    if given is None:
        return []
    candidates = distinct_labels(map(str, given)) if isinstance(given, Sequence) else []
    if len(candidates) < 2:
        raise UserError(
            f"{place}: {source}: {len(candidates)} different answers; give at least two"
        )
    if len(candidates) > MOST:
        raise UserError(f"{place}: {source}: {len(candidates)} answers; the most is {MOST}")
    return candidates


def _fault(error: ValidationError) -> str:
    """What is wrong with an entry, in words."""
    given: Any = error.instance
    limit: Any = error.validator_value
    if error.validator == "additionalProperties":
        odd = sorted(set(given) - set(PROPERTIES), key=str)
        hints = [likeliest(str(name), PROPERTIES) for name in odd]
        words = [
            f"{name} is unknown" + (f" (did you mean {hint[0]}?)" if hint else "")
            for name, hint in zip(odd, hints, strict=True)
        ]
        return "; ".join(words) + f"; an entry has {', '.join(PROPERTIES)}"
    name = error.absolute_path[0]
    shown = f"{given:g}" if isinstance(given, float) else given
    value = "" if isinstance(given, list | dict) else f" {shown}"
    if name == "candidates":
        return "candidates must be a list of texts, two or more ([a, b], or a line each)"
    must = {
        "enum": lambda: f"must be one of {', '.join(limit)}",
        "minimum": lambda: f"must be {limit} or more",
        "maximum": lambda: f"must be {limit} or less",
        "exclusiveMinimum": lambda: f"must be above {limit}",
        "minLength": lambda: "is empty",
        "pattern": lambda: "must begin with a letter, and have letters, digits and _ only",
        "type": lambda: f"must be {KINDS.get(str(limit), 'text')}",
    }
    reason = must[str(error.validator)]() if error.validator in must else error.message
    return f"{name}{value} {reason}"


def _collisions(labels: Sequence[Label], places: Sequence[str]) -> list[str]:
    """Labels whose columns are those of another, or of something else."""
    faults = []
    owner: dict[str, str] = {}
    for number, (label, place) in enumerate(zip(labels, places, strict=True)):
        own = f"{place} ({label.name})"
        if label.name.lower().startswith("c2s_"):
            faults.append(f"{own}: columns get the prefix c2s_ anyway; name it without")
        names = [label.name + suffix for suffix in SUFFIXES]
        if taken := sorted(TAKEN.intersection(names)):
            faults.append(f"{own}: obs['c2s_{taken[0]}'] is a column of c2sflow's own; rename it")
        if label.name in {other.name for other in labels[:number]}:
            faults.append(f"{own}: the name is in {owner[label.name]} already; rename one")
        elif shared := next((name for name in names if name in owner), None):
            faults.append(f"{own}: obs['c2s_{shared}'] is a column of {owner[shared]}; rename one")
        for name in names:
            owner.setdefault(name, place.split(", ")[-1])
    return faults
