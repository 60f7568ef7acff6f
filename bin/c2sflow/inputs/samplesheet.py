"""The samplesheet: CSV, TSV, YAML or JSON; a row per sample."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jsonschema import Draft202012Validator

from c2sflow.common.errors import UserError
from c2sflow.common.files import read_text
from c2sflow.common.separators import header_separator
from c2sflow.common.yaml_texts import text_loader
from c2sflow.inputs.census import SCHEME, census_organism

SETTINGS = (
    "organism", "input_state", "gene_symbols", "input_kind", "matrix", "features", "genome"
)  # fmt: skip
FORMATS = (".csv", ".tsv", ".yaml", ".yml", ".json")
# Characters: files have 255, of which steps add such as ".00000.perturbed.parquet.12345.part".
LONGEST_ID = 120
# Endings of data files that are no part of a sample's name.
DATA_SUFFIX = re.compile(r"\.(h5ad|zarr|h5|loom|(csv|tsv|txt)(\.gz)?)$", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """One sample as the user gives it.

    `settings` override the parameters of the same name; `obs` are more columns of obs.
    """

    sample: str
    path: str
    settings: dict[str, str] = field(default_factory=dict)
    obs: dict[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The sample, for messages."""
        return f"{self.sample} ({self.path})"


def single_row(path: str) -> Row:
    """The row of an input that is a data file: its name without the ending is the sample's.

    Of a query of the Census it is the organism.
    """
    if path.startswith(SCHEME):
        return Row(census_organism(path) or "census", path)
    name = path.rstrip("/").rsplit("/", 1)[-1]
    return Row(DATA_SUFFIX.sub("", name) or name, path)


def _read_table(path: Path) -> list[tuple[str, dict]]:
    text = read_text(path, path.name, "a samplesheet")
    default = "\t" if path.suffix.lower() == ".tsv" else ","
    header = next(iter(text.splitlines()), "")
    separator = header_separator(header, ("sample", "path"), default)
    lines = io.StringIO(text, newline="")
    reader = csv.DictReader(lines, delimiter=separator, skipinitialspace=True)
    reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
    repeated = {name for name in reader.fieldnames if reader.fieldnames.count(name) > 1}
    if repeated:
        raise UserError(f"{path.name}: two columns are named {', '.join(sorted(repeated))}")
    return [
        (f"{path.name}, line {reader.line_num}", record)
        for record in reader
        if any(_text(value) for value in record.values())
    ]


def sheet_paths(path: str | Path) -> list[str | None] | None:
    """The paths that a samplesheet names, a row each: what is to be staged before it is checked.

    Parameters
    ----------
    path
        A file of any kind.

    Returns
    -------
    The path of each row, None where a row has none; an empty list for a samplesheet that cannot be
    read (`read_samplesheet` has the fault); None for a file that is no samplesheet but data.
    """
    path = Path(path)
    if path.is_dir() or path.suffix.lower() not in FORMATS:
        return None
    try:
        if path.suffix.lower() in (".csv", ".tsv"):
            if not _names_files(path):
                return None
            records = [record for _, record in _read_table(path)]
        else:
            content = _read_content(path)
            records = content if isinstance(content, list) else []
    except (UserError, RecursionError, OSError, ValueError, csv.Error):
        return []
    rows = [record if isinstance(record, dict) else {} for record in records]
    return [_text(row.get("path")) or None for row in rows]


