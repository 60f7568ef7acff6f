"""What a sample is: its file opened once and read, in a process of its own if need be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from c2sflow.common.errors import Faults, UserError
from c2sflow.data.backed import CellData
from c2sflow.data.bulk.bulk import BULK_COUNTS, BULK_SAMPLES, input_kind
from c2sflow.data.bulk.bulk import is_table as is_text_table
from c2sflow.data.bulk.pseudobulk import pseudobulk_obs, read_columns
from c2sflow.data.genes.excel_dates import dates_note
from c2sflow.data.genes.organisms import COLUMN as ORGANISM
from c2sflow.data.genes.organisms import PER_CELL, cell_organisms, find_organism
from c2sflow.data.genes.symbol_tables import add_symbols, is_table
from c2sflow.data.genes.symbols import (
    find_symbols,
    gene_symbols,
    without_ids,
)
from c2sflow.data.matrices import in_words, matrices_of
from c2sflow.data.obs.held_values import offer_columns, offer_values
from c2sflow.data.orientation import check_orientation
from c2sflow.data.qc.filters import Filters, check_filters
from c2sflow.data.readers import open_anndata
from c2sflow.data.state.normalization import STATES, State
from c2sflow.data.state.reading import find_state
from c2sflow.data.views import SETTINGS as VIEW
from c2sflow.data.views import View, apply_view, genome_shares
from c2sflow.inputs.samplesheet import Row
from c2sflow.sentences.ranking import cell_contents
from c2sflow.validation.obs_columns import Targets
from c2sflow.validation.training import Training

# By these the user names the cells that are held out: then no cell may be on both sides.
NAMED_SPLITS = ("split_column", "hold_out", "splits")


@dataclass
class Seen:
    """What one file holds, to be checked against all that the run wants of the samples.

    Attributes
    ----------
    faults
        In the order in which they were found.
    sample
        For ``samples.json``; None if the file cannot be read, and then there is nothing else.
    lines
        For the log.
    obs
        Of the cells, or of their pseudobulk samples, with the columns that QC adds.
    symbols, organism
        None if they are not known.
    obsm
        Names of its arrays that later steps can use.
    names, contents
        Of the cells: see `c2sflow.validation.leaks.Cells`; None where no step asks for them.
    """

    faults: Faults = field(default_factory=Faults)
    sample: dict | None = None
    lines: list[str] = field(default_factory=list)
    obs: pd.DataFrame = field(default_factory=pd.DataFrame)
    symbols: pd.Index | None = None
    organism: str | None = None
    obsm: list[str] = field(default_factory=list)
    names: pd.Index | None = None
    contents: np.ndarray | None = None


def read_sample(row: Row, path: Path, flat: Mapping, symbols: pd.Series | None) -> Seen:
    """What a sample is. All faults that its file alone shows are collected.

    Parameters
    ----------
    row
        Of the samplesheet.
    path
        Of the staged file.
    flat
        The parameters, which the row's settings override.
    symbols
        Table from identifiers of genes to symbols, if one is given.
    """
    seen = Seen()
    with seen.faults.collect():
        _read(row, path, flat, symbols, seen)
    return seen


def _read(row: Row, path: Path, flat: Mapping, table: pd.Series | None, seen: Seen) -> None:
    names = ("organism", "gene_symbols", "input_kind", "input_state", *VIEW)
    settings = {name: row.settings.get(name, flat[name]) for name in names}
    state, column, organism, faults = None, None, None, seen.faults
    with open_anndata(path, row.where) as data:
        there = [*matrices_of(data)]
        viewed = apply_view(data, View.from_settings(settings), row.where, settings["input_state"])
        kind, why = input_kind(settings["input_kind"], row.path, data)
        obsm = data.obsm()  # which adds to the notes
        messages = [f"{row.sample}: {line}" for line in [*([why] if why else []), *viewed.lines]]
        columns = read_columns(flat["pseudobulk"]) if kind == "cells" else []
        with faults.collect():
            # How a table was read may be why its values look odd.
            read = "; ".join(data.notes) if is_text_table(row.path) else ""
            where = f"{row.sample} ({row.path}; {read})" if read else row.where
            found, evidence = find_state(data, settings["input_state"], where)
            state = found.state
            messages += [f"{row.sample}: {line}" for line in (found.evidence, *found.warnings)]
            messages += _bulk_hint(evidence.total, state, kind, row.sample)
            if columns and state.name != "counts":
                raise UserError(_no_counts(row.where, viewed.view.matrix, state, there))
        with faults.collect():
            check_orientation(data.obs.index, data.var_names, row.where)
            column = _symbols_column(data, settings["gene_symbols"], table, row)
            symbols, counts = gene_symbols(data.var, column, row.where)
            if column is not None:
                n_found = data.n_vars - counts["missing"]
                messages.append(
                    f"{row.sample}: symbols of {n_found} of {data.n_vars} genes from var"
                    f"[{column!r}], {counts['duplicates']} of them repeated"
                )
            messages += [f"{row.sample}: {note}" for note in dates_note(symbols)]
            if "cleaned" in counts:
                messages.append(
                    f"{row.sample}: {counts['cleaned']} genes have an Ensembl id with the symbol "
                    f"(such as {_with_id(data, column)}): removed"
                )
            seen.symbols = symbols
            organism = find_organism(settings["organism"], data, symbols, row.where)
            if state is not None and (filters := _filters(flat, kind)):
                shares = genome_shares(data, viewed, state)
                declared = settings["input_state"] in STATES
                check_filters(data, symbols, state, filters, shares, declared)
        messages += [f"{row.sample}: {note}" for note in data.notes]
        if data.duplicate_names:
            messages.append(f"{row.sample}: {data.duplicate_names} repeated cell names made unique")
        if flat["finetune"] and any(flat[name] for name in NAMED_SPLITS):
            least = 1 if flat["skip_qc"] else int(flat["min_genes"] or 1)
            seen.names, seen.contents = data.own_names, cell_contents(data, least)
        obs, n_rows = _future_obs(data, row, organism), data.n_obs
        of_cells = obs
        if missing := [name for name in columns if name not in obs]:
            faults.append(
                f"{row.where}: --pseudobulk {', '.join(missing)}: obs has no such column "
                f"{offer_columns(obs, *missing)}"
            )
            columns = []
        if columns:
            obs = pseudobulk_obs(obs, columns)
            n_rows = len(obs)
            messages.append(f"{row.sample}: {n_rows} pseudobulk samples by {', '.join(columns)}")
            if not n_rows:
                faults.append(
                    f"{row.where}: --pseudobulk: no cell has a value in all of these columns"
                    + offer_values(of_cells[columns])
                )
        rows = "bulk samples" if kind == "bulk" else "cells"
        size = f"{data.n_obs} {rows} x {data.n_vars} genes"
        shape = {"n_obs": n_rows, "n_vars": data.n_vars}
    what = "organism per cell" if organism == PER_CELL else organism
    seen.lines = [f"{row.sample}: {size}, {what}, {state}", *messages]
    seen.obs, seen.organism, seen.obsm = obs, organism, [] if columns else [*obsm]
    seen.sample = {
        "sample": row.sample,
        "organism": organism,
        "input_state": state and state.name,
        "log_base": state and state.log_base,
        "state_declared": settings["input_state"] in STATES,
        "gene_symbols": column,
        "input_kind": kind,
        **asdict(viewed.view),
        **shape,
        "obs": row.obs,
    }


def check_sample(
    seen: Seen, where: str, targets: Targets, training: Training | None, faults: Faults
) -> None:
    """Check a sample that could be read against all that the run wants, and count what it holds."""
    if seen.symbols is not None:
        targets.look_at_genes(seen.symbols)
    targets.organisms |= set(seen.obs[ORGANISM].astype(str)) if seen.organism else set()
    targets.look_at(seen.obs, where, faults)
    if training:
        training.look_at(seen.obs, where, faults, seen.names, seen.contents)
    targets.look_at_obsm(seen.obsm, where, faults)


def _no_counts(where: str, matrix: str, state: State, there: list[str]) -> str:
    """What is wrong for --pseudobulk, and which other matrix may hold the counts."""
    others = " or ".join(f"--matrix {name}" for name in there if name != matrix)
    how = f"if another matrix holds them: {others}" if others else "give a file with raw counts"
    held = in_words(state.name)
    return f"{where}: --pseudobulk sums raw counts, but {matrix} holds {held}; {how}"


def _filters(flat: Mapping, kind: str) -> Filters | None:
    """QC's thresholds; None if one of them is a fault that is reported already."""
    limits = {name: flat[name] for name in ("min_genes", "min_cells", "max_pct_mt")}
    if not all(isinstance(limit, int | float) for limit in limits.values()):
        return None
    filters = Filters(**limits, skip=flat["skip_qc"] is True)
    return filters.for_bulk() if kind == "bulk" else filters


