"""Generated cells: which, what they may say, and from the tasks' files to the results."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.common.errors import UserError
from c2sflow.generation.generate_task import generate_task
from c2sflow.generation.plan import GenerationPlan, answer_template, organism_genes
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.sentences.prompts import GENERATION_PROMPT, UNCONDITIONAL_PROMPT, generation_template
from c2sflow.sentences.variants import variants_of
from c2sflow.sentences.wordings import WORDINGS

TYPES = ["CD19+ B", "CD14+ Monocyte"]
OPTIONS = {
    "device": "cpu", "dtype": "float32", "attention": "eager", "quantization": "none",
    "max_batch_tokens": "auto", "pooling": "mean", "embedding_layer": -1, "embedding_prompt": None,
    "valid_genes_only": True, "no_repeats": True, "max_new_tokens": 12, "seed": 1,
    "temperature": 1.0, "top_p": 1.0, "generated_genes": 100,
}  # fmt: skip


@given(
    st.integers(1, 9), st.integers(1, 3), st.integers(1, 4), st.integers(1, 20), st.integers(0, 3)
)
def test_tasks_hold_every_cell_once(n_each, n_organisms, n_types, size, more):
    organisms, types = [f"o{n}" for n in range(n_organisms)], [f"t{n}" for n in range(n_types)]
    plan = GenerationPlan(n_each, organisms, types, size)
    parts = [plan.cells(task) for task in range(plan.n_tasks)]
    assert all(0 < len(part) <= size for part in parts)
    cells = pd.concat(parts, ignore_index=True)
    assert len(cells) == plan.n_cells == len(cells.drop_duplicates())
    assert (cells.groupby(["organism", "c2s_cell_type"]).size() == n_each).all()
    # Of more cells these are the first of each type.
    larger = GenerationPlan(n_each + more, organisms, types, size)
    every = pd.concat([larger.cells(task) for task in range(larger.n_tasks)])
    assert cells.merge(every).shape == cells.shape


@given(
    st.integers(1, 9), st.integers(1, 3), st.integers(1, 3), st.integers(1, 20), st.integers(2, 5)
)
def test_groups_are_whole_and_the_tasks_change_none(n_each, n_organisms, n_types, size, together):
    organisms, types = [f"o{n}" for n in range(n_organisms)], [f"t{n}" for n in range(n_types)]
    plan = GenerationPlan(n_each, organisms, types, size, together, "tissue")
    parts = [plan.cells(task) for task in range(plan.n_tasks)]
    assert all(0 < len(part) <= max(size, together) for part in parts)
    cells = pd.concat(parts, ignore_index=True)
    alone = GenerationPlan(n_each, organisms, types, 1000).cells(0)
    named = cells.rename(columns={"c2s_tissue": "c2s_cell_type"})
    pd.testing.assert_frame_equal(named[list(alone)], alone, check_dtype=False)
    whole = GenerationPlan(n_each, organisms, types, 1000, together, "tissue").cells(0)
    pd.testing.assert_frame_equal(cells, whole)
    for _, group in cells.groupby(["organism", "c2s_tissue", "group"]):
        assert group["place"].tolist() == list(range(1, len(group) + 1))
        assert (group["num_cells"] == len(group)).all()
        assert len(group) == together or group["number"].iloc[-1] == n_each - 1
    # Of more cells these full groups are the same.
    more = GenerationPlan(n_each + 3, organisms, types, 1000, together, "tissue").cells(0)
    full = cells[cells["num_cells"] == together]
    assert full.merge(more).shape == full.shape


def test_genes_are_those_of_the_organism():
    samples = [
        {"id": "a", "organism": "human"}, {"id": "b", "organism": "mouse"},
        {"id": "c", "organism": "obs"}, {"id": "d", "organism": "human"},
    ]  # fmt: skip
    symbols = {"a": ["ACTB", "CD4"], "b": ["Actb"], "c": ["X"], "d": ["Actb", "IL2"]}
    summaries = {
        name: {"symbols": own, "genes": [symbol.upper() for symbol in own]}
        for name, own in symbols.items()
    }
    found = organism_genes(samples, summaries, "human")
    assert found == {"ACTB": "ACTB", "CD4": "CD4", "X": "X", "IL2": "IL2"}
    assert organism_genes(samples, summaries, "mouse") == {"ACTB": "Actb", "X": "X"}


@pytest.mark.parametrize(
    ("prompt", "typed", "message"),
    [
        ("{organism} cell:", True, r"lacks \{cell_type\}"),
        ("{cell_type} cell:", False, r"uses \{cell_type\}: name the types with --cell_types"),
        ("{cell_type} of {tissue}:", True, r"uses \{tissue\}; of generated cells only"),
    ],
)
def test_templates(prompt, typed, message):
    assert generation_template(None, True) == GENERATION_PROMPT
    assert generation_template(None, False) == UNCONDITIONAL_PROMPT
    assert "cell_type" not in UNCONDITIONAL_PROMPT
    with pytest.raises(UserError, match=message):
        generation_template(prompt, typed)


@pytest.mark.parametrize(
    ("prompt", "names", "message"),
    [
        ("{num_cells} {organism} cells:", "tissue", r"lacks \{tissue\}"),
        ("{organism} cells:", "", r"lacks \{num_cells\}"),
        ("{num_cells} of {tissue}:", "", r"uses \{tissue\}; of these cells only .*\(--tissues and"),
        ("{num_cells} {cell_type} of {tissue}:", "tissue", r"uses \{cell_type\}; of these cells"),
    ],
)
def test_templates_of_several_cells(prompt, names, message):
    """As cell2sentence words them; for a cell type, or nothing, without the tissue's phrase."""
    first = WORDINGS["tissue_generation"][0]
    assert answer_template(None, "tissue", True) == first
    for number, wording in enumerate(WORDINGS["tissue_generation"], 1):
        for kind in ("tissue", "cell_type", ""):
            template = answer_template(None, kind, True)
            (chosen,) = variants_of(template, "generation_prompt", number)
            assert ("{tissue}" in chosen) == ("tissue" in chosen) == (kind == "tissue")
            assert ("{cell_type}" in chosen) == (kind == "cell_type")
            assert chosen == wording or kind != "tissue"
            assert "  " not in chosen
    assert answer_template(None, "", True) == first.replace(" from a {tissue} tissue", "")
    with pytest.raises(UserError, match=message):
        answer_template(prompt, names, True)


