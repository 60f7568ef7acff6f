"""List the data files named in a samplesheet."""

import click


@click.command(help=__doc__)
@click.option(
    "--sheet",
    required=True,
    type=click.Path(exists=True),
    help="The input: a samplesheet or data file.",
)
@click.option("--outdir", default=".", help="Gets sheet.json.")
def main(sheet, outdir):
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.common.files import write_json
    from c2sflow.inputs.samplesheet import sheet_paths

    write_json(Path(outdir) / "sheet.json", {"paths": sheet_paths(sheet)})
