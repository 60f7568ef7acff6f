"""The trie of valid genes: how long it takes to make, and what memory it needs.

Of 20,000 and 60,000 symbols, by Gemma-2's tokenizer and by a byte-level one: their tokens (once a
run), and the trie with the state of 64 rows that decode together.
"""

from __future__ import annotations

import tempfile
import time
import tracemalloc
from pathlib import Path

import click
from measure import forget_peak, memory_kib, report_one, run_one, save
from real_tokenizers import gemma2_tokenizer, gene_symbols, write_byte_level_tokenizer

ROWS = 64
GENES = 20_000, 60_000


def measure_one(tokenizer: str, n_genes: int) -> dict:
    """Seconds, by the clock and of the CPU, and MiB.

    MiB: what the process grows by at most, tokens and trie together; what Python and numpy take at
    most to make the trie; of its tensors; and of the rows' state.
    """
    from c2sflow.generation.gene_trie import GeneTrie
    from c2sflow.generation.logits import gene_tokens
    from c2sflow.model.config import load_tokenizer

    symbols = gene_symbols(n_genes)
    with tempfile.TemporaryDirectory() as folder:
        if tokenizer == "gemma2":
            directory = gemma2_tokenizer()
        else:
            directory = Path(folder)
            write_byte_level_tokenizer(symbols[:20_000], directory, 20_000)
        loaded = load_tokenizer(directory)
    before = forget_peak()
    started = time.perf_counter(), time.process_time()
    paths = list(gene_tokens(loaded, symbols).values())
    tokenized = time.perf_counter(), time.process_time()
    trie = GeneTrie(paths, [loaded.eos_token_id])
    made = time.perf_counter(), time.process_time()
    in_all = memory_kib("VmHWM") - before
    tracemalloc.start()
    GeneTrie(paths, [loaded.eos_token_id])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    state = trie.start(ROWS)
    tensors = [value for value in vars(trie).values() if hasattr(value, "nbytes")]
    return {
        "tokens_a_gene": sum(map(len, paths)) / len(paths),
        "nodes": len(trie.below),
        "seconds_tokens": tokenized[0] - started[0],
        "seconds_trie": made[0] - tokenized[0],
        "cpu_seconds_tokens": tokenized[1] - started[1],
        "cpu_seconds_trie": made[1] - tokenized[1],
        "mib_in_all": in_all / 1024,
        "mib_to_make": most / 2**20,
        "mib_trie": sum(tensor.nbytes for tensor in tensors) / 2**20,
        f"mib_state_of_{ROWS}_rows": state.left.nbytes / 2**20,
    }


@click.command()
@click.option("--one", type=(str, int), help="Measure one tokenizer and number of genes.")
def main(one: tuple[str, int] | None) -> None:
    """Write benchmarks/results/trie.json."""
    if one:
        report_one(lambda: measure_one(*one))
        return
    figures: dict[str, dict] = {}
    for tokenizer in ("gemma2", "byte_level"):
        for n_genes in GENES:
            found = run_one(__file__, "--one", tokenizer, n_genes)
            figures.setdefault(tokenizer, {})[str(n_genes)] = found
            print(tokenizer, n_genes, found, flush=True)
    save("trie", figures)


if __name__ == "__main__":
    main()
