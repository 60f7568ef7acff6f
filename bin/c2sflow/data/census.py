"""Cells of CELLxGENE Census, by a query, as an h5ad file: read and written by blocks of cells.

cellxgene-census and tiledbsoma are no packages of this project's environment: ``make census``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from c2sflow.common.errors import Faults, UserError, likeliest, some
from c2sflow.common.files import write_beside
from c2sflow.common.progress import progress_bar
from c2sflow.data.h5ad import RowWriter, create_h5ad, write_element

LOG = logging.getLogger(__name__)
PRIMARY = "is_primary_data"  # false for cells that another data set of the Census has, too
BLOCK = 4096  # cells
BUFFER = 64 * 2**20  # bytes of each column that is read; the package's own is 1 GiB
TRUTHS = {"true": True, "false": False}


def write_census(
    target: str | Path,
    organism: str,
    wanted: Mapping[str, Sequence[str]],
    version: str = "",
    uri: str = "",
) -> int:
    """Write the cells that a query selects to an h5ad file.

    X has their raw counts, CSR; obs all columns of the Census, its index the `soma_joinid`; var has
    the Ensembl ids, with ``feature_name`` beside; ``uns["organism"]``. Memory holds obs and a block
    of `BLOCK` cells.

    Parameters
    ----------
    organism
        As the Census spells it: homo_sapiens.
    wanted
        Column of obs: values, of which a cell has one. Without `PRIMARY`, cells are primary data.
    version, uri
        The date of a release, or a folder or address that holds a Census; one of them.

    Returns
    -------
    Number of cells.

    Raises
    ------
    UserError
        If the packages are missing, the Census cannot be reached, it has no such release, organism,
        column or value, or no cell has all of them.
    """
    try:
        import tiledbsoma
    except ImportError:
        raise UserError(
            "the package cellxgene-census is not installed where CENSUS runs: `make census` "
            "installs it beside .venv; elsewhere: pip install cellxgene-census"
        ) from None

    with _opened(version, uri) as census, _reading(uri):
        experiment = _experiment(census, organism)
        conditions = _conditions(experiment.obs, wanted)
        selected = tiledbsoma.AxisQuery(value_filter=" and ".join(conditions.values()) or None)
        with experiment.axis_query("RNA", obs_query=selected) as query:
            obs = query.obs().concat().to_pandas()
            if obs.empty:
                raise UserError(_nothing(experiment.obs, conditions.values()))
            obs = _annotations(obs, "soma_joinid")
            var = _annotations(query.var().concat().to_pandas(), "feature_id")
            size = f"{len(obs):,} cells x {len(var):,} genes"
            LOG.info("Census %s, %s: %s", version or uri, organism, size)
            with write_beside(target) as partial, create_h5ad(partial, obs, var) as file:
                write_element(file, "uns/organism", organism.replace("_", " ").capitalize())
                writer = RowWriter(file, "X", len(var))
                with progress_bar(len(obs), "cell") as bar:
                    for block, _ in (
                        query.X("raw").blockwise(axis=0, size=BLOCK, eager=False).scipy()
                    ):
                        writer.append(block)
                        bar.update(block.shape[0])
    return len(obs)


@contextmanager
def _opened(version: str, uri: str) -> Iterator[Any]:
    """The Census, open."""
    import cellxgene_census
    from requests import RequestException

    sizes = {"soma.init_buffer_bytes": BUFFER, "py.init_buffer_bytes": BUFFER}
    logging.getLogger("cellxgene_census").setLevel(logging.WARNING)
    place = {"uri": uri} if uri else {"census_version": version}
    try:
        census = cellxgene_census.open_soma(**place, tiledb_config=sizes)
    except RequestException as error:
        raise UserError(
            f"the Census cannot be reached from here ({type(error).__name__}: "
            f"{getattr(error.request, 'url', '')}); CENSUS needs the network: run it where there "
            "is one, or give uri=FOLDER, a Census that was copied there"
        ) from None
    except ValueError:  # of an unknown release
        releases = sorted(cellxgene_census.get_census_version_directory(), reverse=True)
        raise UserError(f"the Census has no version={version}{_meant(version, releases)}") from None
    except Exception as error:
        raise UserError(
            f"{uri or version}: no Census can be opened there ({_reason(error)})"
        ) from None
    with census:
        yield census


@contextmanager
def _reading(place: str) -> Iterator[None]:
    """What the network can break while the cells are read."""
    from tiledbsoma import SOMAError

    try:
        yield
    except SOMAError as error:
        raise UserError(
            f"the Census {place} cannot be read ({_reason(error)}); run again with -resume"
        ) from None


def _reason(error: Exception) -> str:
    """The message of an error of TileDB; that of a request to S3 ends with its details."""
    return " ".join(str(error).split("Details: ")[-1].split("\n\nAt:")[0].split())[:200]


def _experiment(census: Any, organism: str) -> Any:
    try:
        organisms = census["census_data"]
    except KeyError:
        raise UserError(f"{census.uri}: no Census: it lacks census_data") from None
    if organism not in organisms:
        raise UserError(f"the Census has no organism {organism}{_meant(organism, organisms)}")
    return organisms[organism]


def _conditions(obs: Any, wanted: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """For each column what TileDB filters cells by; all that is wrong with them at once."""
    faults, conditions = Faults(), dict[str, str]()
    primary = {PRIMARY: ["true"]} if PRIMARY in obs.schema.names else {}
    for column, values in {**primary, **wanted}.items():
        with faults.collect():
            conditions[column] = _condition(obs, column, values)
    if faults:
        raise UserError("; ".join(faults))
    return conditions


def _condition(obs: Any, column: str, values: Sequence[str]) -> str:
    import pyarrow as pa

    if column not in obs.schema.names:
        raise UserError(f"the Census has no column {column}{_meant(column, obs.schema.names)}")
    kind = obs.schema.field(column).type
    if pa.types.is_boolean(kind):
        known = list(TRUTHS)
    elif pa.types.is_dictionary(kind):
        known = obs.get_enumeration_values([column])[column].to_pylist()
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        known = list(values)
    else:
        raise UserError(f"{column} holds numbers ({kind}); a query takes columns of words")
    for value in values:
        if value not in known:
            raise UserError(f"{column} has no value {value!r}{_meant(value, known)}")
    if pa.types.is_boolean(kind):
        return "(" + " or ".join(f"{column} == {TRUTHS[value]}" for value in values) + ")"
    return f"{column} in {list(values)!r}"


def _meant(name: str, known: Iterable[str]) -> str:
    """The end of a message: the likeliest of those that there are, else the first of them."""
    words = sorted(known)
    close = likeliest(name, words, most=3)
    close += [word for word in words if name.lower() in word.lower() and word not in close]
    return f"; did you mean {some(close)}?" if close else f"; it has {some(words, 8)}"


def _nothing(obs: Any, conditions: Iterable[str]) -> str:
    """The message where no cell has all that is wanted: how many have each part of it."""
    counts = []
    for condition in conditions:
        found = obs.read(value_filter=condition, column_names=["soma_joinid"]).concat()
        counts.append(f"{condition}: {found.num_rows:,}")
    return f"no cell of the Census has all of this; cells that have each alone: {', '.join(counts)}"


def _annotations(table: pd.DataFrame, names: str) -> pd.DataFrame:
    """A table of the Census with one of its columns as the names of rows."""
    index = pd.Index(table[names].astype(str), name=None)
    kept = table.drop(columns={names, "soma_joinid"}).set_axis(index, axis=0)
    for column in kept.select_dtypes("category"):  # of the whole Census
        kept[column] = kept[column].cat.remove_unused_categories()
    return kept
