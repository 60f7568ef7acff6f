"""Training against the usual way: LoRA on the same examples, each in a process of its own.

The usual way is what a plain script does: transformers' own loss of the causal language model, with
the labels of the prompt masked, 8 examples a batch in random order, padded to the longest. c2sflow
makes logits of the answers alone, in parts, from batches of examples of about one length. Both take
the same steps of 8 examples in float32 with eager attention (half ask for a cell type, half for a
cell of 100 genes); rounds alternate, ratios are of medians. The usual way's mean loss is a token's,
ours an example's. (The big model takes steps of 4: of 8 the usual way needs over 24 GiB.)

python benchmarks/bench_training.py [--model demo|big] [--cells N] [--rounds 2]
"""

from __future__ import annotations

import time
from pathlib import Path

import click
from measure import report_one, save, synchronize
from models import alternate, demo_records, long_records

WAYS = ("usual", "c2sflow")
BATCH = {"demo": 8, "big": 4}
LABEL = "CD14+ Monocyte"


def examples_of(tokenizer, n_cells: int, long: bool = False) -> list:
    """Half of them a cell type, half a sentence, by turns; `long`: of about 1,000 genes."""
    import pandas as pd
    import pyarrow as pa

    from c2sflow.training.cells import TrainingCells
    from c2sflow.training.examples import ExampleMaker, Templates
    from c2sflow.training.tasks import Draw

    records = long_records(n_cells) if long else demo_records(n_cells)
    table = pd.DataFrame(records).assign(label=LABEL)
    sentences = pa.array(table.pop("cell_sentence"), pa.large_string())
    maker = ExampleMaker(
        TrainingCells(table, sentences), tokenizer, Templates(), context=8192,
        label_column="label", max_answer_genes=100,
    )  # fmt: skip
    tasks = ("cell_type", "generation")
    return maker([Draw(tasks[row % 2], row, row, row) for row in range(n_cells)])


def usual_loss(model, examples: list):
    """transformers' own loss of a padded batch."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    ids = [torch.from_numpy(example.input_ids).long().to(model.device) for example in examples]
    labels = [row.clone() for row in ids]
    for row, example in zip(labels, examples, strict=True):
        row[: example.n_prompt] = -100
    inputs = pad_sequence(ids, batch_first=True)
    mask = pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)
    wanted = pad_sequence(labels, batch_first=True, padding_value=-100)
    return model(input_ids=inputs, attention_mask=mask, labels=wanted).loss


def run(
    way: str,
    directory: Path,
    n_cells: int,
    batch_size: int,
    method: str = "lora",
    device: str = "cpu",
    long: bool = False,
) -> dict:
    """Seconds and losses of one pass over the examples, after a step that is not timed."""
    from c2sflow.model.batching import free_bytes
    from c2sflow.training.trainee import load_trainee, micro_tokens

    dtype = "float32" if device == "cpu" else "auto"
    trainee = load_trainee(method, directory, device=device, dtype=dtype)
    if way == "usual":
        trainee.model.set_attn_implementation("eager")
    examples = examples_of(trainee.tokenizer, n_cells, long)
    (optimizer,) = trainee.optimizers(1e-4)
    max_tokens = micro_tokens("auto", trainee, free_bytes(trainee.model.device))
    _take_step(way, trainee, optimizer, examples[:batch_size], max_tokens)
    synchronize(device)
    started, cpu, total = time.perf_counter(), time.process_time(), 0.0
    for start in range(0, n_cells, batch_size):
        step = examples[start : start + batch_size]
        total += _take_step(way, trainee, optimizer, step, max_tokens)
    synchronize(device)
    seconds = time.perf_counter() - started
    n_tokens = sum(example.input_ids.size for example in examples)
    return {
        "seconds": seconds,
        "cpu_seconds": time.process_time() - cpu,
        "tokens_per_second": n_tokens / seconds,
        "mean_loss": total / -(-n_cells // batch_size),
        "max_batch_tokens": max_tokens,
    }


def _take_step(way: str, trainee, optimizer, examples: list, max_tokens: int) -> float:
    """The loss of a step of the optimizer."""
    from c2sflow.training.loss import batch_targets, micro_batches, token_losses

    total, model = 0.0, trainee.model
    if way == "usual":
        with trainee.autocast():
            loss = usual_loss(model, examples)
        loss.backward()
        total += float(loss.detach())
    else:
        for batch in micro_batches(examples, max_tokens, trainee.attention, 0):
            targets = batch_targets(batch, examples)
            with trainee.autocast():
                losses = token_losses(model, batch, targets)
            loss = (losses * targets.weights.to(losses.device)).sum() / len(examples)
            loss.backward()
            total += float(loss.detach())
    optimizer.step()
    optimizer.zero_grad()
    return total


@click.command(help=__doc__)
@click.option("--model", type=click.Choice(["demo", "big"]), default="demo", show_default=True)
@click.option("--cells", type=int, help="By default 400 for demo, 16 for big.")
@click.option("--rounds", default=2, show_default=True)
@click.option("--one", nargs=2, type=str, hidden=True)
def main(model: str, cells: int | None, rounds: int, one: tuple[str, str] | None) -> None:
    """Measure both ways in turn and print their ratios."""
    cells = cells or {"demo": 400, "big": 16}[model]
    if one:
        report_one(lambda: run(one[0], Path(one[1]), cells, BATCH[model]))
        return
    found = alternate(__file__, model, cells, WAYS, rounds)
    names = ("seconds", "cpu_seconds", "peak_mib")
    ratios = {name: found["usual"][name] / found["c2sflow"][name] for name in names}
    print("usual / c2sflow", {name: round(value, 2) for name, value in ratios.items()})
    save(f"training_{model}", {"cells": cells, "rounds": rounds, "ways": found, "ratios": ratios})


if __name__ == "__main__":
    main()
