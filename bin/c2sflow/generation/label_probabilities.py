"""From the likelihoods of answers to probabilities among them: normalised by length and prior.

The likelihood of an answer with its end is the model's own probability of exactly this answer. Of a
model that was trained on these answers, that is what to choose by, and any change makes it worse.
Of one that was not, three things part likelihood from belief: an answer of many tokens has less of
it, a frequent phrase has more of it whatever the cell is, and synonyms share it (Holtzman et al.,
"Surface form competition", EMNLP 2021). Hence:

- ``likelihood``: as it is;
- ``length``: the mean over the tokens and the end (Brown et al., NeurIPS 2020);
- ``prior``: divided by the likelihood of the same answer where the prompt names no gene, "N/A"
  (Zhao et al., "Calibrate before use", ICML 2021): by Bayes' rule what the genes speak for, all
  candidates being equally likely before. Length cancels, for it is the same on both sides;
- ``length_and_prior``: the mean over the tokens of that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax, xlogy

from c2sflow.inputs.label_schema import SCORES
from c2sflow.inputs.labels import CELL_TYPE

NO_GENES_TEXT = "N/A"
NEEDS_PRIOR = ("prior", "length_and_prior")
N_TOP = 3
DECIMALS = 4  # of the probabilities of the likeliest


def default_score(name: str) -> str:
    """How a label is scored that does not choose: cell types as they are."""
    return "likelihood" if name == CELL_TYPE else "prior"


def normalised(
    log_likelihoods: np.ndarray, score: str, lengths: np.ndarray, prior: np.ndarray | None
) -> np.ndarray:
    """Scores of the candidates, float64 (n_cells, n_candidates).

    Parameters
    ----------
    log_likelihoods
        float64 (n_cells, n_candidates), natural logarithms.
    score
        One of `SCORES`.
    lengths
        int (n_candidates,): tokens of each, with its end.
    prior
        Log-likelihoods without genes, of the same shape; None if `score` needs none.
    """
    if score not in SCORES:
        raise ValueError(f"score {score!r}: choose {', '.join(SCORES)}")
    scores = log_likelihoods
    if score in NEEDS_PRIOR:
        if prior is None:
            raise ValueError(f"score {score!r} needs the likelihoods without genes")
        scores = scores - prior
    return scores / lengths if score.startswith("length") else scores


def log_probabilities(scores: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Log-probabilities among the candidates, float64; NaN rows stay NaN.

    Parameters
    ----------
    temperature
        Divides the scores: above 1 the probabilities are closer to each other (Guo et al., ICML
        2017).
    """
    return log_softmax(scores / temperature, axis=1) if scores.size else scores


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Shannon entropy in nats of each row: 0 if one has all, ln(n) if all are equal; float64."""
    return -xlogy(probabilities, probabilities).sum(axis=1)


def top_texts(candidates: Sequence[str], probabilities: np.ndarray) -> list[str | None]:
    """The three likeliest of each row with their probabilities, as a JSON object; None of NaN."""
    n_top = min(N_TOP, len(candidates))
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :n_top]
    texts: list[str | None] = []
    for row, places in zip(probabilities, order.tolist(), strict=True):
        found = {candidates[n]: round(float(row[n]), DECIMALS) for n in places}
        known = not np.isnan(row).any()
        texts.append(json.dumps(found, ensure_ascii=False) if known else None)
    return texts