@pytest.fixture(scope="module")
def run(tmp_path_factory, pbmc):
    """What GENERATE is given: one sample of 300 genes."""
    folder = tmp_path_factory.mktemp("generation")
    genes = pbmc.var_names[:300].tolist()
    summary = {"genes": [gene.upper() for gene in genes], "symbols": genes}
    (folder / "s.sentences.json").write_text(json.dumps(summary))
    (folder / "samples.json").write_text(json.dumps([{"id": "s", "organism": "human"}]))
    return folder, summary["genes"]


def generate(run, outdir, model, plan, task=0, **options):
    folder = run[0]
    options = OPTIONS | {"model": str(model)} | options
    generate_task(plan, task, folder / "samples.json", folder, outdir, options)
    cells = pd.read_parquet(outdir / f"{plan.task_name(task)}.generated.parquet")
    return cells, np.stack(cells["X_c2s"])


def test_cells_hold_genes_of_the_data_once_and_depend_on_no_task(run, demo_model, tmp_path):
    plan = GenerationPlan(5, ["human"], TYPES, 100)
    cells, vectors = generate(run, tmp_path / "one", demo_model, plan)
    for text, n in zip(cells["c2s_sentence"], cells["c2s_n_predicted_genes"], strict=True):
        genes = text.split()
        assert len(genes) == len(set(genes)) == n > 0
        assert set(genes) <= set(run[1])
    assert (cells[["c2s_invalid_genes", "c2s_duplicate_genes"]] == 0).all(axis=None)
    assert cells["c2s_sentence"].nunique() == 10
    assert np.isfinite(vectors).all()
    # Cut otherwise, and in another batch, each cell says the same.
    plan = GenerationPlan(5, ["human"], TYPES, 3)
    parts = [generate(run, tmp_path / "many", demo_model, plan, task)[0] for task in range(4)]
    again = pd.concat(parts, ignore_index=True)
    exact = [name for name in cells if name not in ("c2s_log_likelihood_valid", "X_c2s")]
    pd.testing.assert_frame_equal(again[exact], cells[exact])
    figures = json.loads((tmp_path / "one/generated.00000.generate.json").read_text())
    assert figures["n_predictions"] == 10
    cut = (cells["c2s_finish_reason"] == "length").sum()
    assert figures["n_cut_by_tokens"] == cut > 0
    assert figures["warnings"] == [
        f"{cut} of 10 answers were cut at 12 tokens: raise --max_new_tokens"
    ]


