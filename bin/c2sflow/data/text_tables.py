"""Tables of text: samples or cells × genes as CSV, TSV and what spreadsheets and R make of them."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO

import numpy as np
from scipy import sparse

from c2sflow.common.errors import UserError
from c2sflow.common.separators import NAMES, SEPARATORS, find_separator
from c2sflow.data.orientation import genes_in_rows

POINT = re.compile(r"^[-+]?\d*\.\d+(?:[eE][-+]?\d+)?$")
COMMA = re.compile(r"^[-+]?\d*,\d+(?:[eE][-+]?\d+)?$")
THOUSANDS = re.compile(r"^[-+]?\d{1,3}(?:([.,' ])\d{3})(?:\1\d{3})+(?:[.,]\d+)?$")
MIXED = re.compile(r"^[-+]?\d{1,3}(?:\.\d{3})+,\d+$|^[-+]?\d{1,3}(?:,\d{3})+\.\d+$")
# 1,234 may be a thousand or a fraction; 0,234 and 1,23 may not.
UNCLEAR = re.compile(r"^[-+]?[1-9]\d{0,2}[.,]\d{3}$")


def decimal_mark(fields: Iterable[str]) -> str:
    """ "." or ",", whichever these fields have; "." where none has any.

    Parameters
    ----------
    fields
        Fields that hold a point or a comma, of a table whose separator is no comma.

    Raises
    ------
    ValueError
        If they hold thousands separators, both marks, or what may be either.
    """
    numbers = {"," if COMMA.match(text) else ".": text for text in fields if _is_number(text)}
    grouped = [text for text in fields if THOUSANDS.match(text) or MIXED.match(text)]
    if grouped:
        raise ValueError(
            f"{grouped[0]!r} has a separator of thousands; write the numbers without one"
        )
    if len(numbers) > 1:
        raise ValueError(
            f"{numbers['.']!r} and {numbers[',']!r}: a point and a comma as decimal marks; "
            "write all numbers with one of them"
        )
    numeric = [text for text in fields if _is_number(text)]
    if numeric and all(UNCLEAR.match(text) for text in numeric):
        raise ValueError(
            f"{numeric[0]!r} may be a thousand or a fraction; write the numbers without "
            "separators of thousands, and fractions with a point"
        )
    return next(iter(numbers), ".")


def _is_number(text: str) -> bool:
    return bool(POINT.match(text) or COMMA.match(text))


def describe_fault(text: str, separator: str) -> str:
    """Why a field is no number that can be read, and what to do, in words."""
    clean = text.strip()
    if clean.lower() in ("", "na", "nan", "n/a", "null", "none", "-", "#n/a"):
        what = repr(text) if clean else "empty"
        return f"is {what}; write 0 where a gene was not seen, or drop the gene"
    if THOUSANDS.match(clean) or MIXED.match(clean) or (separator == "," and COMMA.match(clean)):
        return f"holds {text!r}: write numbers without separators of thousands"
    return f"holds text ({text!r})"


SUFFIXES = tuple(f"{name}{packed}" for name in (".csv", ".tsv", ".txt") for packed in ("", ".gz"))
FIRST_LINES = 30  # by which the separator is found
BLOCK = 2**20  # fields that are made numbers at once
MOST_MARKS = 5000  # fields with a point or a comma that the decimal mark is found by
LAYOUT = (
    "a table has the samples' names in the first column, gene names in the first line and numbers "
    "elsewhere"
)
SHEET = "a samplesheet has columns sample and path"


@dataclass(frozen=True)
class TextTable:
    """Samples or cells × genes.

    Attributes
    ----------
    matrix
        CSR float64 (n_samples, n_genes).
    samples, genes
        Names, as the file has them.
    notes
        What was found that is not the plain layout, a line each.
    """

    matrix: sparse.csr_matrix
    samples: list[str]
    genes: list[str]
    notes: list[str]


def read_table(path: Path, label: str) -> TextTable:
    """Read a table of any separator, decimal mark and orientation.

    Parameters
    ----------
    path
        ``.csv``, ``.tsv`` or ``.txt``, or one of them with ``.gz``.
    label
        What messages call the file.

    Raises
    ------
    UserError
        If rows differ in length, a field is no number, or it is not clear where the genes are.
    """
    encoding = _encoding(path)
    try:
        return _read(path, encoding, label)
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise UserError(
            f"{label}: cannot be read as samples × genes: not UTF-8 (byte 0x{byte:02x}); save it "
            "as CSV UTF-8, or convert it: iconv -f latin1 -t utf-8"
        ) from None
    except csv.Error as error:
        raise UserError(f"{label}: cannot be read as samples × genes: {error}") from None


def _encoding(path: Path) -> str:
    """By the mark that the file begins with: Excel's "Unicode text" is UTF-16."""
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rb") as handle:
        begins = handle.read(2)
    return "utf-16" if begins in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _open(path: Path, encoding: str) -> IO[str]:
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    return opener(path, "rt", encoding=encoding, newline="")


def _lines(handle: IO[str]) -> Iterator[str]:
    """The lines, without comments at the beginning and empty lines there."""
    for line in handle:
        if line.strip() and not line.startswith("#"):
            yield line
            break
    yield from handle


def _read(path: Path, encoding: str, label: str) -> TextTable:
    with _open(path, encoding) as handle:
        first = list(islice(_lines(handle), FIRST_LINES))
    if not first:
        raise UserError(f"{label}: cannot be read as samples × genes: the file is empty")
    separator = find_separator(first) or find_separator(first, (" ",))
    if separator is None:
        names = ", ".join(NAMES[mark] for mark in SEPARATORS)
        raise UserError(
            f"{label}: cannot be read as samples × genes: no separator ({names}) found; its first "
            f"line is {first[0].strip()[:60]!r}; {LAYOUT}; {SHEET}"
        )
    with _open(path, encoding) as handle:
        decimal = _decimal(_lines(handle), separator, label)
    with _open(path, encoding) as handle:
        return _Reader(label, separator, decimal).read(_lines(handle))


