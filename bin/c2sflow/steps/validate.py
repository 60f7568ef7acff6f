"""Check all inputs and report every problem at once."""

import click

EXISTING = click.Path(exists=True)
VOCABULARY = "vocabulary:"  # before the name of a file that the file of labels names


@click.command(help=__doc__)
@click.option("--params", required=True, help="The parameters, as JSON.")
@click.option("--staged", required=True, help="JSON list: path of each row's file, or null.")
@click.option("--schema", required=True, type=EXISTING, help="nextflow_schema.json.")
@click.option("--input-schema", required=True, type=EXISTING, help="Schema of the samplesheet.")
@click.option("--sheet", type=EXISTING, help="The samplesheet, if the input is one.")
@click.option("--model-dir", type=EXISTING, help="The model, if it is local.")
@click.option("--named", default="{}", help="JSON: files named by parameters, by parameter.")
@click.option("--text-encoder-dir", type=EXISTING, help="The text encoder, if it is local.")
@click.option("--check/--no-check", default=True, help="Skip all checks (for stub runs).")
@click.option("--outdir", default=".", help="Gets parameters.json, options.json, samples.json.")
def main(params, staged, schema, input_schema, named, check, outdir, **files):
    """Parse, call the library, write."""
    import json
    import warnings
    from pathlib import Path

    warnings.filterwarnings("ignore", category=FutureWarning)
    from c2sflow.common.files import write_json
    from c2sflow.validation.packs import packs
    from c2sflow.validation.step_options import step_options

    schemas = [
        json.loads(Path(name).read_text(encoding="utf-8")) for name in (schema, input_schema)
    ]
    rows = json.loads(staged)
    if check:
        from c2sflow.validation.run import Staged, validate_run

        own = {name: Path(path) for name, path in json.loads(named).items()}
        lists = {n.removeprefix(VOCABULARY): own.pop(n) for n in [*own] if n.startswith(VOCABULARY)}
        paths = {name: path and Path(path) for name, path in files.items()}
        paths |= {f"{name}_file": path for name, path in own.items()}
        staged_files = Staged(rows, **paths, vocabularies=lists)
        parameters, samples = validate_run(json.loads(params), staged_files, *schemas)
    else:
        parameters, samples = _unchecked(json.loads(params), len(rows), schemas[0])
    write_json(Path(outdir) / "parameters.json", parameters)
    options = step_options(parameters, schemas[0])
    cut = options["sentences"]["shard_size"], options["sentences"]["max_genes"]
    options["packs"] = packs(samples, *cut) if check else {}
    write_json(Path(outdir) / "options.json", options)
    write_json(Path(outdir) / "samples.json", samples)


def _unchecked(params, n_rows, schema):
    """The result of a stub run: nothing is read."""
    from c2sflow.inputs.labels import GROUP, Label, labels_to_text
    from c2sflow.inputs.parameters import check_parameters

    parameters, _faults = check_parameters(params, schema)
    if parameters["annotation"]["labels"]:
        parameters["annotation"] |= {"labels": None, "annotate": True}
    if parameters["generation"]["generate"]:
        parameters["generation"] |= {"organisms": "human", "tasks": 2}
    if parameters["annotation"]["labels"]:
        asked = [Label(), Label(level=GROUP)]
        parameters["annotation"]["labels"] = labels_to_text(asked)
    rows = range(n_rows)
    samples = [{"id": f"sample_{n}", "sample": f"sample {n}", "input": n, "obs": {}} for n in rows]
    return parameters, samples
