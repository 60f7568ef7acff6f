"""Check that a model is complete, and describe it.

Writes model.json (id, revision, digest, shape) and model.log, or all faults to faults.txt.
"""

import click


@click.command(help=__doc__)
@click.option("--model-dir", type=click.Path(exists=True, file_okay=False), help="Model directory.")
@click.option("--text-encoder-dir", type=click.Path(exists=True, file_okay=False))
@click.option("--model", required=True, help="Hub id, path or 'demo', as the user gave it.")
@click.option("--prompts", default="{}", help="JSON: prompts by option.")
@click.option("--device", default="auto", help="Where it will run: auto, cpu, cuda or cuda:N.")
@click.option("--dtype", default="auto", help="Its number format there.")
@click.option("--quantization", type=click.Choice(["none", "nf4", "int8", "fp8"]), default="none")
@click.option("--gpus-per-task", type=click.IntRange(1), default=1, help="GPUs that it may have.")
@click.option("--here/--no-here", default=False, help="It will run on this machine.")
@click.option("--outdir", default=".", help="Gets model.json and model.log, or faults.txt.")
def main(
    model_dir, text_encoder_dir, model, prompts, device, dtype, quantization, gpus_per_task, here,
    outdir,
):  # fmt: skip
    """Parse, call the library, write."""
    import json
    from pathlib import Path

    from c2sflow.common.files import write_json
    from c2sflow.model.describe import Place, check_and_describe

    outdir = Path(outdir)
    record, faults, log = check_and_describe(
        model_dir, text_encoder_dir, model, json.loads(prompts),
        Place(device, dtype, quantization, gpus_per_task, here),
    )  # fmt: skip
    if faults:
        (outdir / "faults.txt").write_text(faults.text("of the model"))
        return
    write_json(outdir / "model.json", record)
    (outdir / "model.log").write_text(log)
