"""Cell types said by the model: exact probabilities, whatever batch, order or engine."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders
from transformers import AutoModelForCausalLM

from c2sflow.common.errors import UserError
from c2sflow.generation import label_scoring as label_scores
from c2sflow.generation.annotate_shards import annotate_shards
from c2sflow.generation.annotation import annotate, label_paths
from c2sflow.generation.annotation_questions import Asking
from c2sflow.generation.annotation_warnings import one_type_warning
from c2sflow.generation.label_scoring import branches_of, score_paths
from c2sflow.inputs.lists import read_cell_types
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.sentences.prompts import ANNOTATION_PROMPT, fill
from c2sflow.sentences.variants import variants_of

ROOT = Path(__file__).resolve().parents[3]
# Labels that share beginnings, that begin others, and that the tokenizer cuts into many pieces.
LABELS = ["CD4+ T", "CD4+ T Reg", "CD4+", "B", "plasmacytoid dendritic, ö", "B cell"]


@pytest.fixture(scope="module")
def cells(records):
    return pd.DataFrame(records[:9])  # the sixth has no genes


@pytest.fixture(scope="module")
def expected(reference, tokenizer, records):
    """Log-probability of each label of each cell, one forward pass of eager transformers each."""
    end = reference.generation_config.eos_token_id
    scores = np.full((9, len(LABELS)), np.nan)
    for n, record in enumerate(records[:9]):
        if not record["n_genes"]:
            continue
        prompt = tokenizer(fill(ANNOTATION_PROMPT, record)).input_ids
        for m, label in enumerate(LABELS):
            ways = []
            for text in (label, f"{label}."):
                answer = [*tokenizer(f" {text}", add_special_tokens=False).input_ids, end]
                with torch.no_grad():
                    logits = reference(torch.tensor([prompt + answer])).logits[0].double()
                chances = logits.log_softmax(-1)
                place = len(prompt) - 1
                ways.append(sum(chances[place + i, t].item() for i, t in enumerate(answer)))
            scores[n, m] = np.logaddexp(*ways)
    return scores


def test_all_wordings_are_the_mean_of_each_ones_probabilities(model, tokenizer, cells):
    templates = variants_of(ANNOTATION_PROMPT, "annotation_prompt", "all")[:3]
    each = [
        annotate(model, tokenizer, cells, text, LABELS, progress=False).chances
        for text in templates
    ]
    made = annotate(model, tokenizer, cells, templates, LABELS, progress=False)
    there = cells["n_genes"].to_numpy() > 0
    np.testing.assert_allclose(made.chances[there].sum(axis=1), 1)
    for place in np.flatnonzero(there):
        mean = np.mean([chances[place] for chances in each], axis=0)
        row = made.table.iloc[place]
        assert row["c2s_cell_type"] == LABELS[mean.argmax()]
        assert row["c2s_cell_type_probability"] == pytest.approx(mean.max(), rel=1e-5)
        own = [chances[place, mean.argmax()] for chances in each]
        assert row["c2s_cell_type_spread"] == pytest.approx(np.std(own), rel=1e-4)
        assert row["c2s_cell_type_spread"] > 0
    empty = made.table[~there].iloc[0]
    assert empty["c2s_cell_type"] is None
    assert np.isnan(empty["c2s_cell_type_spread"])


def test_one_wording_is_annotated_as_without_variants(model, tokenizer, cells):
    alone = annotate(model, tokenizer, cells, ANNOTATION_PROMPT, LABELS, progress=False)
    made = annotate(model, tokenizer, cells, [ANNOTATION_PROMPT], LABELS, progress=False)
    pd.testing.assert_frame_equal(made.table, alone.table, check_exact=True)


def test_free_answers_are_those_of_the_first_wording(model, tokenizer, cells):
    templates = variants_of(ANNOTATION_PROMPT, "annotation_prompt", "all")[:2]
    alone = annotate(model, tokenizer, cells[:3], templates[0], progress=False)
    made = annotate(model, tokenizer, cells[:3], templates, progress=False)
    assert made.table.pop("c2s_cell_type_spread").isna().all()
    pd.testing.assert_frame_equal(made.table, alone.table)


def test_equals_plain_transformers(model, tokenizer, cells, expected):
    made = annotate(model, tokenizer, cells, ANNOTATION_PROMPT, LABELS, progress=False)
    there = cells["n_genes"].to_numpy() > 0
    best = expected[there].argmax(axis=1)
    chances = np.exp(expected[there])
    assert made.table["c2s_cell_type"][there].tolist() == [LABELS[n] for n in best]
    found = made.table["c2s_cell_type_probability"][there]
    np.testing.assert_allclose(found, chances.max(axis=1) / chances.sum(axis=1), rtol=1e-4)
    np.testing.assert_allclose(made.coverage[there], chances.sum(axis=1), rtol=1e-4)
    assert made.table["c2s_cell_type"][~there].tolist() == [None]
    assert np.isnan(made.table["c2s_cell_type_probability"][~there]).all()
    assert made.table["c2s_cell_type_probability"].dtype == np.float32


def test_a_label_with_and_without_a_full_stop_is_one(model, tokenizer, cells):
    """ "B." is an ending of "B" already: named twice, it would count twice."""
    assert read_cell_types("B, T cell., B., T  cell, sp.") == ["B", "T cell.", "sp."]
    with pytest.raises(UserError, match=r"'B' and 'B\.' are one answer; name one of them"):
        label_paths(tokenizer, ["T", "B", "B."])
    plain = annotate(model, tokenizer, cells, ANNOTATION_PROMPT, ["B", "T"], progress=False)
    dotted = annotate(model, tokenizer, cells, ANNOTATION_PROMPT, ["B.", "T"], progress=False)
    np.testing.assert_array_equal(dotted.coverage, plain.coverage)
    named = plain.table["c2s_cell_type"].replace("B", "B.")
    assert dotted.table["c2s_cell_type"].equals(named)


def test_every_label_has_its_exact_probability(model, tokenizer, cells, expected):
    prompts = [
        np.asarray(tokenizer(fill(ANNOTATION_PROMPT, record)).input_ids * (record["n_genes"] > 0))
        for record in cells.to_dict("records")
    ]
    paths = label_paths(tokenizer, LABELS)
    assert max(map(len, paths)) > 5
    end = [model.generation_config.eos_token_id]
    scores, stats = score_paths(model, prompts, paths, end, 0, progress=False)
    there = cells["n_genes"].to_numpy() > 0
    found = np.logaddexp(scores[there, ::2], scores[there, 1::2])
    np.testing.assert_allclose(found, expected[there], atol=1e-3)
    assert np.isnan(scores[~there]).all()
    # What labels share is computed once.
    assert stats.n_path_tokens < 8 * sum(map(len, paths)) / 2


@pytest.mark.parametrize("how", [{"max_rows": 1}, {"max_batch_tokens": 700}, {"max_rows": 4}])
def test_neither_batch_nor_order_matters(model, tokenizer, cells, how):
    whole = annotate(model, tokenizer, cells, ANNOTATION_PROMPT, LABELS, progress=False)
    turned = annotate(
        model, tokenizer, cells[::-1], ANNOTATION_PROMPT, LABELS[::-1], progress=False, **how
    )
    pd.testing.assert_frame_equal(
        turned.table[::-1].reset_index(drop=True), whole.table, rtol=1e-5, atol=1e-7
    )
    np.testing.assert_allclose(turned.coverage[::-1], whole.coverage, rtol=1e-5)


def test_prompts_are_taken_in_by_parts(model, tokenizer, cells, monkeypatch):
    whole = annotate(model, tokenizer, cells, ANNOTATION_PROMPT, LABELS, progress=False)
    monkeypatch.setattr(label_scores, "resolve_max_batch_tokens", lambda *_: 500)
    parts = annotate(model, tokenizer, cells, ANNOTATION_PROMPT, LABELS, progress=False)
    np.testing.assert_allclose(parts.coverage, whole.coverage, rtol=1e-5)


def test_out_of_memory_halves_the_batch(model, tokenizer, cells, monkeypatch):
    whole = annotate(model, tokenizer, cells, ANNOTATION_PROMPT, LABELS, progress=False)

    class Small(label_scores._Batch):
        def __init__(self, model, prompts, *rest):
            if len(prompts) > 2:
                raise torch.OutOfMemoryError
            super().__init__(model, prompts, *rest)

    monkeypatch.setattr(label_scores, "_Batch", Small)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    made = annotate(model, tokenizer, cells, ANNOTATION_PROMPT, LABELS, progress=False)
    np.testing.assert_allclose(made.coverage, whole.coverage, rtol=1e-5)
    monkeypatch.setattr(Small, "__init__", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError))
    with pytest.raises(UserError, match="alone does not fit"):
        annotate(model, tokenizer, cells, ANNOTATION_PROMPT, LABELS, progress=False)


def test_probabilities_of_all_single_tokens_and_the_end_add_up(model, tokenizer, cells):
    """What is scored is a distribution: all first tokens, whatever follows, have 1 together."""
    ids = np.asarray(tokenizer(fill(ANNOTATION_PROMPT, cells.iloc[0])).input_ids)
    every = list(range(model.config.vocab_size))
    scores, _ = score_paths(model, [ids], [[3, token] for token in every], every, 0, progress=False)
    alone, _ = score_paths(model, [ids], [[3]], every, 0, progress=False)
    # With every token as an end, a path's probability is that of its tokens alone.
    assert np.exp(scores).sum() == pytest.approx(np.exp(alone[0, 0]), rel=1e-4)


@given(st.sets(st.lists(st.integers(0, 2), min_size=1, max_size=5).map(tuple), min_size=1))
def test_the_tree_holds_every_path_once(paths):
    def spell(branches, before=()):
        for branch in branches:
            for said, number in branch.ends:
                yield number, (*before, *branch.tokens[:said])
            yield from spell(branch.branches, (*before, *branch.tokens))

    def check(branches):
        assert len({branch.tokens[0] for branch in branches}) == len(branches)
        for branch in branches:
            assert len(branch.branches) != 1  # a run goes on until there is a choice
            check(branch.branches)

    numbered = list(enumerate(sorted(paths)))
    tree = branches_of(numbered)
    check(tree)
    found = list(spell(tree))
    assert len(found) == len(numbered)
    assert dict(found) == dict(numbered)


@pytest.mark.parametrize(
    ("directory", "expected"), [("random_model", {"length"}), ("demo_model", {"length", "ok"})]
)
def test_free_answers_are_what_generate_says(directory, expected, cells, request):
    """One model that does not end its answers, and one that does."""
    path = request.getfixturevalue(directory)
    model = load_model(path, head=True, device="cpu", dtype="float32")
    tokenizer = load_tokenizer(path)
    reference = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    made = annotate(model, tokenizer, cells, ANNOTATION_PROMPT, progress=False)
    for n, record in enumerate(cells.to_dict("records")):
        if not record["n_genes"]:
            assert made.table["c2s_cell_type"][n] is None
            continue
        prompt = tokenizer(fill(ANNOTATION_PROMPT, record), return_tensors="pt")
        said = reference.generate(
            **prompt, max_new_tokens=40, do_sample=False,
            return_dict_in_generate=True, output_logits=True,
        )  # fmt: skip
        new = said.sequences[0, prompt.input_ids.shape[1] :]
        text = tokenizer.decode(new, skip_special_tokens=True).strip()
        label = text.splitlines()[0].rstrip(" .") if text else None
        status = "ok" if tokenizer.eos_token_id in new else "length"
        assert made.table["c2s_cell_type_status"][n] == status
        if status == "length":
            assert made.table["c2s_cell_type"][n] is None
            assert np.isnan(made.table["c2s_cell_type_probability"][n])
            continue
        assert made.table["c2s_cell_type"][n] == label
        chance = sum(
            logits[0].log_softmax(-1)[token].item()
            for logits, token in zip(said.logits, new, strict=True)
        )
        found = made.table["c2s_cell_type_probability"][n]
        assert found == pytest.approx(np.exp(chance), rel=1e-3, abs=1e-30)
    assert set(made.table["c2s_cell_type_status"]) - {"no_genes"} == expected
    assert np.isnan(made.coverage).all()


def test_the_demo_model_knows_blood_cells(demo_model, pbmc):
    """Held-out cells, from a list that does not help it and without one."""
    from c2sflow import Cell2Sen, Cell2SenConfig

    heldout = (demo_model / "heldout_cells.txt").read_text().split()[:60]
    cell2sen = Cell2Sen(
        Cell2SenConfig(model_path=demo_model, device="cpu", organism="human", dtype="float32")
    )
    dataset = cell2sen.process_data(pbmc[heldout])
    labels = [*pbmc.obs["bulk_labels"].cat.categories, "Neuron", "Hepatocyte"]
    chosen = cell2sen.get_annotations(dataset, labels)
    free = cell2sen.get_annotations(dataset, "none")
    own = cell2sen.get_annotations(dataset)
    truth = pbmc.obs.loc[heldout, "bulk_labels"].astype(str)
    assert chosen.index.equals(dataset.index)
    assert (chosen["c2s_cell_type"] == truth).mean() > 0.7
    assert (free["c2s_cell_type"] == truth).mean() > 0.7
    # Without a list the labels are those that it was trained on.
    trained = cell2sen.get_annotations(dataset, labels[:10])
    pd.testing.assert_frame_equal(own, trained)
    # Surer where it is right.
    right = chosen["c2s_cell_type"] == truth
    chances = chosen["c2s_cell_type_probability"]
    assert chances[right].mean() > chances[~right].mean()


def test_one_type_for_all_cells_is_a_warning():
    (line,) = one_type_warning(pd.Series(["NK cell"] * 5 + [None], dtype=object))
    assert line.startswith("all 5 cells are predicted to be 'NK cell': ")
    for labels in (["NK cell"] * 4, ["NK cell"] * 5 + ["B cell"], [None] * 9, []):
        assert not one_type_warning(pd.Series(labels, dtype=object))


def write_shard(folder, records):
    path = folder / "s.00000.parquet"
    pd.DataFrame(records).to_parquet(path)
    return path


def test_shard_to_files(tmp_path, random_model, records, model, tokenizer):
    shard = write_shard(tmp_path, records[:9])
    options = {"model": random_model, "device": "cpu", "dtype": "float32"}
    annotate_shards([shard], tmp_path, options, Asking("\n".join(LABELS)))
    table = pd.read_parquet(tmp_path / "s.00000.annotation.parquet")
    assert table["cell_id"].tolist() == [record["cell_id"] for record in records[:9]]
    direct = annotate(
        model, tokenizer, pd.DataFrame(records[:9]), ANNOTATION_PROMPT, LABELS, progress=False
    ).table
    pd.testing.assert_frame_equal(table[direct.columns], direct, rtol=1e-5)
    figures = json.loads((tmp_path / "s.00000.annotate.json").read_text())
    assert figures["n_cells"] == 9
    assert figures["n_labels"] == len(LABELS)
    assert any(text.startswith("1 cells have no cell type") for text in figures["warnings"])
    # Random weights do not say these labels.
    assert any("of the model's probability together" in text for text in figures["warnings"])


def test_script(tmp_path, random_model, records):
    shard = write_shard(tmp_path, records[:3])
    arguments = [
        f"--shard={shard}", f"--model={random_model}", "--cell-types=B, \"T, naive\"",
        "--device=cpu", "--annotation-prompt=Genes {cell_sentence} are of a",
    ]  # fmt: skip
    command = [sys.executable, ROOT / "bin" / "c2s", "annotate", *arguments]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    table = pd.read_parquet(tmp_path / "s.00000.annotation.parquet")
    assert set(table["c2s_cell_type"]) <= {"B", "T, naive"}


def test_labels_are_read(tmp_path):
    assert read_cell_types('B, "T, naive" ,B,,  NK  cell') == ["B", "T, naive", "NK cell"]
    file = tmp_path / "types.txt"
    file.write_text("\ufeffT, naive\n\nB\n", encoding="utf-8")
    assert read_cell_types("types.txt", file) == ["T, naive", "B"]
    assert read_cell_types("T, naive\nB") == ["T, naive", "B"]
    for text in ("B", "B,B", " , "):
        with pytest.raises(UserError, match="give at least two"):
            read_cell_types(text)
    with pytest.raises(UserError, match="1001 labels; the most is 1000"):
        read_cell_types("\n".join(map(str, range(1001))))
    with pytest.raises(UserError, match="cannot be read as text"):
        read_cell_types("types.txt", tmp_path)


def test_a_label_that_cannot_be_said_is_refused(model, cells, tokenizer):
    lossy = copy.deepcopy(tokenizer)  # the model's own, but that it loses a letter
    backend = lossy.backend_tokenizer
    backend.decoder = decoders.Sequence([backend.decoder, decoders.Replace("ö", "")])
    with pytest.raises(UserError, match="cannot represent 'plasmacytoid dendritic, ö'"):
        annotate(model, lossy, cells, ANNOTATION_PROMPT, LABELS, progress=False)
