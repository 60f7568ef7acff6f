"""Write the cells of CELLxGENE Census that a query selects."""

import click


@click.command(help=__doc__)
@click.option("--query", required=True, help="census://ORGANISM?COLUMN=VALUE&version=DATE.")
@click.option("--store", type=click.Path(exists=True), help="The folder that uri= names.")
@click.option("--outdir", default=".", help="Gets census.h5ad.")
def main(query, store, outdir):
    """Parse, call the library, write."""
    import warnings
    from pathlib import Path

    warnings.filterwarnings("ignore", category=FutureWarning)
    from c2sflow.common.errors import UserError
    from c2sflow.data.census import write_census
    from c2sflow.inputs.census import parse_census

    asked = parse_census(query)
    try:
        write_census(
            Path(outdir) / "census.h5ad",
            asked.organism,
            asked.wanted,
            asked.version,
            store or asked.uri,
        )
    except UserError as error:
        raise UserError(f"{query}: {error}") from None