def _names_files(path: Path) -> bool:
    """Whether a table has the columns of a samplesheet: only its first line is read."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        header = file.readline()
    needed = ("sample", "path")
    try:
        separator = header_separator(header, needed, ",")
        names = next(csv.reader([header], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:  # a field as long as the names of all genes
        return False
    return set(needed) <= {name.strip() for name in names}


def _read_records(path: Path) -> list[tuple[str, dict]]:
    content = _read_content(path)
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise UserError(f"{path.name}: must be a list of samples, each with sample and path")
    return [(f"{path.name}, sample {number}", row) for number, row in enumerate(content, 1)]


def _read_content(path: Path) -> object:
    """What a JSON or YAML file holds, numbers and words as texts."""
    text = read_text(path, path.name, "a samplesheet")
    if path.suffix.lower() == ".json":
        # Numbers and words are text, as written: 001, 1.10 and no are names of samples.
        return json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    import yaml

    try:
        return yaml.load(text, text_loader())
    except yaml.YAMLError as error:
        raise ValueError(str(error).replace('in "<unicode string>", ', "")) from None


def _text(value: object) -> str:
    if isinstance(value, bool):  # of JSON
        return str(value).lower()
    return "" if value is None else str(value).strip()


def read_samplesheet(path: str | Path, schema: Mapping) -> tuple[list[Row], list[str]]:
    """Rows of a samplesheet and what is wrong with them.

    Parameters
    ----------
    path
        ``.csv``, ``.tsv``, ``.yaml``, ``.yml`` or ``.json``. A byte-order mark, Windows line ends
        and empty lines are tolerated.
    schema
        ``assets/schema_input.json``.

    Returns
    -------
    The rows, faulty ones included so that they keep their place; and the faults.
    """
    path = Path(path)
    try:
        is_table = path.suffix.lower() in (".csv", ".tsv")
        records = _read_table(path) if is_table else _read_records(path)
    except UserError as error:
        return [], [str(error)]
    except RecursionError:
        return [], [f"{path.name}: cannot be read as a samplesheet: too deeply nested"]
    except (OSError, ValueError, csv.Error) as error:
        reason = " ".join(str(error).split())
        reason += "; is a quote not closed?" if "field limit" in reason else ""
        return [], [f"{path.name}: cannot be read as a samplesheet: {reason}"]
    if not records:
        return [], [f"{path.name}: lists no sample; give a row for each: sample,path"]
    rows, faults = [], []
    for where, record in records:
        if None in record:
            faults.append(f"{where}: more fields than the header has columns")
        clean = {str(key): _text(value) for key, value in record.items() if key is not None}
        faults += _check_row(clean, where, schema)
        rows.append(_row(clean))
    return rows, faults + _repeated(rows, [where for where, _ in records])


def _check_row(record: Mapping[str, str], where: str, schema: Mapping) -> list[str]:
    faults = []
    for error in Draft202012Validator(schema["items"]).iter_errors(record):
        if error.validator == "required":
            faults.append(f"{where}: no column {error.message.split()[0]}")
        elif error.validator == "minLength":
            faults.append(f"{where}: {error.path[0]} is empty")
        else:
            allowed = ", ".join(filter(None, error.validator_value))
            faults.append(f"{where}: {error.path[0]} {error.instance}: must be one of {allowed}")
    return faults


def _row(record: Mapping[str, str]) -> Row:
    return Row(
        sample=record.get("sample", ""),
        path=record.get("path", ""),
        settings={name: record[name] for name in SETTINGS if record.get(name)},
        obs={
            name: value
            for name, value in record.items()
            if name and name not in ("sample", "path", *SETTINGS)
        },
    )


def _repeated(rows: list[Row], places: list[str]) -> list[str]:
    first: dict[str, str] = {}
    faults = []
    for row, where in zip(rows, places, strict=True):
        if row.sample and row.sample in first:
            faults.append(
                f"{where}: sample {row.sample} is in {first[row.sample]} already; "
                "give each sample its own name"
            )
        first.setdefault(row.sample, where.split(", ")[-1])
    return faults


def sample_ids(samples: list[str]) -> list[str]:
    """File-safe name of each sample, of at most about `LONGEST_ID` characters, all of them ASCII.

    Unique even where case does not count. A longer name is cut, with a digest of the whole: it
    does not depend on the other samples.
    """
    ids: list[str] = []
    taken: set[str] = set()
    for sample in samples:
        slug = re.sub(r"[^A-Za-z0-9._-]+", "_", sample).strip("._-") or "sample"
        if len(slug) > LONGEST_ID:
            digest = hashlib.blake2b(sample.encode(), digest_size=6).hexdigest()
            slug = f"{slug[: LONGEST_ID - len(digest) - 1]}_{digest}"
        unique, number = slug, 1
        while unique.lower() in taken:
            number += 1
            unique = f"{slug}_{number}"
        taken.add(unique.lower())
        ids.append(unique)
    return ids
