"""Writing elements of an h5ad file with any version of anndata and pandas."""

from __future__ import annotations

from collections.abc import Mapping

import h5py
import pandas as pd
from anndata.io import write_elem

from c2sflow.annotation_columns import clean_columns, is_text


def write_element(
    file: h5py.Group, path: str, value: object, options: Mapping | None = None
) -> None:
    """Write what anndata calls an element, such as "obs" or "layers/counts".

    A DataFrame is written as `clean_columns` makes it, and its texts in encodings that anndata
    reads since 0.8: ``string-array`` and ``categorical``, never ``nullable-string-array``.

    Parameters
    ----------
    path
        Within `file`; its folders are made. anndata 0.13 takes no "/" in a key.
    options
        dataset_kwargs of anndata: compression and chunks.
    """
    folder, _, key = path.rpartition("/")
    group = file.require_group(folder) if folder else file
    if isinstance(value, pd.DataFrame):
        frame, _ = clean_columns(value, path)
        texts = [name for name in frame if is_text(frame[name])]
        frame = frame.astype(dict.fromkeys(texts, object))
        value = frame.set_axis(frame.index.astype(object), axis=0)
    write_elem(group, key, value, dataset_kwargs=options or {})
