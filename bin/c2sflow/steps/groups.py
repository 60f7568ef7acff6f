"""Draw the groups of cells that share a prompt, and write them as shards."""

import click

FOLDER = click.Path(exists=True, file_okay=False)


@click.command(help=__doc__)
@click.option("--obs-dir", required=True, type=FOLDER, help="<sample>.obs.parquet of SENTENCES.")
@click.option("--cells-dir", required=True, type=FOLDER, help="Shards of SENTENCES.")
@click.option("--h5ad", type=click.Path(exists=True), help="h5ad of QC, for --group-by neighbours.")
@click.option("--id", "name", required=True, help="File-safe name of the sample, or all.")
@click.option("--cells-per-prompt", required=True, type=click.IntRange(2), help="Cells of a group.")
@click.option(
    "--group-by", default="sample", help="Column of obs that cells of a group share; neighbours."
)
@click.option(
    "--groups-across-samples/--no-groups-across-samples",
    default=False,
    help="Cells of several samples may share a group.",
)
@click.option("--seed", type=int, default=42, help="Decides which cells come together.")
@click.option("--shard-size", default="auto", help="Maximum cells per shard, or auto.")
@click.option("--outdir", default=".", help="Gets shards/, <id>.members.parquet, <id>.groups.json.")
def main(
    obs_dir, cells_dir, h5ad, name, cells_per_prompt, group_by, groups_across_samples, seed,
    shard_size, outdir,
):  # fmt: skip
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.common.files import write_json
    from c2sflow.data.readers import open_anndata
    from c2sflow.sentences.groups.drawing import Grouping
    from c2sflow.sentences.groups.neighbours import principal_components
    from c2sflow.sentences.groups.shards import write_groups

    points = None
    if h5ad:
        with open_anndata(h5ad) as data:
            points = principal_components(data)
    summary = write_groups(
        sorted(Path(obs_dir).glob("*.parquet")),
        sorted(Path(cells_dir).glob("*.parquet")),
        name,
        Path(outdir),
        Grouping(cells_per_prompt, group_by, groups_across_samples, seed),
        shard_size=shard_size,
        points=points,
    )
    write_json(Path(outdir) / f"{name}.groups.json", {"id": name, **summary})
