"""Scores of a trained demo model over five orders of ties, as a section of its card."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from measured import sentence
from transformers import AutoModelForCausalLM, AutoTokenizer

from c2sflow.model.architectures.registry import family_of
from c2sflow.sentences.prompts import EMBEDDING_PROMPT
from demo_model.cells import Cells, demo_cells
from demo_model.evaluation import (
    Predictor,
    baselines,
    embed,
    filled,
    neighbour_scores,
    type_scores,
)

LOG = logging.getLogger(__name__)

TIE_SEEDS = (42, 43, 44, 45, 46)  # 42 is the pipeline's default
BEFORE = "## Training\n"

SECTION = """## The demo model

**A model to see the pipeline work in minutes on a laptop. It is not for science.** It knows 700
blood cells (`scanpy.datasets.pbmc68k_reduced().raw`; Zheng et al., 2017), 765 genes and 10 cell
types. For research use a published C2S-Scale model. It is made by one command,
`make demo-model FAMILY={model_type}`: `nextflow run . -profile demo_model`, whose model directory
this is, and the measurements below.
Another CPU or number of threads rounds differently: the same command gives a similar model, not the
same bytes. The recipe was chosen with Gemma-2 by trials within the training cells; its length by a
look at the held-out cells too, so a little optimism is in the figures: three times the tokens
(2,000 steps of 3,600) gave Gemma-2 5-NN 0.773 ± 0.016, predicted 0.827 ± 0.006, conversion
0.991 ± 0.009.

The {n_heldout} held-out cells (`heldout_cells.txt`), mean ± standard deviation over {n_seeds}
orders of ties (seeds {seeds}). With so many cells, the standard error of an accuracy is about 0.03.
{measured}

| Cell type | accuracy | balanced accuracy |
|---|---|---|
{type_rows}

| Conversion of {n_heldout} held-out cells to another type, greedy | repeats forbidden | free |
|---|---|---|
{conversion_rows}

“Right” is judged by a logistic regression on the ranks of real training cells; on real held-out
cells it is right in {judge}.

- The embedding does not clearly beat a logistic regression on the expression values, nor 50
  principal components.
- Free greedy answers repeat genes; forbid repeats (valid-gene decoding does).
- The cell that is converted is hardly used: answers share {own} of their genes with it, and {other}
  with another of its type. The answer is a typical cell of the target.
- The examples had at most {max_genes} genes, and human cells only. Other genes, organisms and
  perturbations run, but mean nothing.

"""


def _summary(values: list[float], digits: int = 3) -> str:
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"


def _row(name: str, scores: list[tuple[float, float]]) -> str:
    columns = zip(*scores, strict=True)
    cells = [_summary(c) if len(c) > 1 else f"{c[0]:.3f}" for c in map(list, columns)]
    return f"| {name} | {' | '.join(cells)} |"


def _type_rows(model, tokenizer, cells: Cells) -> str:
    """Table of cell type accuracies: the model, random weights, and the baselines."""
    labels, heldout, said, near, random = cells.labels, cells.heldout, [], [], []
    for seed in TIE_SEEDS:
        sentences = np.array(cells.sentences(seed), dtype=object)
        prompts = filled(EMBEDDING_PROMPT, sentences)
        said.append(type_scores(model, tokenizer, sentences[heldout], labels[heldout]))
        near.append(neighbour_scores(embed(model, tokenizer, prompts), labels, heldout))
        family = family_of(model.config.model_type)
        untrained = family.small_model(tokenizer, seed).eval()
        random.append(neighbour_scores(embed(untrained, tokenizer, prompts), labels, heldout))
        LOG.info("ties %d: said %.3f, 5-NN %.3f", seed, said[-1][0], near[-1][0])
    trivial = baselines(cells)
    return "\n".join(
        [
            _row("Predicted by the model (greedy)", said),
            _row("5-NN on its embedding (mean-pooled last layer)", near),
            _row("5-NN on the embedding of random weights", random),
            _row("5-NN on 50 principal components of log expression", [trivial["pca"]]),
            _row("Logistic regression on log expression", [trivial["logistic"]]),
            _row("Always the commonest type", [trivial["majority"]]),
        ]
    )


def _conversion_figures(model, tokenizer, cells: Cells) -> dict[str, str]:
    """Rows and figures of the conversions."""
    tables: list[dict[str, list[float]]] = []
    for no_repeat in (True, False):
        runs = [
            Predictor(model, tokenizer, cells, seed).conversion(no_repeat) for seed in TIE_SEEDS
        ]
        tables.append({key: [run[key] for run in runs] for key in runs[0]})
        LOG.info("conversion, no_repeat=%s: %s", no_repeat, runs[0])
    names = {
        "label right": "The answer is of the target type",
        "valid words": "Words that are demo genes",
        "repeated words": "Words that repeat",
        "ended": "Answers that end by themselves (within 200 tokens)",
        "words": "Words in an answer",
    }
    rows = [
        f"| {name} | {' | '.join(_summary(t[key], 1 if key == 'words' else 3) for t in tables)} |"
        for key, name in names.items()
    ]
    return {
        "conversion_rows": "\n".join(rows),
        "judge": _summary(tables[0]["label right, real cells"]),
        "own": f"{np.mean(tables[0]['overlap with own control']):.2f}",
        "other": f"{np.mean(tables[0]['overlap with another control']):.2f}",
    }


def with_demo_figures(card: str, directory: Path) -> str:
    """The card of the run that made the model, with what is measured here of its weights."""
    cells = demo_cells()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(
        directory, dtype="float32", attn_implementation="eager"
    ).eval()
    section = SECTION.format(
        n_heldout=cells.heldout.sum(),
        n_seeds=len(TIE_SEEDS),
        measured=sentence(),
        model_type=model.config.model_type,
        seeds=f"{TIE_SEEDS[0]}–{TIE_SEEDS[-1]}",
        max_genes=max(np.diff(cells.values.indptr)),
        type_rows=_type_rows(model, tokenizer, cells),
        **_conversion_figures(model, tokenizer, cells),
    )
    return card.replace(BEFORE, section + BEFORE, 1)