def _decimal(lines: Iterator[str], separator: str, label: str) -> str:
    """The decimal mark; where commas separate, it is the point."""
    if separator == ",":
        return "."
    marks = ",." if separator == ";" else ","
    next(lines, None)
    marked = (line for line in lines if any(mark in line for mark in marks))
    fields = chain.from_iterable(row[1:] for row in csv.reader(marked, delimiter=separator))
    numbers = (text.strip() for text in fields if any(mark in text for mark in marks))
    try:
        return decimal_mark(list(islice(numbers, MOST_MARKS)))
    except ValueError as error:
        raise UserError(f"{label}: {error}") from None


class _Reader:
    """Makes a matrix of the rows of one table."""

    def __init__(self, label: str, separator: str, decimal: str):
        self._label, self._separator, self._decimal = label, separator, decimal
        self._header: list[str] = []
        self._names: list[str] = []
        self._blocks: list[sparse.csr_matrix] = []
        self._pending: list[tuple[int, list[str]]] = []

    def read(self, lines: Iterator[str]) -> TextTable:
        rows = csv.reader(lines, delimiter=self._separator, strict=True)
        self._header = next(rows)
        self._check_header()
        corner = None
        for row in rows:
            if not any(field.strip() for field in row):
                continue
            if corner is None:
                corner = self._set_columns(row)
            self._add(row, rows.line_num)
        self._convert()
        if not self._names:
            n_columns = max(0, len(self._header) - 1)
            raise UserError(f"{self._label}: no data (0 rows × {n_columns} columns)")
        return self._oriented(corner or "")

    def _check_header(self) -> None:
        names = {name.strip().lower() for name in self._header}
        if {"sample", "path"} <= names:
            raise UserError(
                f"{self._label}: looks like a samplesheet whose columns are called "
                f"{', '.join(map(repr, self._header[:5]))}; {SHEET}, spelled so, and is named .csv "
                "or .tsv"
            )

    def _set_columns(self, row: list[str]) -> str:
        """Keep the names of the columns; give that of the first, over the names of the rows."""
        if len(row) == len(self._header) + 1:  # as R's write.table writes it
            return ""
        if not self._header[-1].strip() and not row[-1].strip():  # a separator ends each line
            self._header.pop()
        corner, *self._header = self._header
        return corner

    def _add(self, row: list[str], line: int) -> None:
        name, *fields = row
        n_columns = len(self._header)
        if len(fields) == n_columns + 1 and not fields[-1].strip():
            fields.pop()
        if len(fields) != n_columns:
            raise UserError(
                f"{self._label}: line {line} has {len(fields) + 1} fields, not {n_columns + 1} as "
                f"the lines before it (separator: {NAMES[self._separator]}); {LAYOUT}"
            )
        if not name.strip():
            raise UserError(f"{self._label}: line {line} has no name in its first field; {LAYOUT}")
        self._names.append(name)
        self._pending.append((line, fields))
        if len(self._pending) * n_columns >= BLOCK:
            self._convert()

    def _convert(self) -> None:
        """Make numbers of the rows that wait."""
        if not self._pending:
            return
        texts = [fields for _, fields in self._pending]
        if self._decimal == ",":
            for line, fields in self._pending:
                self._check_commas(line, fields)
            texts = [[text.replace(",", ".") for text in fields] for fields in texts]
        try:
            block = np.array(texts, dtype=np.float64).reshape(len(texts), len(self._header))
        except ValueError:
            block = None
        if block is None or np.isnan(block).any():
            raise UserError(self._fault())
        self._blocks.append(sparse.csr_matrix(block))
        self._pending = []

    def _check_commas(self, line: int, fields: list[str]) -> None:
        for column, text in zip(self._header, fields, strict=True):
            if "." in text:
                raise UserError(
                    f"{self._label}: line {line}, column {column!r}: {text!r} has a point, where "
                    "other numbers have a decimal comma; write all numbers with one of them"
                )

    def _fault(self) -> str:
        """What is wrong with the first field that is no number."""
        for line, fields in self._pending:
            for column, text in zip(self._header, fields, strict=True):
                number = text.replace(",", ".") if self._decimal == "," else text
                try:
                    bad = np.isnan(float(number))
                except ValueError:
                    bad = True
                if bad:
                    fault = describe_fault(text, self._separator)
                    return (
                        f"{self._label}: line {line}, column {column!r} {fault}; {LAYOUT}; {SHEET}"
                    )
        raise AssertionError("a number that is none")  # unreachable: float() decides here as there

    def _oriented(self, corner: str) -> TextTable:
        matrix = sparse.vstack(self._blocks, "csr")
        transposed = genes_in_rows(self._names, self._header, corner)
        if transposed is None:
            raise UserError(
                f"{self._label}: neither the rows (such as {self._names[0]!r}) nor the columns "
                f"(such as {self._header[0]!r}) are clearly genes, or both are; call the first "
                "column 'gene' if genes are in rows, 'sample' if samples or cells are"
            )
        notes = []
        if self._separator not in ",\t" or self._decimal != ".":
            mark = ", decimal commas" if self._decimal == "," else ""
            notes.append(f"fields separated by {NAMES[self._separator]}s{mark}")
        if not transposed:
            return TextTable(matrix, self._names, self._header, notes)
        notes.append(f"genes in rows (such as {self._names[0]!r}): transposed")
        return TextTable(matrix.T.tocsr(), self._header, self._names, notes)
