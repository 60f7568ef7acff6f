"""Which perturbations are predicted: names, or a table with doses, times and cells."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from c2sflow.common.errors import UserError
from c2sflow.common.files import read_text
from c2sflow.common.separators import header_separator

# Columns of a table with amount and duration: part of the name of the perturbation.
AMOUNTS = ("dose", "time")
# Columns of a table that select cells; all others belong to the prompt.
OF_CELLS = ("cell_query", "n_cells")
# Names that prompts and results use for something else. In obs of the predicted cells a column
# has the prefix c2s_, as those that each answer has.
RESERVED = frozenset(
    {"cell_id", "cell_sentence", "condition", "n_genes", "num_genes", "organism", "sample"}
    | {"sample_index", "shard", "source_cell", "no_op", "compared_with", "sentence", "truncated"}
    | {"n_predicted_genes", "invalid_genes", "duplicate_genes", "finish_reason", "log_likelihood"}
    | {"log_likelihood_valid", "measured_control"}
)


@dataclass(frozen=True)
class Treatment:
    """A perturbation, and the cells that it is applied to.

    Attributes
    ----------
    perturbation
        Its name.
    condition
        What distinguishes it from other perturbations: the name with dose and time.
    where
        Where it is given, for messages.
    cell_query
        pandas query that narrows the control cells; None takes all.
    n_cells
        So many cells of them; None for the run's own limit.
    columns
        dose, time and the free columns of its table, "" where empty.
    """

    perturbation: str
    condition: str
    where: str
    cell_query: str | None = None
    n_cells: int | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


def read_perturbations(
    value: str | None, file: str | Path | None = None
) -> tuple[list[Treatment], list[str]]:
    """Perturbations in order, without repeats, and what is wrong with them.

    Parameters
    ----------
    value
        Names with commas between; a name that holds a comma is in double quotes.
    file
        Text file with a name per line, or CSV or TSV with a column ``perturbation`` and, if
        wanted, ``cell_query``, ``n_cells``, ``dose``, ``time`` and more; taken instead of `value`.

    Returns
    -------
    The treatments, and the faults, one line each. Faulty rows are among the treatments, so that
    their other columns are checked too.
    """
    if file is None:
        if value is None:
            return [], []
        names = next(csv.reader([value.replace("\n", ",")], skipinitialspace=True), [])
        return _named(names, f"--perturbations {value!r}")
    path = Path(file)
    where = f"--perturbations {path.name}"
    try:
        text = read_text(path, where)
        if path.suffix.lower() in (".csv", ".tsv"):
            return _read_table(text, path, where)
    except UserError as error:
        return [], [str(error)]
    except csv.Error as error:
        hint = "; is a quote not closed?" if "limit" in str(error) else ""
        return [], [f"{where}: cannot be read as text: {error}{hint}"]
    return _named(text.splitlines(), where)


def _named(names: Iterable[str], where: str) -> tuple[list[Treatment], list[str]]:
    distinct = dict.fromkeys(name.strip() for name in names if name.strip())
    if not distinct:
        return [], [f"{where}: holds no perturbation; give names with commas between, or a file"]
    return [Treatment(name, name, where) for name in distinct], []


def _read_table(text: str, path: Path, where: str) -> tuple[list[Treatment], list[str]]:
    default = "\t" if path.suffix.lower() == ".tsv" else ","
    header = next(iter(text.splitlines()), "")
    delimiter = header_separator(header, ("perturbation",), default)
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
    _check_header(reader.fieldnames, where)
    rows: dict[tuple[str, ...], tuple[str, dict[str, str]]] = {}
    faults: list[str] = []
    for record in reader:
        clean = {name: (value or "").strip() for name, value in record.items() if name is not None}
        if not any(clean.values()):
            continue
        place = f"{where}, line {reader.line_num}"
        faults += _check_row(record, clean, place)
        rows.setdefault(tuple(clean.values()), (place, clean))
    if not rows:
        faults.append(f"{where}: holds no perturbation; give a row for each")
    treatments, unclear = _treatments(list(rows.values()))
    return treatments, faults + unclear


def _check_header(names: list[str], where: str) -> None:
    if "perturbation" not in names:
        raise UserError(
            f"{where}: no column 'perturbation' (found: {', '.join(names) or 'nothing'}); name the "
            "column so, or give a .txt file with one name per line"
        )
    if "" in names:
        raise UserError(f"{where}: column {names.index('') + 1} has no name; name it or drop it")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{where}: two columns are named {', '.join(repeated)}")
    ours = [name for name in names if name in RESERVED or name.lower().startswith(("c2s_", "x_"))]
    if ours:
        raise UserError(
            f"{where}: prompts or results use the name {', '.join(map(repr, ours))} for something "
            "else; rename the column"
        )


def _check_row(record: Mapping, clean: Mapping[str, str], where: str) -> list[str]:
    faults = []
    if None in record:
        faults.append(
            f"{where}: more fields than the header has columns; put text that holds the separator "
            "in double quotes"
        )
    if not clean["perturbation"]:
        faults.append(f"{where}: perturbation is empty")
    if clean.get("n_cells") and _number(clean["n_cells"]) is None:
        faults.append(f"{where}: n_cells {clean['n_cells']}: must be a whole number above 0")
    return faults


def _number(text: str) -> int | None:
    """A whole number above 0, which other programs write as 10 or 10.0."""
    return int(float(text)) if re.fullmatch(r"0*[1-9]\d*(\.0*)?", text) else None


def _treatments(rows: list[tuple[str, dict[str, str]]]) -> tuple[list[Treatment], list[str]]:
    """Treatments of distinct rows, distinguished by their names."""
    kinds = [{n: v for n, v in row.items() if n not in OF_CELLS} for _, row in rows]
    # By short name and column: what the rows that are called so hold.
    values: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for kind in kinds:
        for name, value in kind.items():
            values[_joined(kind, AMOUNTS)][name].add(value)
    apart = {
        short: [name for name, held in columns.items() if len(held) > 1]
        for short, columns in values.items()
    }
    rows_read, faults = [], []
    # By condition: where it comes first, and as what.
    first: dict[str, tuple[str, dict[str, str]]] = {}
    for (where, row), kind in zip(rows, kinds, strict=True):
        distinct = [*AMOUNTS, *apart[_joined(kind, AMOUNTS)]]
        condition = _joined(kind, list(dict.fromkeys(distinct)))
        place, other = first.setdefault(condition, (where, kind))
        if other != kind:
            faults.append(f"{where}: is called {condition!r}, as is {place.split(', ')[-1]}")
        rows_read.append(
            Treatment(
                perturbation=row["perturbation"],
                condition=condition,
                where=where,
                cell_query=row.get("cell_query") or None,
                n_cells=_number(row.get("n_cells", "")),
                columns={name: value for name, value in kind.items() if name != "perturbation"},
            )
        )
    return rows_read, faults


def _joined(row: Mapping[str, str | None], names: Iterable[str]) -> str:
    """The perturbation and its values in these columns, separated by commas."""
    words = [row.get(name) for name in ("perturbation", *names) if name != "perturbation"]
    name = row["perturbation"] or ""
    return ", ".join([name, *(w for w in words if isinstance(w, str) and w)])


def prompt_text(row: Mapping[str, str | None], fields: Collection[str]) -> str:
    """The text for {perturbation} in a prompt with these fields.

    Dose and time follow the name unless the prompt has fields of their own for them: a
    dose that is given is never lost.
    """
    return _joined(row, [name for name in AMOUNTS if name not in fields])


def condition_columns(names: Iterable[str]) -> list[str]:
    """Those of these columns that describe the treatment: condition, perturbation, dose, time."""
    return [name for name in ("condition", "perturbation", *AMOUNTS) if name in set(names)]
