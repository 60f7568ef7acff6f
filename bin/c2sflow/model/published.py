"""What the published models were trained with, by Hugging Face id: see `c2sflow.model.trained`.

Sources, seen in November 2026: the model zoo of cell2sentence (README of its repository) and the
cards on the hub. Organism words: cell2sentence 1.2.0 asks for "Homo sapiens" or "Mus musculus"
(``tasks.py``) and fills its templates from obs["organism"] of CELLxGENE (tutorials 2 to 8). A model
of "many tasks" has no list of them here: what is not known is not warned of.
"""

from __future__ import annotations

from c2sflow.model.architectures import gemma2, gpt_neox

SPECIES = {"human": "Homo sapiens", "mouse": "Mus musculus"}
GEMMA, GPT_NEOX = gemma2.FAMILY.model_types[0], gpt_neox.FAMILY.model_types[0]
PUBLISHED: dict[str, dict] = {
    "vandijklab/C2S-Scale-Gemma-2-2B": {"family": GEMMA, "organism_words": SPECIES},
    "vandijklab/C2S-Scale-Gemma-2-27B": {"family": GEMMA, "organism_words": SPECIES},
    "vandijklab/C2S-Scale-Pythia-1b-pt": {"family": GPT_NEOX, "organism_words": SPECIES},
    "vandijklab/C2S-Pythia-410m-cell-type-prediction": {
        "family": GPT_NEOX,
        "max_genes": 200,
        "tasks": ["cell_type"],
        "organism_words": SPECIES,
    },
    "vandijklab/C2S-Pythia-410m-cell-type-conditioned-cell-generation": {
        "family": GPT_NEOX,
        "max_genes": 200,
        "max_answer_genes": 200,
        "tasks": ["generation"],
        "organism_words": SPECIES,
    },
    "vandijklab/C2S-Pythia-410m-diverse-single-and-multi-cell-tasks": {
        "family": GPT_NEOX,
        "max_genes": 2048,  # of one cell: its card has 100 to 2,048, and 5 to 20 cells a prompt
        "tasks": ["cell_type", "generation", "tissue", "tissue_generation", "interpretation"],
        "organism_words": SPECIES,
    },
    # Its prompts are of an older form, which names no organism (cell2sentence-ft, templates.py).
    "vandijklab/pythia-160m-c2s": {
        "family": GPT_NEOX,
        "tasks": ["cell_type", "generation"],
    },
}
