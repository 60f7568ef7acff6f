"""Texts about groups of cells: what the model itself writes, from file to file."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from c2sflow.common.errors import UserError
from c2sflow.generation.interpret_shard import interpret_shard
from c2sflow.generation.interpretation import interpret, interpretation_warnings
from c2sflow.sentences.groups.prompts import INTERPRETATION_PROMPT
from c2sflow.sentences.groups.text import join_sentences
from c2sflow.sentences.prompts import fill


@pytest.fixture(scope="module")
def groups(records):
    """Five groups of one to four cells, of some genes each."""
    full = [record for record in records if record["n_genes"]]
    made = []
    for number in range(5):
        own = full[3 * number : 3 * number + 1 + number % 4]
        texts = [" ".join(record["cell_sentence"].split()[:15]) for record in own]
        made.append(
            {
                "cell_id": f"g{number}", "sample": "s", "organism": "human",
                "num_cells": len(own), "cell_sentence": join_sentences(texts),
                "n_genes": max(len(text.split()) for text in texts),
            }
        )  # fmt: skip
    return made


def test_as_transformers_writes(model, reference, tokenizer, groups):
    table, stats = interpret(model, tokenizer, groups, INTERPRETATION_PROMPT, 12, progress=False)
    for record, text in zip(groups, table["c2s_interpretation"], strict=True):
        ids = torch.tensor([tokenizer(fill(INTERPRETATION_PROMPT, record))["input_ids"]])
        with torch.no_grad():
            made = reference.generate(ids, max_new_tokens=12, do_sample=False)
        expected = tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True).strip()
        assert (text or "") == expected
    assert stats.n_new_tokens <= 5 * 12
    one, _ = interpret(
        model, tokenizer, groups, INTERPRETATION_PROMPT, 12, max_rows=1, progress=False
    )
    pd.testing.assert_frame_equal(one, table)


def test_from_file_to_file(random_model, groups, tmp_path):
    path = tmp_path / "s.groups.00000.parquet"
    pd.DataFrame(groups).to_parquet(path)
    interpret_shard(path, tmp_path, {"model": random_model, "device": "cpu"}, max_tokens=6)
    table = pd.read_parquet(tmp_path / "s.groups.00000.interpretation.parquet")
    assert table["cell_id"].tolist() == [group["cell_id"] for group in groups]
    figures = json.loads((tmp_path / "s.groups.00000.interpret.json").read_text())
    n_cut = int((table["c2s_interpretation_status"] == "length").sum())
    assert n_cut > 0
    assert f"{n_cut} interpretations were cut at 6 tokens" in figures["warnings"][0]


def test_a_text_needs_room(model, tokenizer, groups):
    with pytest.raises(UserError, match="--interpretation_tokens 512: the model takes 512"):
        interpret(model, tokenizer, groups, INTERPRETATION_PROMPT, 512, progress=False)


def test_warnings_are_counts():
    status = np.array(["ok", "length", "length", "empty"])
    table = pd.DataFrame({"c2s_interpretation_status": status})
    assert [line.split()[0] for line in interpretation_warnings(table, 9)] == ["2", "1"]
