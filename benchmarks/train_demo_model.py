#!/usr/bin/env python
"""Train the bundled demo model on the demo cells, on a CPU, and measure it.

python benchmarks/train_demo_model.py --outdir assets/demo_model
"""
import logging, sys
from pathlib import Path
import click
sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "bin")]

@click.command()
@click.option("--outdir", type=click.Path(path_type=Path))
@click.option("--steps", default=2000)
@click.option("--fold", type=int)
@click.option("--threads", default=2)
@click.option("--pooled-weight", default=0.5)
@click.option("--seed", default=0)
@click.option("--batch", default=24)
def main(outdir, steps, fold, threads, pooled_weight, seed, batch):
    import torch
    from demo_model import cells as C, tokenizer as T, tasks, training, evaluation as E
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(threads)
    cells = C.demo_cells(); tr, he = C.split(cells.labels, fold)
    tok = T.make_tokenizer(cells.words, cells.types); tok.model_max_length = 8192
    model = training.make_model(tok, seed)
    print(model.num_parameters())
    info = training.train(model, tasks.ExampleStream(cells, tr, tok, seed), training.Recipe(steps, batch, pooled_weight, seed))
    print(info)
    model.to(torch.bfloat16)
    if outdir:
        model.save_pretrained(outdir); tok.save_pretrained(outdir)
        p = outdir/"tokenizer_config.json"; p.write_text(p.read_text().replace("TokenizersBackend", "PreTrainedTokenizerFast"))
        (outdir/"heldout_cells.txt").write_text("\n".join(cells.ids[he])+"\n")
        for f in outdir.iterdir(): f.chmod(0o644)
    model.float()
    for s in range(42, 45):
        se = cells.sentences(s)
        print(s, "knn", E.neighbour_scores(E.embed(model, tok, E.filled(E.EMBEDDING_PROMPT, se)), cells.labels, tr, he), "type", E.type_scores(model, tok, [se[i] for i in he], cells.labels[he]), flush=True)
    for nr in (False, True): print(E.conversion_scores(model, tok, cells, tr, he, 42, nr), flush=True)
    print(E.baselines(cells, tr, he))
main()
