"""Columns of obs, var and tables of obsm in types and under names that every file can hold.

A column as it is read may be of any type that pandas has; an h5ad file holds fewer, an old reader
fewer still, and which ones differs between anndata 0.12 and 0.13. `clean_columns` is called once,
where a file is opened, so that every later step meets only these:

======================================================== =======================================
read                                                     becomes
======================================================== =======================================
bool, int8 … uint64, float32, float64                    the same, in the machine's byte order
float16; long double                                     float32; float64
nullable integer or boolean (pandas.NA, pyarrow)         the same if a value is missing, else plain
nullable float                                           float with NaN
text: object, ``string``, pandas 3's ``str``, pyarrow    text (pandas' default); a categorical of
                                                         text where values are missing
bytes                                                    the same, of UTF-8
categorical of text, integers or floats                  the same: order, unused and missing kept
categorical of booleans                                  boolean
categorical of anything else (intervals, mixed types)    categorical of its text, order kept
objects that are all numbers, or all booleans            number or boolean, nullable where missing
objects that are all missing                             float64, NaN
datetime, timedelta, period, interval, complex           text, or a categorical, as above
objects of mixed scalars (1, "a", None)                  the same
objects of lists, dicts, arrays                          dropped, with a notice
sparse                                                   dense
======================================================== =======================================

Names: of text always; "/", which HDF5 takes for a folder, becomes "_"; NUL is removed; an empty
name, "." and ".." become "unnamed"; ``_index``, which anndata reserves, is dropped where it repeats
the names of the rows, as SeuratDisk writes it, else it becomes "input_index"; a name that occurs
twice gets "_1".
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Sequence

import numpy as np
import pandas as pd

from c2sflow.common.errors import some

# HDF5 holds an attribute, here anndata's "column-order", of 64 KiB: 4,095 names, some of them ours.
MOST_COLUMNS = 4000
LISTED = 8  # names in a notice
RESERVED = "_index"


def clean_columns(frame: pd.DataFrame, where: str) -> tuple[pd.DataFrame, list[str]]:
    """Columns that can be written, and carried through Parquet, with any pandas and anndata.

    Parameters
    ----------
    frame
        As read, any number of rows.
    where
        What notices call it: "obs", "var", …

    Returns
    -------
    A new frame, its index text without a name; and notices of what is renamed, kept as text or
    dropped, one line each, for the log.
    """
    index = text_index(frame.index)
    positions = [n for n, name in enumerate(frame.columns) if not _repeats(frame, n, name, index)]
    positions, beyond = positions[:MOST_COLUMNS], positions[MOST_COLUMNS:]
    names = clean_names([frame.columns[n] for n in positions])
    written, as_text, dropped = {}, [], []
    for n, name in zip(positions, names, strict=True):
        column = frame.iloc[:, n]
        values, kind = _writable(column)
        if values is None:
            dropped.append(f"{name!r} ({kind})")
            continue
        if kind is not None:
            as_text.append(f"{name!r} ({kind})")
        written[name] = values
    notices = renamed_notice(where, [frame.columns[n] for n in positions], names)
    if as_text:
        notices.append(f"{where}: kept as text: {some(as_text, LISTED)}")
    if dropped:
        notices.append(
            f"{where}: columns that no file can hold are left out: {some(dropped, LISTED)}"
        )
    if beyond:
        notices.append(
            f"{where}: {len(beyond)} columns after the first {MOST_COLUMNS} are left out: an h5ad "
            "file cannot name more"
        )
    return pd.DataFrame(written, index=index, columns=list(written)), notices


def is_text(values: pd.Series | pd.Index) -> bool:
    """Whether these are texts (or Python's objects) in one of pandas' types, and no categories."""
    return values.dtype == object or isinstance(values.dtype, pd.StringDtype)


def text_index(index: pd.Index) -> pd.Index:
    """Names of rows as text that every file can hold."""
    if isinstance(index, pd.MultiIndex):
        index = index.to_flat_index()
    names = list(index)
    if not _are_clean(names):
        names = [clean_text(name) for name in names]
    return pd.Index(names, dtype=object).astype(str)


def _are_clean(names: list) -> bool:
    """Whether these are texts in ASCII, as nearly all names are, which need no cleaning."""
    if not all(type(name) is str for name in names):
        return False
    together = "".join(names)
    return together.isascii() and "\0" not in together


def clean_text(value: object) -> str:
    """Text without what UTF-8 or HDF5 cannot hold: lone surrogates and NUL."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def clean_names(names: Iterable[object]) -> list[str]:
    """Names under which columns, layers or arrays can be written: no two are the same.

    Those that can stay as they are do.
    """
    names = list(names)
    texts = [_clean_name(name) for name in names]
    taken = {text for text, name in zip(texts, names, strict=True) if text == name}
    written: list[str] = []
    for text, name in zip(texts, names, strict=True):
        new, n = text, 0
        while new in written or (new in taken and not (new == name and n == 0)):
            n += 1
            new = f"{text}_{n}"
        written.append(new)
    return written


def free_name(name: str, taken: Container[object]) -> str:
    """The name, with _2, _3, … where it is taken, such as by an earlier run."""
    names = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
    return next(free for free in names if free not in taken)


def renamed_notice(where: str, before: Sequence[object], after: Sequence[str]) -> list[str]:
    """One line that lists the names that had to change, or none."""
    pairs = [f"{a!r} → {b!r}" for a, b in zip(before, after, strict=True) if a != b]
    if not pairs:
        return []
    return [f"{where}: names that no file can hold are changed: {some(pairs, LISTED)}"]


def _clean_name(name: object) -> str:
    text = clean_text(name).replace("/", "_")
    if text == RESERVED:
        return "input_index"
    return "unnamed" if text in ("", ".", "..") else text


def _repeats(frame: pd.DataFrame, n: int, name: object, index: pd.Index) -> bool:
    """Whether this is a column _index that only repeats the names of the rows."""
    return name == RESERVED and text_index(pd.Index(frame.iloc[:, n])).equals(index)


# ------------------------------------------------------------------ one column


def _writable(column: pd.Series) -> tuple[object | None, str | None]:
    """Values that can be written (None: there is no way); the kind of what became text or nothing.

    See the table above.
    """
    dtype = column.dtype
    if isinstance(dtype, pd.SparseDtype):
        return _writable(column.sparse.to_dense())
    if isinstance(dtype, pd.CategoricalDtype):
        return _categorical(column.array)
    if isinstance(dtype, np.dtype) and dtype.kind in "biuf":
        return column.to_numpy(native(dtype)), None
    if hasattr(dtype, "numpy_dtype") and not isinstance(dtype, pd.ArrowDtype):
        return _masked(column), None
    return _objects(column.astype(object))


def native(dtype: np.dtype) -> np.dtype:
    """The type of these numbers that scipy, pyarrow and HDF5 hold: no half, no foreign bytes."""
    if dtype.kind == "f":
        return np.dtype(f"f{min(8, max(4, dtype.itemsize))}")
    return dtype.newbyteorder("=")


def _masked(column: pd.Series) -> object:
    """pandas' nullable integers, booleans and floats."""
    dtype = column.dtype.numpy_dtype
    if dtype.kind == "f":
        return column.to_numpy(dtype, na_value=np.nan)
    return column.array if column.isna().any() else column.to_numpy(dtype)


def _categorical(values: pd.Categorical) -> tuple[object, str | None]:
    kind = pd.api.types.infer_dtype(values.categories, skipna=False)
    if kind == "boolean":
        return _masked(pd.Series(values).astype("boolean")), None
    if not len(values.categories):
        return values.set_categories(pd.Index([], dtype=object)), None
    if kind in ("integer", "floating") and isinstance(values.categories.dtype, np.dtype):
        plain = values.categories.to_numpy(native(values.categories.dtype))
    elif kind in ("integer", "floating"):
        plain = np.array(values.categories.tolist())
    else:
        return _clean_categories(values), None if kind in ("string", "bytes") else kind
    return pd.Categorical.from_codes(values.codes, plain, ordered=values.ordered), None


def _clean_categories(values: pd.Categorical) -> object:
    """The same with categories of text."""
    texts = [clean_text(category) for category in values.categories]
    place = {text: n for n, text in enumerate(dict.fromkeys(texts))}
    moved = np.array([place[text] for text in texts] + [-1])  # the last: of code -1, missing
    return pd.Categorical.from_codes(moved[values.codes], list(place), ordered=values.ordered)


def _objects(column: pd.Series) -> tuple[object | None, str | None]:
    """Python's objects, and what pandas makes of its other types: dates, intervals, arrow's."""
    missing = column.isna()
    present = column[~missing]
    kind = pd.api.types.infer_dtype(present, skipna=False)
    if kind == "empty":
        return np.full(len(column), np.nan), None
    if kind in ("string", "bytes"):
        return _from_texts(column, missing), None
    if kind == "boolean":
        return _masked(column.where(~missing, pd.NA).astype("boolean")), None
    if kind == "integer":
        return _integers(column, missing)
    if kind in ("floating", "mixed-integer-float", "decimal"):
        return column.where(~missing, np.nan).to_numpy(float), None
    other = next((value for value in present if not pd.api.types.is_scalar(value)), None)
    if other is not None:
        return None, type(other).__name__
    return _from_texts(column, missing), kind


def _integers(column: pd.Series, missing: pd.Series) -> tuple[object, str | None]:
    for dtype in ("Int64", "UInt64"):
        try:
            return _masked(column.where(~missing, pd.NA).astype(dtype)), None
        except (OverflowError, TypeError, ValueError):
            continue
    return _from_texts(column, missing), "integers beyond 64 bit"


def _from_texts(column: pd.Series, missing: pd.Series) -> object:
    texts = [
        None if gone else clean_text(value) for value, gone in zip(column, missing, strict=True)
    ]
    return pd.Categorical(texts) if missing.any() else np.array(texts, dtype=object)
