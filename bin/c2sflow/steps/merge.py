"""Merge all samples and answers into the result files."""

import click

FOLDER = click.Path(exists=True, file_okay=False)
FILE = click.Path(exists=True, dir_okay=False)


@click.command(help=__doc__)
@click.option("--samples", required=True, type=FILE, help="samples.json of VALIDATE.")
@click.option("--parameters", required=True, type=FILE, help="parameters.json of VALIDATE.")
@click.option("--model", required=True, type=FILE, help="model.json of MODEL.")
@click.option("--qc-dir", required=True, type=FOLDER, help="<id>.h5ad, <id>.qc.json.")
@click.option("--sentences-dir", required=True, type=FOLDER, help="<id>.sentences.json.")
@click.option("--embeddings-dir", required=True, type=FOLDER, help="<shard>.embedding.h5ad.")
@click.option("--perturbed-dir", type=FOLDER, help="<shard>.perturbed.parquet, if any.")
@click.option("--generated-dir", type=FOLDER, help="<task>.generated.parquet, if any.")
@click.option("--groups-dir", type=FOLDER, help="Members, shards' results of groups, if any.")
@click.option("--annotations-dir", type=FOLDER, help="<shard>.annotation.parquet, if any.")
@click.option("--evaluation-dir", type=FOLDER, help="Tables of EVALUATE, if any.")
@click.option("--plan", type=FILE, help="plan.json of PLAN, with --perturbed-dir.")
@click.option("--provenance", default="{}", help="JSON: name, version, revision of the pipeline.")
@click.option("--outdir", default=".")
def main(**paths):
    """Parse, call the library, write."""
    import json
    from pathlib import Path

    from c2sflow.results.run import merge_run

    folders = {key: Path(value) for key, value in paths.items() if key != "provenance" and value}
    merge_run(**folders, pipeline=json.loads(paths["provenance"]))