def _symbols_column(data: CellData, given: str, table: pd.Series | None, row: Row) -> str | None:
    """Column of var with the symbols, which the table makes if the data hold identifiers only."""
    if is_table(row.settings.get("gene_symbols")):
        raise UserError(f"{row.where}: gene_symbols {given}: a table is for all: --gene_symbols")
    if not is_table(given):
        return find_symbols(data.var, given, row.where, is_text_table(row.path))
    return None if table is None else add_symbols(data, table, row.where)


def _with_id(data: CellData, column: str | None) -> str:
    """The first name that holds both a symbol and an id."""
    names = data.var_names if column is None else data.var[column]
    return next(str(name) for name in names if without_ids([name])[1])


def _bulk_hint(totals: np.ndarray, state: State, kind: str, sample: str) -> list[str]:
    """Few rows of millions of counts each are hardly cells."""
    if kind == "bulk" or state.name != "counts" or len(totals) > BULK_SAMPLES:
        return []
    counts = float(np.median(totals))
    if counts < BULK_COUNTS:
        return []
    return [
        f"{sample}: {counts / 1e6:.1f} million counts per row: if these are bulk samples, use "
        "--input_kind bulk"
    ]


def name_kinds(samples: list[dict], pseudobulk: bool) -> None:
    """Where not all rows are cells, obs records what each is."""
    if pseudobulk or any(sample["input_kind"] == "bulk" for sample in samples):
        for sample in samples:
            kind = sample["input_kind"]
            kind = "pseudobulk" if pseudobulk and kind == "cells" else kind
            sample["obs"] = {**sample["obs"], "input_kind": kind}


def _future_obs(data: CellData, row: Row, organism: str | None) -> pd.DataFrame:
    """The input's obs with the columns that QC will add and a query can name."""
    obs = data.obs.assign(**row.obs, sample=row.sample)
    if organism is not None:
        obs[ORGANISM] = cell_organisms(obs) if organism == PER_CELL else organism
        if "organism" not in obs:
            obs["organism"] = obs[ORGANISM]
    return obs
