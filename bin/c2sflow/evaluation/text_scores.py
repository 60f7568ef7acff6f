"""BERTScore of generated text against reference text: with a biomedical encoder, BioBERT score.

Zhang et al. (2020), computed by torchmetrics: each token of one text is matched with the most
similar token of the other by the cosine of their contextual embeddings (last layer, no weights by
rarity, no rescaling); precision is the mean over the generated tokens, recall over those of the
reference, F1 their harmonic mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torchmetrics.functional.text.bert import bert_score
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.common.errors import UserError
from c2sflow.common.progress import progress_bar
from c2sflow.model.architectures.registry import family_of
from c2sflow.model.config import read_tokenizer
from c2sflow.model.files import read_encoder
from c2sflow.model.loading import loaded, loading_faults
from c2sflow.model.placement import resolve_device
from c2sflow.model.weights import weight_shapes

SCORES = ["precision", "recall", "f1"]


@dataclass
class Encoder:
    """A text encoder such as BERT, and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @property
    def max_length(self) -> int:
        """Tokens that it reads at most; the rest of a text is left out."""
        config = self.model.config
        longest = family_of(config.model_type).n_positions(config)
        return min(longest, self.tokenizer.model_max_length)


def load_encoder(directory: str | Path, device: str = "auto") -> Encoder:
    """Load an encoder from a local directory, from safetensors only, in float32.

    Raises
    ------
    UserError
        If the directory is not a usable model.
    """
    read_encoder(directory)
    tokenizer = read_tokenizer(directory)
    try:
        model, report = loaded(AutoModel, Path(directory), dtype=torch.float32)
    except (ValueError, OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"--text_encoder {directory}: cannot be loaded: {reason}") from None
    if faults := loading_faults(report, model, set(weight_shapes(directory))):
        raise UserError(f"--text_encoder {directory}: {'; '.join(faults)}")
    where = resolve_device(device)
    model.to(where)  # type: ignore[arg-type]  # transformers wraps it without its self
    return Encoder(model.eval(), tokenizer)


def bert_scores(
    encoder: Encoder, generated: Sequence[str], reference: Sequence[str], progress: bool = False
) -> pd.DataFrame:
    """BERTScore of each pair of texts.

    Each distinct pair is scored once, and alone. (torchmetrics 1.9 sorts generated texts and
    references by length, each for itself, and does not undo it: in a batch of unequal lengths
    pairs are mixed up, its issue 2728. Alone, no padding rounds the result either.)

    Parameters
    ----------
    generated, reference
        Texts, as many of the one as of the other.

    Returns
    -------
    precision, recall and f1, float64, a row a pair; NaN where a text has no token.
    """
    pairs = list(zip(generated, reference, strict=True))
    distinct = list(dict.fromkeys(pairs))
    found = {}
    with progress_bar(len(distinct), "pair", progress) as bar:
        for pair in distinct:
            found[pair] = _score(encoder, *pair)
            bar.update()
    values = [found[pair] for pair in pairs]
    return pd.DataFrame(np.array(values, dtype=float).reshape(-1, 3), columns=SCORES)


def _score(encoder: Encoder, generated: str, reference: str) -> list[float]:
    texts = [
        encoder.tokenizer(
            [text], truncation=True, max_length=encoder.max_length, return_tensors="pt"
        )
        for text in (generated, reference)
    ]
    # The scored tokens are between the first and the last, [CLS] and [SEP].
    if min(tokens["input_ids"].shape[1] for tokens in texts) <= 2:
        return [np.nan] * 3
    made, wanted = (
        {name: tokens[name] for name in ("input_ids", "attention_mask")} for tokens in texts
    )
    scores: dict[str, Any] = bert_score(
        made, wanted, model=encoder.model, device=encoder.model.device
    )
    return [float(scores[name]) for name in SCORES]
