#!/usr/bin/env python3
"""Write the demo data: two samples of 350 blood cells, and their samplesheet."""

import warnings

import click

import c2s_script


@click.command()
@click.option("--outdir", default=".", show_default=True, help="Where to write.")
def main(outdir: str) -> None:
    """Write the demo's h5ad files and samplesheet.csv."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    from c2sflow.demo import write_demo

    write_demo(outdir)


if __name__ == "__main__":
    c2s_script.run(main)
