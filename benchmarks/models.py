"""Models and cells of the benchmarks."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
from measure import ROOT, middle, run_one

DEMO = ROOT / "assets" / "demo_model"

# "big" is small enough for two cores, with the vocabulary of the published models, whose shapes
# (google/gemma-2-2b and -27b) the others have.
SHAPES = {
    "tiny": {  # to rehearse what is measured on a GPU
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32,
        "query_pre_attn_scalar": 32,
    },
    "big": {
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 8,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 96,
        "query_pre_attn_scalar": 96,
    },
    "2B": {
        "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
        "query_pre_attn_scalar": 256,
    },
    "27B": {
        "hidden_size": 4608, "intermediate_size": 36864, "num_hidden_layers": 46,
        "num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 128,
        "query_pre_attn_scalar": 144,
    },
}  # fmt: skip


@contextmanager
def random_model(name: str) -> Iterator[Path]:
    """Folder of a Gemma-2 of a shape of `SHAPES`, with random bfloat16 weights.

    Where the environment's RANDOM_MODELS names a folder, all scripts share those in it.
    """
    if shared := os.environ.get("RANDOM_MODELS"):
        if not (Path(shared) / name / "config.json").exists():
            write_random_model(name, Path(shared) / name)
        yield Path(shared) / name
        return
    with tempfile.TemporaryDirectory() as folder:
        write_random_model(name, Path(folder))
        yield Path(folder)


def gpu_missing(device: str) -> bool:
    """Whether a GPU is asked for and there is none: asked without torch, which takes seconds."""
    return device != "cpu" and shutil.which("nvidia-smi") is None


def write_random_model(name: str, directory: Path) -> None:
    """Write it as hub models are stored."""
    import torch
    from transformers import AutoTokenizer, Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(vocab_size=256_000, **SHAPES[name])
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        torch.set_default_dtype(torch.bfloat16)
        model = Gemma2ForCausalLM(config)
        torch.set_default_dtype(torch.float32)
    AutoTokenizer.from_pretrained(DEMO).save_pretrained(directory)
    model.save_pretrained(directory)


def demo_records(n_cells: int) -> list[dict]:
    """Cells of the demo as prompts need them."""
    from c2sflow.data.demo import demo_samples
    from c2sflow.sentences.ranking import cell_sentences, gene_words

    made = []
    for adata in demo_samples().values():
        words = gene_words(adata.var_names)
        for text, values in cell_sentences(adata.X, adata.obs_names, words):
            made.append({"cell_sentence": text, "n_genes": values.size, "organism": "human"})
    return made[:n_cells]


def long_records(n_cells: int, n_genes: int | None = None, median: int = 1000) -> list[dict]:
    """Sentences of the demo's genes, of one length or of lengths as full sentences have them.

    Lengths are log-normal about `median` (deviation 0.35), as the genes of cells in deep data.
    """
    words = sorted(
        {word for record in demo_records(700) for word in record["cell_sentence"].split()}
    )
    random = np.random.default_rng(0)
    lengths = np.exp(random.normal(np.log(median), 0.35, n_cells)).astype(int)
    made = []
    for length in lengths if n_genes is None else [n_genes] * n_cells:
        genes = random.choice(words, length)
        made.append({"cell_sentence": " ".join(genes), "n_genes": int(length), "organism": "human"})
    return made


def alternate(script: str, model: str, cells: int, ways: tuple[str, ...], rounds: int) -> dict:
    """Median figures of each way, every run in a process of its own, the ways in turn."""
    with nullcontext(DEMO) if model == "demo" else random_model(model) as directory:
        runs: dict[str, list] = {way: [] for way in ways}
        for _ in range(rounds):
            for way in ways:
                runs[way].append(
                    run_one(script, "--model", model, "--cells", cells, "--one", way, directory)
                )
                print(f"{way:20}", {k: round(v, 2) for k, v in runs[way][-1].items()}, flush=True)
    return {way: middle(made) for way, made in runs.items()}


if __name__ == "__main__":  # python benchmarks/models.py 2B: the one that the scripts share
    with random_model(sys.argv[1]) as made:
        print(made)
