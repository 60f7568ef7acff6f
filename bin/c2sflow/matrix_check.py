"""Whether the matrices of an h5ad file or zarr store are as large as obs and var are long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from c2sflow.named_arrays import items_of

SPARSE = {"csr_matrix": 0, "csc_matrix": 1}  # encoding to the axis of its row pointers


def matrix_fault(group: Mapping, n_obs: int, n_vars: int) -> str | None:
    """What is wrong with X, the layers or raw, by their metadata; no value is read.

    Parameters
    ----------
    group
        The open file or store.
    n_obs, n_vars
        Lengths of obs and var.
    """
    for name, matrix, width in _matrices(group, n_vars):
        kind = matrix.attrs.get("encoding-type", "array")
        if kind == "null":
            continue
        if kind not in ("array", *SPARSE):
            return f"{name} is stored as {kind!r}, which is no matrix"
        fault = _sparse_fault(matrix, SPARSE[kind]) if kind in SPARSE else None
        if fault:
            return f"{name} {fault}"
        shape = tuple(matrix.attrs["shape"] if kind in SPARSE else matrix.shape)
        if shape != (n_obs, width if width is not None else shape[-1]):
            found = " × ".join(map(str, shape))
            return f"{name} is {found}, but obs and var are {n_obs} × {width or '…'}"
    return None


def _matrices(group: Mapping, n_vars: int) -> Iterator[tuple[str, object, int | None]]:
    """Name, matrix and how many columns it must have."""
    if "X" in group:
        yield "X", group["X"], n_vars
    for name, layer in items_of(group.get("layers", {})):
        if layer.attrs.get("encoding-type", "array") in ("array", *SPARSE):  # others are left out
            yield f"layers[{name!r}]", layer, n_vars
    if "raw" in group and "X" in group["raw"]:
        yield "raw.X", group["raw"]["X"], None


def _sparse_fault(matrix: Mapping, axis: int) -> str | None:
    missing = [name for name in ("data", "indices", "indptr") if name not in matrix]
    if missing or "shape" not in matrix.attrs:
        return f"lacks its {(missing or ['shape'])[0]}"
    if len(matrix["data"].shape) != 1 or matrix["data"].shape != matrix["indices"].shape:
        return "has not as many values as indices"
    if matrix["indptr"].shape != (int(matrix.attrs["shape"][axis]) + 1,):
        return "has row pointers that do not fit its shape"
    return None
