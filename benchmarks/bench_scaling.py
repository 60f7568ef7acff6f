"""How embedding grows with the number of cells and with the length of a sentence (demo model).

Time per token should not depend on the number of cells, and little on the length; eager attention,
whose matrices grow with the square of the length, stands beside it.

python benchmarks/bench_scaling.py
"""

from __future__ import annotations

import click
from measure import report_one, run_one, save
from models import DEMO, demo_records, long_records

CELLS = (100, 200, 400, 700)
GENES = (100, 250, 500, 1000, 2000)
TOKENS = 60_000  # of each length: about as many


def embed(records: list[dict], attention: str) -> dict:
    """Figures of one run; a first small one warms up."""
    from c2sflow.model.embedding import embed_cells
    from c2sflow.model.loading import load_model, load_tokenizer
    from c2sflow.sentences.prompts import EMBEDDING_PROMPT

    tokenizer = load_tokenizer(DEMO)
    model = load_model(DEMO, head=False, device="cpu", attention=attention)
    embed_cells(model, tokenizer, EMBEDDING_PROMPT, records[:8], progress=False)
    stats = embed_cells(model, tokenizer, EMBEDDING_PROMPT, records, progress=False).stats
    return {
        "tokens": stats.n_tokens,
        "microseconds_per_token": 1e6 * stats.seconds / stats.n_tokens,
    }


@click.command(help=__doc__)
@click.option("--one", nargs=3, type=str, hidden=True)
def main(one: tuple[str, str, str] | None) -> None:
    """Measure each size in a process of its own."""
    if one:
        kind, number, attention = one[0], int(one[1]), one[2]
        if kind == "cells":
            records = demo_records(number)
        else:
            records = long_records(max(2, TOKENS // number), number)
        report_one(lambda: embed(records, attention))
        return
    figures: dict[str, dict] = {"cells": {}, "genes": {}}
    for kind, numbers in (("cells", CELLS), ("genes", GENES)):
        for number in numbers:
            ways = {
                attention: run_one(__file__, "--one", kind, number, attention)
                for attention in ("blockwise", "eager")
            }
            figures[kind][number] = ways
            print(kind, number, *(
                f"{name}: {made['microseconds_per_token']:.1f} us a token, "
                f"{made['peak_mib']:.0f} MiB;" for name, made in ways.items()
            ), flush=True)  # fmt: skip
    save("scaling", figures)


if __name__ == "__main__":
    main()