def test_answers_are_those_of_the_prompt_and_embedded_as_cells_are(run, demo_model, tmp_path):
    """Greedy: transformers says the same genes where it says any; and the vector is EMBED's."""
    import torch

    plan = GenerationPlan(1, ["human"], [TYPES[0]])
    prompt = GENERATION_PROMPT.replace("represent", "are")
    options = {"temperature": 0.0, "generation_prompt": prompt, "generated_genes": 7}
    options |= {"valid_genes_only": False, "max_new_tokens": 30}
    cells, vectors = generate(run, tmp_path, demo_model, plan, **options)
    tokenizer = load_tokenizer(demo_model)
    model = load_model(demo_model, head=True, device="cpu", dtype="float32", attention="eager")
    asked = (
        "Generate a list of 7 genes in order of descending expression which are a human cell of "
        f"cell type {TYPES[0]}.\nCell sentence:"
    )
    ids = tokenizer(asked, return_tensors="pt")
    with torch.no_grad():
        said = model.generate(**ids, max_new_tokens=30, do_sample=False)[
            0, ids.input_ids.shape[1] :
        ]
    words = tokenizer.decode(said, skip_special_tokens=True).split()
    known = [word for word in dict.fromkeys(words) if word in set(run[1])]
    row = cells.iloc[0]
    assert row["c2s_sentence"].split() == known
    assert len(known) > 3
    n_words = row["c2s_n_predicted_genes"] + row["c2s_invalid_genes"] + row["c2s_duplicate_genes"]
    assert n_words in (len(words), len(words) - 1)  # the last may be half a gene
    text = (
        f"The following is a list of {len(known)} gene names ordered by descending expression "
        "level in a human cell. Your task is to give the cell type which this cell belongs to "
        f"based on its gene expression.\nCell sentence: {' '.join(known)}.\n"
        "The cell type corresponding to these genes is:"
    )
    with torch.no_grad():
        states = model.model(**tokenizer(text, return_tensors="pt")).last_hidden_state
    np.testing.assert_allclose(vectors[0], states[0].mean(dim=0), rtol=1e-4, atol=1e-5)


def test_an_answer_that_does_not_fit_is_refused(run, demo_model, tmp_path):
    plan = GenerationPlan(1, ["human"])
    with pytest.raises(UserError, match="--max_new_tokens"):
        generate(run, tmp_path, demo_model, plan, max_new_tokens=10**6)


def test_vocabulary(run, demo_model, tmp_path):
    (tmp_path / "genes.txt").write_text("\n".join(run[1][:20]).lower())
    plan = GenerationPlan(3, ["human"])
    options = {"gene_vocabulary_file": tmp_path / "genes.txt"}
    cells, _ = generate(run, tmp_path, demo_model, plan, **options)
    assert {gene for text in cells["c2s_sentence"] for gene in text.split()} <= set(run[1][:20])


def test_groups_depend_on_no_task_and_what_they_lack_is_counted(run, random_model, tmp_path):
    """A model that was trained for nothing answers with more than one cell now and then."""
    how = {"temperature": 30.0, "max_answer_genes": 2, "max_new_tokens": None}
    plan = GenerationPlan(7, ["human"], ["blood", "lung"], 100, 3, "tissue")
    cells, vectors = generate(run, tmp_path / "one", random_model, plan, **how)
    there = (cells["c2s_finish_reason"] != "missing").to_numpy()
    assert 2 * 3 < there.sum() < len(cells) == 14
    assert there[cells["place"] == 1].all()
    assert (np.isfinite(vectors).all(axis=1) == there).all()
    assert ((cells["c2s_n_predicted_genes"] > 0) == there).all()
    for text in cells["c2s_sentence"]:
        genes = text.split()
        assert len(genes) == len(set(genes)) <= 2
        assert set(genes) <= set(run[1])
    figures = json.loads((tmp_path / "one/generated.00000.generate.json").read_text())
    assert figures["n_missing"] == (~there).sum()
    (line,) = [line for line in figures["warnings"] if "come back" in line]
    assert line.startswith(f"{(~there).sum()} of 14 cells did not come back: ")
    plan = GenerationPlan(7, ["human"], ["blood", "lung"], 5, 3, "tissue")  # a group a task
    parts = [generate(run, tmp_path / "m", random_model, plan, n, **how)[0] for n in range(6)]
    again = pd.concat(parts, ignore_index=True)
    exact = [name for name in cells if name not in ("c2s_log_likelihood_valid", "X_c2s")]
    pd.testing.assert_frame_equal(again[exact], cells[exact])


