"""Tables of cells of several samples, one below the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from pandas.api.types import (
    is_bool_dtype,
    is_integer_dtype,
    is_unsigned_integer_dtype,
    union_categoricals,
)


def concat_obs(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Rows of all frames; a column that a frame lacks is missing there, in a type that has that.

    Categories are united, integers and booleans with gaps become pandas' nullable types, so that
    anndata can write them.
    """
    columns = list(dict.fromkeys(name for frame in frames for name in frame.columns))
    index = pd.Index(np.concatenate([frame.index.to_numpy(dtype=object) for frame in frames]))
    joined = {name: _concat_column(name, frames) for name in columns}
    return pd.DataFrame(joined, index=range(len(index))).set_axis(index.astype(str))


def _concat_column(name: str, frames: Sequence[pd.DataFrame]) -> pd.Series:
    parts = [
        frame[name] if name in frame else pd.Series(pd.NA, frame.index, dtype=object)
        for frame in frames
    ]
    present = [frame[name] for frame in frames if name in frame]
    if all(isinstance(part.dtype, pd.CategoricalDtype) for part in present):
        ordered = present[0].cat.ordered and all(p.dtype == present[0].dtype for p in present)
        plain = [part.cat.as_unordered() for part in present]
        categories = union_categoricals(plain).categories
        dtype = pd.CategoricalDtype(categories, ordered=ordered)
        return pd.Series(np.concatenate([p.to_numpy(dtype=object) for p in parts]), dtype=dtype)
    if len(present) < len(frames):
        if all(is_bool_dtype(part) for part in present):
            parts = [part.astype("boolean") for part in parts]
        elif all(is_integer_dtype(part) for part in present):
            unsigned = all(is_unsigned_integer_dtype(part) for part in present)
            parts = [part.astype("UInt64" if unsigned else "Int64") for part in parts]
        elif all(pd.api.types.is_numeric_dtype(part) for part in present):
            parts = [part.astype("Float64").astype(float) for part in parts]
    joined = pd.concat(parts, ignore_index=True)
    if joined.dtype == object:  # text, or a mixture: text is what can be written
        joined = joined.map(str, na_action="ignore").astype("category")
    return joined
