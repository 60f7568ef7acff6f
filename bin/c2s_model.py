#!/usr/bin/env python3
"""A model directory to what the run records of it: id, revision, digest, shape."""

import click

from c2s_script import run


@click.command(help=__doc__)
@click.option("--model-dir", required=True, type=click.Path(exists=True, file_okay=False))
@click.option("--source", required=True, help="Hub id, path or 'demo', as the user gave it.")
@click.option("--outdir", default=".", help="Gets model.json.")
def main(model_dir, source, outdir):
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.model_files import describe_model
    from c2sflow.provenance import write_json

    write_json(Path(outdir) / "model.json", describe_model(model_dir, source))


if __name__ == "__main__":
    run(main)
