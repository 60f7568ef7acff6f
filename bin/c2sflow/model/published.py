"""What the published models were trained with, by Hugging Face id: see `c2sflow.model.trained`.

Sources: the model zoo of cell2sentence (README of its repository), the cards on the hub, seen in
November 2026. A model of "many tasks" has no list of them here: what is not known is not warned of.
"""

from __future__ import annotations

from c2sflow.model.architectures import gemma2, gpt_neox

GEMMA, GPT_NEOX = gemma2.FAMILY.model_types[0], gpt_neox.FAMILY.model_types[0]
PUBLISHED: dict[str, dict] = {
    "vandijklab/C2S-Scale-Gemma-2-2B": {"family": GEMMA},
    "vandijklab/C2S-Scale-Gemma-2-27B": {"family": GEMMA},
    "vandijklab/C2S-Scale-Pythia-1b-pt": {"family": GPT_NEOX},
    "vandijklab/C2S-Pythia-410m-cell-type-prediction": {
        "family": GPT_NEOX,
        "max_genes": 200,
        "tasks": ["cell_type"],
    },
    "vandijklab/C2S-Pythia-410m-cell-type-conditioned-cell-generation": {
        "family": GPT_NEOX,
        "max_genes": 200,
        "max_answer_genes": 200,
        "tasks": ["generation"],
    },
    "vandijklab/C2S-Pythia-410m-diverse-single-and-multi-cell-tasks": {
        "family": GPT_NEOX,
        "max_genes": 200,
        "max_answer_genes": 200,
        "tasks": ["cell_type", "generation", "tissue", "tissue_generation", "interpretation"],
    },
    "vandijklab/pythia-160m-c2s": {
        "family": GPT_NEOX,
        "tasks": ["cell_type", "generation"],
    },
}
