"""The work of a plan, against the model's own tokenizer; and PLAN from file to file."""

import json
import shutil

import pandas as pd
import pytest
from click.testing import CliRunner
from transformers import AutoTokenizer

from c2sflow.inputs.perturbations import Treatment
from c2sflow.model.answer_limits import AnswerLength
from c2sflow.perturbation.planning import describe_plan, estimate_work, plan_predictions
from c2sflow.sentences.prompts import EMBEDDING_PROMPT, PERTURBATION_PROMPT, fill
from c2sflow.steps.plan import main


@pytest.fixture(scope="module")
def cells(records):
    return pd.DataFrame(records).assign(
        shard="s.00000", n_sentence_genes=[record["n_genes"] for record in records]
    )


@pytest.fixture(scope="module")
def plan(cells):
    return plan_predictions(cells, treatments=[Treatment(name, name, "") for name in "AB"])


def tokens(demo_model, template, cells, most=10**9):
    """Tokens of the prompts as transformers makes them; a cell without genes has no prompt."""
    tokenizer = AutoTokenizer.from_pretrained(demo_model)
    prompts = [fill(template, c | {"perturbation": "A"}) for c in cells.to_dict("records")]
    counts = [min(most, len(ids)) for ids in tokenizer(prompts)["input_ids"]]
    return sum(n for n, genes in zip(counts, cells["n_genes"], strict=True) if genes)


def test_tokens_are_those_of_the_prompts(demo_model, cells, plan):
    examples = list(cells["cell_sentence"])
    length = AnswerLength(100, n_tokens=50)
    work = estimate_work(plan, cells, examples, demo_model, PERTURBATION_PROMPT, length, 3)
    read = 6 * tokens(demo_model, PERTURBATION_PROMPT, cells)
    assert work.to_read == pytest.approx(read, rel=0.1)
    assert work.to_write == 24 * 2 * 3 * 50
    assert work.to_embed == pytest.approx(tokens(demo_model, EMBEDDING_PROMPT, cells), rel=0.1)


def test_no_prompt_is_longer_than_the_context(demo_model, cells, plan, tmp_path):
    config = json.loads((demo_model / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 100}))
    shutil.copy(demo_model / "tokenizer.json", tmp_path)
    work = estimate_work(
        plan,
        cells,
        list(cells["cell_sentence"]),
        tmp_path,
        PERTURBATION_PROMPT,
        AnswerLength(n_tokens=20),
    )
    assert work.to_read == pytest.approx(
        2 * tokens(demo_model, PERTURBATION_PROMPT, cells, 80), rel=0.1
    )


def test_answers_have_as_many_genes_as_they_may(demo_model, cells, plan):
    """In tokens of the cells' own genes; what the prompt leaves room for is by the longest ones."""
    examples = list(cells["cell_sentence"])
    words = {word for text in examples for word in text.split()} | {"LINC00115", "RP11-206L10.9"}
    work = estimate_work(
        plan, cells, examples, demo_model, PERTURBATION_PROMPT, AnswerLength(60), 2, words
    )
    assert (work.n_genes, work.tokens_per_gene) == (60, pytest.approx(1, abs=0.1))
    assert work.to_write == 24 * 2 * 2 * (round(60 * work.tokens_per_gene) + 1)
    assert "to write (answers of at most 60 genes)" in describe_plan(plan, work)[1]


def test_words(demo_model, cells, plan):
    work = estimate_work(plan, cells, ["CD3D CD8A"], demo_model, PERTURBATION_PROMPT)
    first, second = describe_plan(plan.iloc[:-3], work, 2)
    assert first == (
        "plan: 90 predictions: 2 perturbations of 22 to 23 cells x 2 answers; 23 different cells"
    )
    assert second.startswith(f"plan: about {work.to_read:,} tokens to read (1.0 per gene) and ")
    assert describe_plan(plan, work)[0].startswith("plan: 48 predictions: 2 perturbations of 24 ")


def test_script(cells, demo_model, tmp_path):
    obs = cells.assign(shard=[f"s.{n // 10:05d}" for n in range(24)])
    for name in ("cells", "sentences"):
        (tmp_path / name).mkdir()
    obs.to_parquet(tmp_path / "cells" / "s.obs.parquet")
    summary = {"examples": list(cells["cell_sentence"][:8]), "genes": ["CD3D", "LINC00115"]}
    (tmp_path / "sentences" / "s.sentences.json").write_text(json.dumps(summary))
    (tmp_path / "p.csv").write_text("perturbation,dose,cell_query\nA,1,n_genes > 50\nB,2,\n")
    arguments = [
        f"--cells-dir={tmp_path / 'cells'}", f"--sentences-dir={tmp_path / 'sentences'}",
        f"--model={demo_model}", f"--perturbations-file={tmp_path / 'p.csv'}", "--no-op=none",
        f"--outdir={tmp_path}",
    ]  # fmt: skip
    assert CliRunner().invoke(main, arguments, catch_exceptions=False).exit_code == 0
    written = [pd.read_parquet(path) for path in sorted((tmp_path / "plans").iterdir())]
    assert [table["shard"].unique().tolist() for table in written] == [
        ["s.00000"], ["s.00001"], ["s.00002"],
    ]  # fmt: skip
    together = pd.concat(written)
    assert together.groupby("condition").size().to_dict() == {
        "A, 1": (cells["n_genes"] > 50).sum(), "B, 2": 24,
    }  # fmt: skip
    counts = json.loads((tmp_path / "plan.json").read_text())
    assert counts == {f"s.{n:05d}": len(table) for n, table in enumerate(written)}
