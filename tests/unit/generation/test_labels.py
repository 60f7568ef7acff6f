"""Several labels of each cell: each as if it were asked for alone, and normalised as it says."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax

from c2sflow.generation import label_likelihoods
from c2sflow.generation.annotate_shards import annotate_shards
from c2sflow.generation.annotation import Question, annotate_questions
from c2sflow.generation.annotation_questions import Asking
from c2sflow.generation.label_probabilities import normalised
from c2sflow.inputs.labels import Label, labels_to_text
from c2sflow.sentences.label_prompts import label_templates
from c2sflow.sentences.prompts import fill

LABELS = [
    Label(candidates=("CD4+ T", "B", "NK cell")),
    Label("tissue", candidates=("blood", "bone marrow", "lung"), score="likelihood"),
    Label("tissue_of_origin", candidates=("blood", "B"), score="length"),
    Label("disease", candidates=("healthy", "acute leukaemia"), score="prior"),
    Label("donor_sex", candidates=("male", "female"), score="length_and_prior"),
    Label("note", free=True),
    Label("remark", free=True),
]


@pytest.fixture(scope="module")
def cells(records):
    return pd.DataFrame(records[:9])  # the sixth has no genes


@pytest.fixture(scope="module")
def questions(random_model):
    return Asking().questions(LABELS, random_model)[0]


@pytest.fixture(scope="module")
def made(model, tokenizer, cells, questions):
    return annotate_questions(model, tokenizer, cells, questions, progress=False)


def plain_likelihood(reference, tokenizer, prompt, label):
    """By one forward pass of eager transformers for each ending."""
    ids, end = tokenizer(prompt).input_ids, reference.generation_config.eos_token_id
    ways, lengths = [], []
    for text in (label, f"{label}."):
        answer = [*tokenizer(f" {text}", add_special_tokens=False).input_ids, end]
        with torch.no_grad():
            logits = reference(torch.tensor([ids + answer])).logits[0].double()
        chances, place = logits.log_softmax(-1), len(ids) - 1
        ways.append(sum(chances[place + i, token].item() for i, token in enumerate(answer)))
        lengths.append(len(answer))
    return np.logaddexp(*ways), lengths[0]


def test_scores_equal_plain_transformers(reference, tokenizer, cells, made):
    record = cells.iloc[0].to_dict()
    for label in LABELS[:5]:
        (template,) = label_templates(label)
        found = [
            plain_likelihood(reference, tokenizer, fill(template, record), one)
            for one in label.candidates
        ]
        scores, lengths = map(np.array, zip(*found, strict=True))
        nothing = {**record, "cell_sentence": "N/A", "n_genes": 0}
        prior = np.array([
            plain_likelihood(reference, tokenizer, fill(template, nothing), one)[0]
            for one in label.candidates
        ])  # fmt: skip
        expected = {
            None: scores, "likelihood": scores, "length": scores / lengths,
            "prior": scores - prior, "length_and_prior": (scores - prior) / lengths,
        }[label.score]  # fmt: skip
        own = made[label.name]
        np.testing.assert_allclose(own.chances[0], softmax(expected), rtol=2e-3, atol=1e-6)
        np.testing.assert_allclose(own.coverage[0], np.exp(scores).sum(), rtol=1e-3)


def test_each_label_is_as_if_asked_alone(model, tokenizer, cells, questions, made):
    for one in questions:
        name = one.label.name
        alone = annotate_questions(model, tokenizer, cells, [one], progress=False)[name]
        pd.testing.assert_frame_equal(made[name].table, alone.table, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(made[name].coverage, alone.coverage, rtol=1e-4)


def test_a_sentence_goes_through_the_model_once_for_all_labels(
    model, tokenizer, cells, questions, monkeypatch
):
    """The built-in prompts share it; those of cell types have words of their own before it."""
    ran = []
    whole = label_likelihoods.score_paths

    def counted(model, input_ids, *rest, **how):
        ran.append(sum(ids.size for ids in input_ids))
        return whole(model, input_ids, *rest, **how)

    monkeypatch.setattr(label_likelihoods, "score_paths", counted)
    together = annotate_questions(model, tokenizer, cells, questions[1:4], progress=False)
    n_together, ran[:] = sum(ran), []
    for one in questions[1:4]:
        annotate_questions(model, tokenizer, cells, [one], progress=False)
    # One cell has so few genes that its question is the most of its prompt.
    assert n_together < 0.6 * sum(ran)
    assert together["tissue"].stats.n_prompt_tokens < 0.6 * sum(ran)


def test_prompts_of_a_full_context_share_it_too(model, tokenizer, cells, questions, monkeypatch):
    whole = annotate_questions(model, tokenizer, cells, questions[1:3], progress=False)
    monkeypatch.setattr(model.config, "max_position_embeddings", 90)
    cut = annotate_questions(model, tokenizer, cells, questions[1:3], progress=False)
    assert cut["tissue"].truncated.any()
    kept = ~cut["tissue"].truncated
    for name in ("tissue", "tissue_of_origin"):
        np.testing.assert_allclose(
            cut[name].chances[kept], whole[name].chances[kept], rtol=1e-3, atol=1e-6
        )
    there = cells["n_genes"].to_numpy() > 0
    assert np.isfinite(cut["tissue"].chances[there]).all()


def test_columns_of_a_label(made, cells):
    table = made["tissue"].table
    assert list(table) == [
        "c2s_tissue", "c2s_tissue_probability", "c2s_tissue_entropy", "c2s_tissue_top3",
        "c2s_tissue_status",
    ]  # fmt: skip
    there = cells["n_genes"].to_numpy() > 0
    for place in np.flatnonzero(there):
        row, chances = table.iloc[place], made["tissue"].chances[place]
        top = json.loads(row["c2s_tissue_top3"])
        assert next(iter(top)) == row["c2s_tissue"]
        assert sum(top.values()) == pytest.approx(1, abs=2e-4)  # of three candidates
        assert row["c2s_tissue_probability"] == pytest.approx(chances.max(), rel=1e-5)
        expected = -(chances * np.log(chances)).sum()
        assert row["c2s_tissue_entropy"] == pytest.approx(expected, rel=1e-4, abs=1e-6)
    empty = table[~there].iloc[0]
    assert empty["c2s_tissue"] is None
    assert empty["c2s_tissue_top3"] is None
    assert empty["c2s_tissue_status"] == "no_genes"
    free = made["note"].table
    assert free["c2s_note_entropy"].isna().all()
    assert set(free["c2s_note_status"]) <= {"ok", "length", "genes", "empty", "no_genes"}


def test_an_unlikely_label_is_missing_and_its_probability_kept(model, tokenizer, cells):
    label = Label("tissue", candidates=("blood", "lung", "skin"), score="length")
    (question,), _ = Asking().questions([label], "")
    sure = annotate_questions(model, tokenizer, cells, [question], progress=False)["tissue"].table
    chances = sure["c2s_tissue_probability"].dropna()
    least = float(chances.median())
    asking = Asking(min_probability=least)
    (question,), _ = asking.questions([label], "")
    made = annotate_questions(model, tokenizer, cells, [question], progress=False)["tissue"].table
    low = made["c2s_tissue_status"] == "low_probability"
    assert low.sum() == (chances < least).sum() > 0
    assert made.loc[low, "c2s_tissue"].isna().all()
    assert made.loc[made["c2s_tissue_status"] == "ok", "c2s_tissue"].notna().all()
    for name in ("probability", "entropy", "top3"):
        pd.testing.assert_series_equal(made[f"c2s_tissue_{name}"], sure[f"c2s_tissue_{name}"])
    # A label's own limit goes first.
    own = Label("tissue", candidates=label.candidates, min_probability=0.0)
    assert asking.questions([own], "")[0][0].label.min_probability == 0


def test_a_temperature_moves_probabilities_and_not_the_choice(model, tokenizer, cells):
    def asked(temperature):
        label = Label("tissue", candidates=("blood", "lung"), temperature=temperature)
        question = Question(label, tuple(label_templates(label)), label.candidates)
        return annotate_questions(model, tokenizer, cells, [question], progress=False)["tissue"]

    plain, warm = asked(1.0), asked(4.0)
    pd.testing.assert_series_equal(plain.table["c2s_tissue"], warm.table["c2s_tissue"])
    np.testing.assert_allclose(warm.chances, softmax(np.log(plain.chances) / 4, axis=1), rtol=1e-3)


def test_the_prior_undoes_what_an_answer_has_without_any_cell():
    """Surface form competition: a rare wording of the right answer, and a common wrong one."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 500)
    evidence = 3.0 * np.eye(4)[truth] + rng.normal(0, 0.5, (500, 4))
    lengths = np.array([2, 9, 4, 6])
    wording = -2.5 * lengths + rng.normal(0, 3, 4)  # what the text costs, whatever the cell is

    def right(score):
        scores = normalised(evidence + wording, score, lengths, np.broadcast_to(wording, (500, 4)))
        return (scores.argmax(axis=1) == truth).mean()

    assert right("likelihood") < 0.35  # the shortest answer for all
    assert right("prior") > 0.95
    assert right("prior") >= max(right("length"), right("length_and_prior"))


