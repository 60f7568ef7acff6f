"""Write the demo data: two samples of 350 blood cells each."""

import click


@click.command(help=__doc__)
@click.option("--outdir", default=".", help="Gets lane_1.h5ad, lane_2.h5ad, samplesheet.csv.")
def main(outdir):
    """Parse, call the library, write."""
    import warnings

    warnings.filterwarnings("ignore", category=FutureWarning)
    from c2sflow.data.demo import write_demo

    write_demo(outdir)