def test_merged_groups(tmp_path):
    from c2sflow.generation.tasks import write_answers
    from c2sflow.results.generated import merge_generated, summarise_generated

    texts = ["A C", "C", "", "A", "C A"]
    table = pd.DataFrame(
        {
            "organism": "human", "c2s_tissue": ["blood"] * 3 + ["lung"] * 2,
            "number": [0, 1, 2, 0, 1],
            "group": [0, 0, 1, 0, 0], "place": [1, 2, 1, 1, 2], "c2s_sentence": texts,
            "c2s_n_predicted_genes": [len(t.split()) for t in texts], "c2s_invalid_genes": 0,
            "c2s_duplicate_genes": 0,
            "c2s_finish_reason": ["eos", "length", "missing", "eos", "eos"],
            "c2s_log_likelihood": -2.0,
        }
    )  # fmt: skip
    write_answers(tmp_path / "0.parquet", table, np.zeros((5, 2), np.float32))
    var, fit = pd.DataFrame(index=["A", "C"]), {"slope": -1.0, "intercept": 2.0}
    target, columns = tmp_path / "made.h5ad", {"human": {"A": 0, "C": 1}}
    obs = merge_generated([(tmp_path / "0.parquet", 5)], columns, var, fit, target, {})
    made = ad.read_h5ad(target)
    assert list(made.obs_names) == ["blood|0", "blood|1", "lung|0", "lung|1"]
    assert list(made.obs["c2s_tissue"]) == ["blood", "blood", "lung", "lung"]
    assert list(made.obs["c2s_group"]) == ["blood|group_00000"] * 2 + ["lung|group_00000"] * 2
    assert list(made.obs["c2s_group_place"]) == [1, 2, 1, 2]
    assert (made.X.toarray() > 0).tolist() == [
        [True, True],
        [False, True],
        [True, False],
        [True] * 2,
    ]
    assert "c2s_cell_type" not in made.obs
    summary = summarise_generated(obs, 3)
    assert summary[["c2s_tissue", "n_cells", "n_groups", "n_missing"]].to_numpy().tolist() == [
        ["blood", 2, 1, 1], ["lung", 2, 1, 1],
    ]  # fmt: skip
    assert summary["truncated_fraction"].tolist() == [0.5, 0]


def test_merged(tmp_path):
    from c2sflow.generation.tasks import write_answers
    from c2sflow.results.generated import merge_generated, summarise_generated

    def rows(organism, kind, texts):
        return pd.DataFrame(
            {
                "organism": organism, "c2s_cell_type": kind, "number": range(len(texts)),
                "c2s_sentence": texts, "c2s_n_predicted_genes": [len(t.split()) for t in texts],
                "c2s_invalid_genes": 1, "c2s_duplicate_genes": 0, "c2s_finish_reason": "eos",
                "c2s_log_likelihood": -2.0,
            }
        )  # fmt: skip

    tables = [rows("human", "B", ["A C", ""]), rows("mouse", "it's T", ["A"])]
    tasks = []
    for n, table in enumerate(tables):
        path = tmp_path / f"{n}.parquet"
        write_answers(path, table, np.full((len(table), 2), n, np.float32))
        tasks.append((path, len(table)))
    columns = {"human": {"A": 0, "C": 2}, "mouse": {"A": 1}}
    var = pd.DataFrame(index=["A", "a", "C"])
    fit, target = {"slope": -0.5, "intercept": 2.0}, tmp_path / "c2s_generated.h5ad"
    obs = merge_generated(tasks, columns, var, fit, target, {"seed": 1})
    adata = ad.read_h5ad(target)
    second = 2 - 0.5 * np.log10(2)
    expected = [[2, 0, second], [0, 0, 0], [0, 2, 0]]
    np.testing.assert_allclose(adata.X.toarray(), expected, rtol=1e-6)
    assert adata.obsm["X_c2s"].tolist() == [[0, 0], [0, 0], [1, 1]]
    assert list(adata.obs_names) == ["human|B|0", "human|B|1", "mouse|it's T|0"]
    assert list(adata.obs["c2s_cell_type"]) == ["B", "B", "it's T"]
    table = summarise_generated(obs)
    assert table["n_cells"].tolist() == [2, 1]
    assert table["invalid_fraction"].tolist() == [2 / 4, 1 / 2]
    with pytest.raises(UserError, match=r"0.parquet holds 2 generated cells instead of 3"):
        merge_generated([(tasks[0][0], 3)], columns, var, fit, target, {})
    (tmp_path / "0.parquet").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"0.parquet is missing or broken"):
        merge_generated(tasks, columns, var, fit, target, {})


def test_cells_of_no_type_have_no_type(tmp_path):
    from c2sflow.generation.tasks import write_answers
    from c2sflow.results.generated import merge_generated

    table = pd.DataFrame(
        {
            "organism": "human", "c2s_cell_type": "", "number": [0, 1], "c2s_sentence": "A",
            "c2s_n_predicted_genes": 1, "c2s_invalid_genes": 0, "c2s_duplicate_genes": 0,
            "c2s_finish_reason": "eos", "c2s_log_likelihood": -2.0,
        }
    )  # fmt: skip
    write_answers(tmp_path / "0.parquet", table, np.zeros((2, 2), np.float32))
    var, fit = pd.DataFrame(index=["A"]), {"slope": -1.0, "intercept": 1.0}
    target = tmp_path / "made.h5ad"
    merge_generated([(tmp_path / "0.parquet", 2)], {"human": {"A": 0}}, var, fit, target, {})
    made = ad.read_h5ad(target)
    assert list(made.obs_names) == ["generated|0", "generated|1"]
    assert "c2s_cell_type" not in made.obs