def test_a_shard_has_the_columns_of_every_label(tmp_path, random_model, cells, made):
    shard = tmp_path / "s.00000.parquet"
    cells.to_parquet(shard)
    options = {"model": random_model, "device": "cpu", "dtype": "float32"}
    annotate_shards([shard], tmp_path, options, labels=LABELS)
    table = pd.read_parquet(tmp_path / "s.00000.annotation.parquet")
    for label in LABELS:
        own = made[label.name].table
        pd.testing.assert_frame_equal(table[list(own)], own, rtol=1e-4, atol=1e-6)
        assert (f"{label.column}_scores" in table) == bool(label.candidates)
    scores = np.stack(table["c2s_tissue_scores"])
    there = cells["n_genes"].to_numpy() > 0
    np.testing.assert_allclose(np.exp(scores[there]).sum(axis=1), 1, rtol=1e-5)
    from c2sflow.data.label_tables import candidates_of, label_columns

    assert label_columns(table) == [label.column for label in LABELS]
    found = candidates_of(tmp_path / "s.00000.annotation.parquet")
    assert found == {lab.column: list(lab.candidates) for lab in LABELS if lab.candidates}
    figures = json.loads((tmp_path / "s.00000.annotate.json").read_text())
    assert figures["labels"]["disease"]["labels_from"] == "option"
    assert figures["labels"]["note"]["labels_from"] == "free"
    assert any("the candidates for tissue have" in line for line in figures["warnings"])
    assert labels_to_text(LABELS).count("\n") == 0
