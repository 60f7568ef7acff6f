"""Check that a model is complete, and describe it.

Writes model.json (id, revision, digest, shape) and model.log, or all faults to faults.txt.
"""

import click


@click.command(help=__doc__)
@click.option("--model-dir", type=click.Path(exists=True, file_okay=False), help="Model directory.")
@click.option("--text-encoder-dir", type=click.Path(exists=True, file_okay=False))
@click.option("--model", required=True, help="Hub id, path or 'demo', as the user gave it.")
@click.option("--prompts", default="{}", help="JSON: prompts by option.")
@click.option("--outdir", default=".", help="Gets model.json and model.log, or faults.txt.")
def main(model_dir, text_encoder_dir, model, prompts, outdir):
    """Parse, call the library, write."""
    import json
    from pathlib import Path

    from c2sflow.common.files import write_json
    from c2sflow.model.describe import check_and_describe

    outdir = Path(outdir)
    record, faults, log = check_and_describe(
        model_dir, text_encoder_dir, model, json.loads(prompts)
    )
    if faults:
        (outdir / "faults.txt").write_text(faults.text("of the model"))
        return
    write_json(outdir / "model.json", record)
    (outdir / "model.log").write_text(log)
