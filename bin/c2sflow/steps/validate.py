"""Check parameters, samplesheet, data, model and prompts; tell every fault at once."""

import click

EXISTING = click.Path(exists=True)


@click.command(help=__doc__)
@click.option("--params", required=True, help="The parameters, as JSON.")
@click.option("--staged", required=True, help="JSON list: path of each row's file, or null.")
@click.option("--schema", required=True, type=EXISTING, help="nextflow_schema.json.")
@click.option("--input-schema", required=True, type=EXISTING, help="Schema of the samplesheet.")
@click.option("--sheet", type=EXISTING, help="The samplesheet, if the input is one.")
@click.option("--model-dir", type=EXISTING, help="The model, if it is local.")
@click.option("--perturbations-file", type=EXISTING, help="If --perturbations names a file.")
@click.option("--embedding-prompt-file", type=EXISTING, help="If --embedding_prompt names a file.")
@click.option("--perturbation-prompt-file", type=EXISTING, help="Likewise.")
@click.option("--gene-sets-file", type=EXISTING, help="If --gene_sets names a file.")
@click.option("--gene-vocabulary-file", type=EXISTING, help="If --gene_vocabulary names a file.")
@click.option("--cell-types-file", type=EXISTING, help="If --cell_types names a file.")
@click.option("--annotation-prompt-file", type=EXISTING, help="Likewise, --annotation_prompt.")
@click.option("--generation-prompt-file", type=EXISTING, help="Likewise, --generation_prompt.")
@click.option("--gene-symbols-file", type=EXISTING, help="If --gene_symbols names a table.")
@click.option("--text-encoder-dir", type=EXISTING, help="The text encoder, if it is local.")
@click.option("--outdir", default=".", help="Gets options.json and samples.json.")
def main(params, staged, schema, input_schema, outdir, **files):
    """Parse, call the library, write."""
    import json
    import warnings
    from pathlib import Path

    warnings.filterwarnings("ignore", category=FutureWarning)
    from c2sflow.common.files import write_json
    from c2sflow.validation.run import Staged, validate_run

    options, samples = validate_run(
        json.loads(params),
        Staged(json.loads(staged), **{key: path and Path(path) for key, path in files.items()}),
        json.loads(Path(schema).read_text(encoding="utf-8")),
        json.loads(Path(input_schema).read_text(encoding="utf-8")),
    )
    write_json(Path(outdir) / "options.json", options)
    write_json(Path(outdir) / "samples.json", samples)
