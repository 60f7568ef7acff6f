"""Write the cells of one sample as shards of cell sentences."""

import click


@click.command(help=__doc__)
@click.option("--h5ad", required=True, type=click.Path(exists=True), help="h5ad from QC.")
@click.option("--id", "name", required=True, help="File-safe name of the sample.")
@click.option(
    "--max-genes", type=click.IntRange(1), help="Maximum genes per sentence; default: all."
)
@click.option("--tie-break", type=click.Choice(["random", "gene_order"]), default="random")
@click.option("--seed", type=int, default=42, help="Seed of the random order of ties.")
@click.option("--shard-size", default="auto", help="Maximum cells per shard, or auto.")
@click.option("--outdir", default=".", help="Gets shards/, <id>.obs.parquet, <id>.sentences.json.")
def main(h5ad, name, max_genes, tie_break, seed, shard_size, outdir):
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.common.files import write_json
    from c2sflow.data.readers import open_anndata
    from c2sflow.sentences.shards import genes_per_cell, shard_bounds, write_shards

    bounds = shard_bounds(genes_per_cell(h5ad), shard_size, max_genes)
    options = {"max_genes": max_genes, "tie_break": tie_break, "seed": seed}
    with open_anndata(h5ad) as data:
        summary = write_shards(data, bounds, name, outdir, **options)
        sample = str(data.obs["sample"].iloc[0])
    write_json(Path(outdir) / f"{name}.sentences.json", {"id": name, "sample": sample, **summary})
