"""Validation: what a run is given is understood, and every fault is told at once."""

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from making import SYMBOLS, cells
from steps_in_process import INPUT_SCHEMA, SCHEMA

from c2sflow.common.errors import Faults, UserError
from c2sflow.data.demo import write_demo
from c2sflow.data.genes.symbol_tables import COLUMN
from c2sflow.inputs.perturbations import read_perturbations
from c2sflow.perturbation.planning import plan_predictions
from c2sflow.sentences.no_ops import NoOps
from c2sflow.sentences.prompts import EMBEDDING_PROMPT, PERTURBATION_PROMPT, UNCONDITIONAL_PROMPT
from c2sflow.sentences.wordings import WORDINGS
from c2sflow.steps.validate import main
from c2sflow.validation.obs_columns import Targets
from c2sflow.validation.run import Staged, validate_run
from c2sflow.validation.step_options import step_options

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """The demo's samples, one good file, and files that are each bad in one way."""
    folder = tmp_path_factory.mktemp("inputs")
    write_demo(folder)
    made = {"good": cells(), "odd": cells(), "ensembl": cells(), "unknown": cells()}
    made["nan"], made["scaled"] = cells(), sc.datasets.pbmc68k_reduced()
    del made["scaled"].raw
    made["odd"].X = made["odd"].X.sqrt()
    made["layered"] = cells()
    made["layered"].layers = {"umis": made["layered"].X.copy()}
    sc.pp.normalize_total(made["layered"])
    sc.pp.log1p(made["layered"])
    made["mito"] = cells()
    made["mito"].X[:, SYMBOLS.index("MT-CO1")] = 5  # in every cell
    made["nan"].X[0, 0] = np.nan
    made["ensembl"].var_names = [f"ENSG{n:011}" for n in range(34)]
    made["unknown"].var_names = [f"q{n}" for n in range(34)]
    for name, data in made.items():
        data.write_h5ad(folder / f"{name}.h5ad")
    (folder / "broken.h5ad").write_bytes(b"no HDF5")
    shutil.copytree(ROOT / "assets/demo_model", folder / "model")
    (folder / "model" / "tokenizer.json").unlink()
    return folder


def validate(inputs, name="good", sheet=None, table=None, sets=None, symbols=None, **params):
    """Validate a run on one file, or on a samplesheet with these lines.

    `table` and `sets` are the text of a table of perturbations and of a GMT file, `symbols` is the
    path of a table of gene symbols.
    """
    files = {}
    params.setdefault("min_genes", 1)  # the cells of most files here have few genes
    if symbols is not None:
        params["gene_symbols"], files["gene_symbols_file"] = str(symbols), symbols
    for option, text in (("perturbations", table), ("gene_sets", sets)):
        if text is not None:
            path = inputs / f"my.{'csv' if option == 'perturbations' else 'gmt'}"
            path.write_text(text)
            params[option] = str(path)
            files[f"{option}_file"] = path
    if sheet is not None:
        path = inputs / "sheet.csv"
        path.write_text(sheet)
        named = [line.split(",")[1] for line in sheet.splitlines()[1:]]
        staged = [
            str(inputs / file) if file and (inputs / file).exists() else None for file in named
        ]
        params["input"] = "sheet.csv"
        return validate_run(params, Staged(staged, path, **files), SCHEMA, INPUT_SCHEMA)
    model = Path(str(params.get("model")))
    model_dir = inputs / model if (inputs / model).is_dir() else None
    path = inputs / f"{name}.h5ad"
    staged = Staged([str(path) if path.exists() else None], model_dir=model_dir, **files)
    return validate_run({"input": f"{name}.h5ad", **params}, staged, SCHEMA, INPUT_SCHEMA)


def test_demo(inputs, caplog):
    params = {
        "input": "demo",
        "label_column": "bulk_labels",
        "perturbations": "IFN-beta, TNF",
        "control": "bulk_labels == 'CD14+ Monocyte'",
        "max_cells_per_perturbation": "100",
        "shard_size": 200,
    }
    staged = [str(inputs / f"lane_{number}.h5ad") for number in (1, 2)]
    with caplog.at_level(logging.INFO):
        options, samples = validate_run(
            params, Staged(staged, inputs / "samplesheet.csv"), SCHEMA, INPUT_SCHEMA
        )
    assert options["perturbation"]["max_cells_per_perturbation"] == 100
    assert samples[1] == {
        "id": "lane_2",
        "sample": "lane_2",
        "input": 1,
        "organism": "human",
        "input_state": "lognormalized",
        "log_base": "e",
        "state_declared": False,
        "gene_symbols": None,
        "input_kind": "cells",
        "matrix": "X",
        "features": "genes",
        "genome": None,
        "n_obs": 350,
        "n_vars": 765,
        "obs": {},
    }
    assert caplog.messages == [
        "prompts call human cells “Homo sapiens”, mouse cells “Mus musculus”: of --model "
        "vandijklab/C2S-Scale-Gemma-2-2B, which was trained so",
        "lane_1: 350 cells x 765 genes, human, already log-normalised (natural log): "
        "not normalised again",
        "lane_1: the values before the natural log are whole multiples of the "
        "cell's smallest in 100 % of the cells",
        "lane_2: 350 cells x 765 genes, human, already log-normalised (natural log): "
        "not normalised again",
        "lane_2: the values before the natural log are whole multiples of the "
        "cell's smallest in 100 % of the cells",
        "plan: 2 samples, 700 cells, 4 shards of at most 200 cells",
        "plan: at most 200 perturbed cells to predict",
        "plan: at most 129 answers to no-ops, to compare with (--no_op none: none)",
    ]


def test_samplesheet_settings_win_over_parameters(inputs):
    _, samples = validate(
        inputs,
        sheet="sample,path,organism,input_state,donor\n"
        "a,good.h5ad,mouse,,d1\nb,odd.h5ad,,normalized,d2\n",
        organism="zebrafish",
    )
    assert [sample["organism"] for sample in samples] == ["mouse", "zebrafish"]
    assert [sample["input_state"] for sample in samples] == ["counts", "normalized"]
    assert [sample["obs"] for sample in samples] == [{"donor": "d1"}, {"donor": "d2"}]


@pytest.mark.parametrize(
    ("params", "n", "n_no_ops"),
    [
        ({"perturbations": "A,B"}, 80, 40),
        ({"perturbations": "A,B", "control": "condition == 'control'"}, 40, 20),
        ({"perturbation_column": "condition"}, 20, 20),
        ({"perturbation_column": "condition", "control": "condition == 'control'"}, 20, 20),
        ({"perturbation_column": "condition", "max_cells_per_perturbation": 3}, 3, 3),
        ({"table": "perturbation,cell_query,n_cells\nA,type == 'B',2\nB,score < 2,\n"}, 42, 40),
        ({"perturbations": "A,conversion to B", "max_cells_per_perturbation": 4}, 8, 4),
        (
            {"perturbations": "A,conversion to B", "max_cells_per_perturbation": 4,
             "label_column": "type"}, 8, 8,
        ),
        ({"perturbations": "A,B", "no_op": "none"}, 80, 0),
    ],
)  # fmt: skip
def test_planned_predictions(inputs, caplog, params, n, n_no_ops):
    with caplog.at_level(logging.INFO):
        validate(inputs, **params)
    line = f"plan: at most {n_no_ops} answers to no-ops, to compare with (--no_op none: none)"
    assert [text for text in caplog.messages if "plan: at most" in text] == [
        f"plan: at most {n} perturbed cells to predict", *[line][: n_no_ops],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        ({"no_op": "as {nothing}"}, "good (good.h5ad): --no_op: the prompt uses {nothing}, which"),
        ({"no_op": "as {"}, "--no_op: prompt template 'as {'"),
        ({"perturbations": "A,no-op: B"}, "perturbation 'no-op: B': names that begin with 'no-op"),
        (
            {"replicate_column": "donor"},
            "good (good.h5ad): --replicate_column donor: obs has no such column",
        ),
        ({"replicate_column": "shard"}, "--replicate_column shard is a name of c2sflow's own"),
    ],
)
def test_faults_of_no_ops_and_replicates(inputs, params, fault):
    with pytest.raises(UserError) as caught:
        validate(inputs, **{"perturbations": "A"} | params)
    assert f"1 fault in the input; nothing was run\n  1. {fault}" in str(caught.value)


@pytest.mark.parametrize(("wanted", "n"), [(12, 12), (9999, 40)])
def test_planned_attention_maps(inputs, caplog, wanted, n):
    with caplog.at_level(logging.INFO):
        validate(inputs, attention_maps=wanted, label_column="type")
    assert caplog.messages[-1] == f"plan: attention maps of at most {n} cells"


def test_planned_generation(inputs, caplog):
    with caplog.at_level(logging.INFO):
        options, _ = validate(inputs, generate=7, cell_types="B,T", temperature=1, shard_size=10)
    assert "plan: 14 cells to generate, of 2 cell types" in caplog.messages
    assert options["generation"]["organisms"] == "human"
    assert options["generation"]["tasks"] == 2
    assert options["annotation"]["cell_types"] == "B\nT"
    options, _ = validate(inputs, generate=1, cell_types="one type only")
    assert options["generation"]["tasks"] == 1
    options, _ = validate(
        inputs, generate=2, temperature=1,
        sheet="sample,path,organism\na,good.h5ad,mouse\nb,good.h5ad,human\n",
    )  # fmt: skip
    assert options["generation"]["organisms"] == "human\nmouse"
    assert "tasks" not in validate(inputs)[0]["generation"]


def test_planned_generation_of_groups(inputs, caplog):
    """Tasks hold whole answers; the prompt names what is asked for, and its tissues go along."""
    asked = {"generate": 7, "cells_per_answer": 3, "temperature": 1, "shard_size": 10}
    first = WORDINGS["tissue_generation"][0]
    with caplog.at_level(logging.INFO):
        options, _ = validate(inputs, **asked, tissues='blood,"lung, left"', prompt_variant=2)
    assert "plan: 14 cells to generate, of 2 tissues, 3 an answer" in caplog.messages
    assert options["generation"]["tissues"] == "blood\nlung, left"
    assert options["generation"]["tasks"] == 2
    assert options["generation"]["generation_prompt"] == WORDINGS["tissue_generation"][1]
    assert options["asked"]["generation_prompt"]["answer_cells"] == 3
    steps = step_options(options, SCHEMA)["generate"]
    assert (steps["tissues"], steps["cells_per_answer"]) == ("blood\nlung, left", 3)
    options, _ = validate(inputs, **asked, cell_types="B")
    template = first.replace("from a {tissue} tissue", "of cell type {cell_type}")
    assert options["asked"]["generation_prompt"]["template"] == template
    options, _ = validate(inputs, generate=3, cells_per_answer=3)  # greedy: one answer a prompt
    assert options["asked"]["generation_prompt"]["template"] == first.replace(
        " from a {tissue} tissue", ""
    )
    # With an annotation, --cell_types are its choice.
    options, _ = validate(inputs, **asked, tissues="blood", cell_types="B,T", annotate=True)
    assert options["annotation"]["cell_types"] == "B\nT"
    assert options["generation"]["tissues"] == "blood"
    with caplog.at_level(logging.INFO):
        validate(inputs, cells_per_answer=3, tissues="blood")
    assert "--cells_per_answer, --tissues: no effect without --generate" in caplog.messages


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        (
            {"generate": 3, "cells_per_answer": 2},
            "--generate 3: greedy answers to one prompt are all the same; give --temperature above "
            "0, or --generate 2",
        ),
        ({"generate": 1, "cells_per_answer": 1}, "--cells_per_answer 1: must be 2 or more"),
        (
            {"generate": 1, "tissues": "blood"},
            "--tissues blood: models generate cells of a tissue several at once; give --cells_per",
        ),
        (
            {"generate": 2, "cells_per_answer": 2, "tissues": "blood", "cell_types": "B"},
            "--tissues and --cell_types exclude one another: a prompt names the tissue of its",
        ),
        (
            {"generate": 2, "cells_per_answer": 2, "tissues": "no.txt"},
            "--tissues no.txt: no such file",
        ),
        (
            {"generate": 2, "cells_per_answer": 2, "generation_prompt": "{tissue} {num_cells}:"},
            "--generation_prompt: the prompt uses {tissue}; of these cells only",
        ),
        ({"generate": 2}, "--generate 2: greedy cells of one type are all the same; give --temp"),
        ({"generate": 0}, "--generate 0: must be 1 or more"),
        (
            {"generate": 200_000, "temperature": 1},
            "--max_predictions 100000: the run would predict 200000 cells (200000 of --generate)",
        ),
        (
            {"generate": 1, "embedding_prompt": "{type} {cell_sentence}"},
            "--generate: --embedding_prompt uses {type}, which a generated cell does not have",
        ),
        (
            {"generate": 1, "generation_prompt": "{cell_type}:"},
            "--generation_prompt: the prompt uses {cell_type}: name the types with --cell_types",
        ),
        (
            {"generate": 1, "cell_types": "B", "generation_prompt": "{organism}:"},
            "--generation_prompt: prompt template lacks {cell_type}",
        ),
        ({"generate": 1, "cell_types": "no.csv"}, "--cell_types no.csv: no such file"),
    ],
)
def test_faults_of_generation(inputs, params, fault):
    with pytest.raises(UserError) as caught:
        validate(inputs, **params)
    assert str(caught.value).startswith(f"1 fault in the input; nothing was run\n  1. {fault}")


def test_labels_of_attention_maps_are_not_of_our_own_names(inputs):
    with pytest.raises(UserError, match="--label_column n_genes is a name of c2sflow's own"):
        validate(inputs, attention_maps=3, label_column="n_genes")


def test_prompts_may_use_columns_of_obs_and_qc(inputs):
    validate(inputs, embedding_prompt="{cell_sentence} {condition} {organism} {total_counts}")


def test_context_of_the_data_is_in_every_prompt(inputs):
    context = "Blood {of} donors"
    options, _ = validate(
        inputs, dataset_context=context, annotate=True, perturbations="A", generate=1,
        perturbation_prompt="{cell_sentence} {perturbation} in {dataset_context}",
    )  # fmt: skip
    text = "Blood {{of}} donors"
    assert options["embedding"]["embedding_prompt"] == f"{text}\n{EMBEDDING_PROMPT}"
    assert options["annotation"]["annotation_prompt"] == f"{text}\n{EMBEDDING_PROMPT}"
    assert options["generation"]["generation_prompt"] == f"{text}\n{UNCONDITIONAL_PROMPT}"
    told = "{cell_sentence} {perturbation} in Blood {{of}} donors"
    assert options["perturbation"]["perturbation_prompt"] == told
    # Without the parameter it is a column like any other: of the samplesheet, for instance.
    sheet = "sample,path,dataset_context\na,good.h5ad,Blood\n"
    prompt = "{dataset_context}: {cell_sentence}"
    validate(inputs, sheet=sheet, embedding_prompt=prompt)
    with pytest.raises(UserError, match=r"uses \{dataset_context\}, which obs does not have"):
        validate(inputs, embedding_prompt=prompt)
    with pytest.raises(UserError, match=r"--generation_prompt: the prompt uses \{dataset_context"):
        validate(inputs, generate=1, generation_prompt="{dataset_context}:")


def test_prompts_have_the_wording_that_is_chosen(inputs, caplog):
    caplog.set_level("INFO")
    options, _ = validate(
        inputs, prompt_variant="3", annotate=True, generate=1, perturbations="A",
        dataset_context="Blood.",
    )  # fmt: skip
    third = f"Blood.\n{WORDINGS['cell_type'][2]}"
    assert options["embedding"]["embedding_prompt"] == third
    assert options["annotation"]["annotation_prompt"] == third
    untyped = WORDINGS["generation"][2].replace(" of cell type {cell_type}", "")
    assert options["generation"]["generation_prompt"] == f"Blood.\n{untyped}"
    assert options["perturbation"]["perturbation_prompt"] == f"Blood.\n{PERTURBATION_PROMPT}"
    assert step_options(options, SCHEMA)["embed"]["prompt_variant"] is None
    assert "15 times" not in caplog.text
    options, _ = validate(inputs, prompt_variant="all", annotate=True)
    steps = step_options(options, SCHEMA)
    assert steps["embed"]["prompt_variant"] == steps["annotate"]["prompt_variant"] == "all"
    assert steps["embed"]["embedding_prompt"] == EMBEDDING_PROMPT
    assert "all: 15 prompts a cell, 15 times the tokens and the time" in caplog.text
    options, _ = validate(inputs)
    assert step_options(options, SCHEMA)["embed"]["embedding_prompt"] is None


def test_a_published_models_defaults_are_known_before_it_is_fetched(inputs, caplog):
    caplog.set_level("INFO")
    model = "vandijklab/C2S-Pythia-410m-cell-type-prediction"
    options, _ = validate(inputs, model=model, annotate=True)
    assert step_options(options, SCHEMA)["sentences"]["max_genes"] == 200
    assert caplog.text.count(f"--max_genes 200: of --model {model}, which was trained so") == 1
    words = "prompts call human cells “Homo sapiens”, mouse cells “Mus musculus”"
    assert caplog.text.count(f"{words}: of --model {model}, which was trained so") == 1
    assert "is asked for" not in caplog.text
    options, _ = validate(inputs, model=model, max_genes=90, generate=1, perturbations="A")
    assert step_options(options, SCHEMA)["sentences"]["max_genes"] == 90
    assert f"--max_genes: as given; --model {model} was trained with 200" in caplog.text
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == 2
    assert all("and was trained for cell_type" in text for text in warned)
    options, _ = validate(inputs)  # of the default model nothing is known that changes a value
    assert step_options(options, SCHEMA)["sentences"]["max_genes"] is None


def test_a_models_own_prompts_are_its_defaults(inputs, tmp_path):
    own = "{cell_sentence}. Type:"
    folder = shutil.copytree(ROOT / "assets/demo_model", tmp_path / "own")
    record = {"max_genes": 50, "prompts": {"annotation_prompt": own}}
    (folder / "c2s_model.json").write_text(json.dumps(record))
    asked = {"model": str(folder), "annotate": True}
    options, _ = validate(inputs, **asked)
    assert options["annotation"]["annotation_prompt"] == own
    assert options["sentences"]["max_genes"] == 50
    options, _ = validate(inputs, **asked, annotation_prompt="{cell_sentence}?")
    assert options["annotation"]["annotation_prompt"] == "{cell_sentence}?"
    options, _ = validate(inputs, **asked, prompt_variant=2)
    assert options["annotation"]["annotation_prompt"] == WORDINGS["cell_type"][1]
    # A prompt of generation that names cell types is no default of a run that names none.
    record = {"prompts": {"generation_prompt": "{organism} {cell_type}:"}}
    (folder / "c2s_model.json").write_text(json.dumps(record))
    asked |= {"generate": 1}
    options, _ = validate(inputs, **asked, cell_types="B,T")
    assert options["generation"]["generation_prompt"] == "{organism} {cell_type}:"
    options, _ = validate(inputs, **asked)
    assert options["generation"]["generation_prompt"] is None
    (folder / "c2s_model.json").write_text('{"max_genes": 0}')
    with pytest.raises(UserError, match="max_genes must be a whole number"):
        validate(inputs, **asked)


def test_own_prompts_and_variants_exclude_one_another(inputs):
    own = "Type of {cell_sentence}?"
    with pytest.raises(UserError, match="--embedding_prompt and --prompt_variant all exclude"):
        validate(inputs, prompt_variant="all", embedding_prompt=own)
    with pytest.raises(UserError, match="--generation_prompt has 10 wordings"):
        validate(inputs, prompt_variant=11, generate=1)
    for wrong in ("16", "every", 0):
        with pytest.raises(UserError, match="prompt_variant") as error:
            validate(inputs, prompt_variant=wrong)
        assert str(error.value).startswith("1 fault in the input")


def test_empty_fields_of_prompts_are_told(inputs, caplog):
    data = cells()
    data.obs["tissue"] = ["blood", None] * 20
    data.obs["age"] = [63.0] * 39 + [np.nan]
    data.write_h5ad(inputs / "gaps.h5ad")
    with caplog.at_level(logging.INFO):
        validate(inputs, "gaps", embedding_prompt="{tissue} {type} {age} {cell_sentence}")
    told = [line for line in caplog.messages if "is empty" in line]
    assert told == [
        f"gaps (gaps.h5ad): obs['{name}'] is empty for {n} of 40 cells: their prompt has 'unknown'"
        for name, n in (("age", 1), ("tissue", 20))
    ]


def write_bulk(folder, identifiers=False):
    data = cells()
    data.X = data.X * 100_000
    if identifiers:
        data.var_names = [f"ENSG{n:011}.{n % 9}" for n in range(34)]
    table = data.to_df()
    (table.div(table.sum(axis=1), axis=0) * 1e6).to_csv(folder / "tpm.tsv", sep="\t")
    table.astype(int).to_csv(folder / "bulk.csv")
    data.write_h5ad(folder / "bulk.h5ad")


def test_bulk_and_cells_in_one_sheet(inputs, caplog):
    write_bulk(inputs)
    sheet = "sample,path,input_kind\nt,bulk.csv,\nc,good.h5ad,auto\nh,bulk.h5ad,bulk\n"
    with caplog.at_level(logging.INFO):
        _, samples = validate(inputs, sheet=sheet + "p,tpm.tsv,\n")
    assert [sample["input_kind"] for sample in samples] == ["bulk", "cells", "bulk", "bulk"]
    assert [sample["obs"]["input_kind"] for sample in samples] == ["bulk", "cells", "bulk", "bulk"]
    assert samples[3]["input_state"] == "normalized"
    assert "t: 40 bulk samples x 34 genes, human, raw counts" in caplog.messages
    assert caplog.messages[-1] == "plan: 4 samples, 160 rows"
    # Cells alone need no column that says so; rows of millions of counts are hardly cells.
    with caplog.at_level(logging.INFO):
        _, samples = validate(inputs, "bulk")
    assert samples[0]["obs"] == {}
    assert any("if these are bulk samples, use --input_kind bulk" in m for m in caplog.messages)
    with pytest.raises(UserError, match=r"input_kind tissue: must be one of auto, cells, bulk"):
        validate(inputs, sheet="sample,path,input_kind\nt,bulk.csv,tissue\n")


def test_identifiers_need_symbols_of_a_column_or_a_table(inputs, caplog):
    write_bulk(inputs, identifiers=True)
    sheet = "sample,path\nt,bulk.csv\nh,bulk.h5ad\nc,good.h5ad\n"
    with pytest.raises(UserError) as caught:
        validate(inputs, sheet=sheet)
    faults = str(caught.value).splitlines()[1:]
    assert "give a table of two columns, identifier and symbol: --gene_symbols symb" in faults[0]
    assert "add one and name it with --gene_symbols, or give a table" in faults[1]
    table = pd.DataFrame({"Gene stable ID": [f"ENSG{n:011}" for n in range(34)], "name": SYMBOLS})
    path = inputs / "it's symbols.tsv"
    table.to_csv(path, sep="\t", index=False)
    with caplog.at_level(logging.INFO):
        options, samples = validate(inputs, sheet=sheet, symbols=path)
    assert options["qc"]["gene_symbols"] == "it's symbols.tsv"
    # A sample whose genes are symbols needs no table.
    assert [sample["gene_symbols"] for sample in samples] == [COLUMN, COLUMN, None]
    assert "t: symbols of 34 of 34 genes from var['c2s_gene_symbol'], 0 of them repeated" in (
        caplog.messages
    )
    with pytest.raises(UserError, match=r"--gene_symbols no.tsv: no such file"):
        validate(inputs, gene_symbols="no.tsv")
    table.iloc[:5].to_csv(path, sep="\t", index=False)
    with pytest.raises(
        UserError, match=r"the table has symbols of 15% of the genes \(such as ENSG"
    ):
        validate(inputs, sheet=sheet, symbols=path)
    with pytest.raises(UserError, match="a table is for all: --gene_symbols"):
        validate(inputs, sheet="sample,path,gene_symbols\nt,bulk.csv,x.tsv\n")


def test_pseudobulk_is_planned(inputs, caplog):
    with caplog.at_level(logging.INFO):
        _, samples = validate(
            inputs, pseudobulk="type, condition", perturbations="A", control="condition == 'IFN'"
        )
    assert samples[0]["n_obs"] == 4
    assert samples[0]["obs"] == {"input_kind": "pseudobulk"}
    assert "good: 4 pseudobulk samples by type, condition" in caplog.messages
    assert "plan: at most 2 perturbed cells to predict" in caplog.messages
    write_bulk(inputs)
    sheet = "sample,path\nt,bulk.csv\nc,good.h5ad\n"
    _, samples = validate(inputs, sheet=sheet, pseudobulk="type")
    assert [sample["obs"]["input_kind"] for sample in samples] == ["bulk", "pseudobulk"]
    assert [sample["n_obs"] for sample in samples] == [40, 2]
    with caplog.at_level(logging.INFO):
        validate(inputs, "bulk", input_kind="bulk", pseudobulk="type")
    assert caplog.messages[-1] == "--pseudobulk: no effect with bulk samples only"


@pytest.mark.parametrize(
    ("name", "params", "fault"),
    [
        ("good", {"pseudobulk": "type,donor"}, "--pseudobulk donor: obs has no such column (has"),
        (
            "lane_1", {"pseudobulk": "bulk_labels"},
            "--pseudobulk sums raw counts, but X holds log-normalised values; give a file "
            "with raw counts",
        ),
        (
            "layered", {"pseudobulk": "type"},
            "--pseudobulk sums raw counts, but X holds log-normalised values; if another "
            "matrix holds them: --matrix layers/umis",
        ),
        # What differs within a group is no more.
        (
            "good",
            {"pseudobulk": "type", "embedding_prompt": "{condition} {cell_sentence}"},
            "the prompt uses {condition}, which obs does not have",
        ),
        (
            "good", {"pseudobulk": "type", "evaluation_key": "X_pca"},
            "--evaluation_key X_pca: obsm has no such array (has none)",
        ),
    ],
)  # fmt: skip
def test_faults_of_pseudobulk(inputs, name, params, fault):
    with pytest.raises(UserError) as caught:
        validate(inputs, name, **params)
    assert str(caught.value).startswith(
        f"1 fault in the input; nothing was run\n  1. {name} ({name}.h5ad): {fault}"
    )


TABLE = "perturbation,dose,vendor\nA,1,X\nA,2,Y\n"
NO_OPS = "plan: at most 40 answers to no-ops, to compare with (--no_op none: none)"
PROMPT = "{cell_sentence} {perturbation} {type} "


def test_prompts_may_use_columns_of_the_table(inputs):
    options, _ = validate(inputs, table=TABLE, perturbation_prompt=PROMPT + "{dose} {vendor}")
    assert options["perturbation"]["perturbations"] == "my.csv"  # where it lay is not told


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"table": TABLE}, []),
        (
            {"table": TABLE.replace("dose", "lot")},
            [
                "--perturbations my.csv, line 3: the prompt is the same for 'A, 2, Y' and "
                "'A, 1, X'; name the column that differs in --perturbation_prompt"
            ],
        ),
        ({"context": "type"}, ["--context: no effect without --gene_sets"]),
        (
            {"replicate_column": "condition"},
            [
                "--replicate_column condition: 2 in the cells to perturb: with fewer than 3 there "
                "are no intervals, ranks or p-values over them"
            ],
        ),
        (
            {"evaluate": False, "measured_column": "type"},
            ["--measured_column: no effect without --evaluate"],
        ),
        (
            {"perturbation_column": "type"},
            ["--perturbation_column: no effect with --perturbations"],
        ),
        (
            {"perturbations": None, "gene_sets": None, "control": "score > 0", "context": "type"},
            [
                "--control, --context: no effect without --perturbations or --perturbation_column",
            ],
        ),
    ],
)
def test_what_has_no_effect_is_said(inputs, caplog, given, said):
    with caplog.at_level(logging.INFO):
        validate(inputs, **{"perturbations": "A"} | given)
    lines = caplog.messages
    assert lines[lines.index("plan: 1 sample, 40 cells") + 1 :] == (
        ["plan: at most 80 perturbed cells to predict", NO_OPS] * ("table" in given)
        + ["plan: at most 40 perturbed cells to predict", NO_OPS]
        * ("table" not in given and given.get("perturbations", "A") is not None)
        + said
    )


def test_training_cells_count_without_an_evaluation(inputs, caplog):
    """Predictions start from the other cells; a column that is missing is found here."""
    given = {"perturbations": "A", "evaluate": False}
    with caplog.at_level(logging.INFO):
        validate(inputs, **given, training_cells="type == 'B'")
    assert "plan: at most 23 perturbed cells to predict" in caplog.messages
    assert "no effect without --evaluate" not in caplog.text
    with pytest.raises(UserError, match=r"--training_cells .* no column 'split'"):
        validate(inputs, **given, training_cells="split != 'test'")


SETS = "big\tx\tgene1\tGENE2\tGene3\tGENE4\tGENE5\tnone\nsmall\tx\tACTB\tB2M\tZZZ\n"


def test_gene_sets_that_the_data_lack_are_said(inputs, caplog):
    with caplog.at_level(logging.INFO):
        options, _ = validate(inputs, sets=SETS, perturbations="A", context="condition")
    assert (
        "gene sets: 1 of 2 have 5 or more genes that every sample has; left out: small (2 of 3)"
        in caplog.messages
    )
    assert options["perturbation"]["gene_sets"] == "my.gmt"


def test_size_is_refused_before_anything_runs(inputs):
    given = {"perturbations": "A,B", "num_samples": 3, "temperature": 1}
    validate(inputs, **given, max_predictions=240, no_op="none")
    validate(inputs, **given, max_predictions=360)
    with pytest.raises(UserError, match="1 fault") as error:
        validate(inputs, **given, max_predictions=359)
    assert "--max_predictions 359: the run would predict 360 cells (cells before QC x pert" in str(
        error.value
    )
    assert "answers + 120 of --no_op); take fewer with --max_cells_per_perturbation or --no_op" in (
        str(error.value)
    )
    assert "allow it with --max_predictions 360" in str(error.value)


@settings(max_examples=20)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from("ABC"),
            st.sampled_from(["", "type == 'B'", "score < 0.5", "type == 'T' and score < 0.5"]),
            st.sampled_from(["", "1", "3", "100"]),
        ),
        min_size=1, max_size=6,
    ),
    most=st.sampled_from([None, 2, 1000]),
    control=st.sampled_from([None, "condition == 'control'"]),
)  # fmt: skip
def test_no_plan_is_larger_than_said(inputs, rows, most, control):
    """The limit is checked against a number that PLAN never exceeds."""
    table = "perturbation,cell_query,n_cells\n" + "\n".join(map(",".join, rows))
    treatments, _ = read_perturbations("my.csv", write(inputs / "plan.csv", table))
    obs = cells().obs.rename_axis("cell_id").reset_index().assign(shard="s", sample="s")
    prompts = {"perturbation_prompt": "{cell_sentence} {perturbation}"}
    targets = Targets(
        wanted=True, control=control, treatments=treatments, prompts=prompts, no_op="auto"
    )
    targets.look_at(obs, "s", Faults())
    plan = plan_predictions(
        obs, treatments=treatments, control=control, max_cells_per_perturbation=most,
        no_ops=NoOps("DMSO", None),
    )  # fmt: skip
    assert (~plan["c2s_no_op"]).sum() <= targets.n_predictions(most)
    assert plan["c2s_no_op"].sum() <= targets.n_no_ops(most)


def write(path, text):
    path.write_text(text)
    return path


def test_all_faults_of_perturbations_are_told_together(inputs):
    with pytest.raises(UserError) as error:
        validate(
            inputs,
            sheet="sample,path\na,good.h5ad\nb,odd.h5ad\n",
            input_state="normalized",
            table="perturbation,cell_query,dose,n_cells\n"
            "A,typ == 'B',,3\nB,type == 'X',1,0\n,open('x'),2,\nC,type == 'X',2,\n",
            sets="one\tx\nsmall\tx\tACTB\n",
            perturbation_prompt="{cell_sentence} {perturbation} {dose} {vendor}",
            context="nope",
            control="condition == 'control'",
        )
    faults = str(error.value).splitlines()[1:]
    expected = [
        "--gene_sets my.gmt: line 1 is not name, description and genes between tabs",
        "--perturbations my.csv, line 2: empty, but the prompt uses {dose}",
        "--perturbations my.csv, line 3: n_cells 0: must be a whole number above 0",
        "--perturbations my.csv, line 4: perturbation is empty",
        "--perturbations my.csv, line 3: cell_query \"type == 'X'\": selects no control cell",
        "a (good.h5ad): --perturbations my.csv, line 4: cell_query \"open('x')\": a query may not",
        "a (good.h5ad): --context nope: obs has no such column",
        "a (good.h5ad): the prompt uses {vendor}, which obs does not have",
        "a (good.h5ad): --perturbations my.csv, line 2: cell_query \"typ == 'B'\": obs has no "
        "column 'typ'; did you mean 'type'?",
    ]
    for fault in expected:
        assert any(fault in line for line in faults), fault


@pytest.mark.parametrize(
    ("params", "fault", "columns"),
    [
        ({"control": "condition == 'ctrl'"}, "--control", ["condition"]),
        ({"control": "condition == 'ctrl' and score > 2"}, "--control", ["condition", "score"]),
        ({"training_cells": "type == 'X'"}, "--training_cells", ["type"]),
        ({"table": "perturbation,cell_query\nA,type == 'X'\n"}, "cell_query", ["type"]),
        (
            {"perturbation_column": "cell type", "control": "score >= 0"},
            "--perturbation_column",
            ["cell type"],
        ),
    ],
)
def test_values_are_offered_where_nothing_is_selected(inputs, params, fault, columns):
    """Those of the cells of all samples."""
    own = {"control": "condition == 'control'"} if fault == "cell_query" else {}
    if not {"table", "perturbation_column"} & set(params):
        own = {"perturbations": "A"}
    with pytest.raises(UserError) as error:
        validate(inputs, sheet="sample,path\na,good.h5ad\nb,mito.h5ad\n", **own, **params)
    line = next(line for line in str(error.value).splitlines() if fault in line)
    obs = pd.concat([ad.read_h5ad(inputs / f"{name}.h5ad").obs for name in ("good", "mito")])
    obs = obs[obs["condition"] == "control"] if "control" in own else obs
    for name in columns:
        if name == "score":
            held = f"numbers from {obs[name].min():.4g} to {obs[name].max():.4g}"
        else:
            counts = obs[name].astype(str).value_counts().sort_index()
            counts = counts.sort_values(ascending=False, kind="stable")
            held = ", ".join(f"{value} ({n})" for value, n in counts.items())
        assert f"obs[{name!r}] holds: {held}" in line


def test_perturbations_that_were_not_measured(inputs, caplog):
    asked = {"control": "condition == 'control'", "measured_column": "condition"}
    with caplog.at_level(logging.INFO):
        validate(inputs, perturbations="IFN", **asked)
    assert "no cell was measured under" not in caplog.text
    with caplog.at_level(logging.INFO):
        validate(inputs, perturbations="IFN,IFN-beta,IL-6", **asked)
    assert (
        "--measured_column condition: no cell was measured under IFN-beta, IL-6, which cannot be "
        "compared with measured cells; obs['condition'] holds: IFN (20), control (20)"
    ) in caplog.messages


FAULTS = [
    ("none", {}, "none (none.h5ad): no such file"),
    ("broken", {}, "broken (broken.h5ad): cannot be read as h5ad"),
    ("scaled", {}, "scaled (scaled.h5ad): X holds negative values"),
    ("nan", {}, "nan (nan.h5ad): X holds NaN"),
    ("odd", {}, "odd (odd.h5ad): the values of X are ambiguous"),
    ("odd", {"input_state": "counts"}, "odd (odd.h5ad): --input_state counts, but"),
    (
        "good",
        {"input_state": "lognormalized"},
        "good (good.h5ad): --input_state lognormalized, but",
    ),
    ("ensembl", {}, "ensembl (ensembl.h5ad): gene names are identifiers"),
    ("good", {"gene_symbols": "x"}, "good (good.h5ad): --gene_symbols x: var has no such column"),
    ("unknown", {}, "unknown (unknown.h5ad): neither obs"),
    (
        "good",
        {"attention_maps": 3, "embedding_layer": 0},
        "--attention_maps: --embedding_layer 0 is the token embeddings, which no attention made",
    ),
    ("good", {"quantization": "fp8", "device": "cpu"}, "--quantization fp8 is for GPUs that have"),
    ("good", {"label_column": "x"}, "good (good.h5ad): --label_column x: obs has no such column"),
    (
        "good",
        {"perturbation_column": "x"},
        "good (good.h5ad): --perturbation_column x: obs has no such column",
    ),
    (
        "good",
        {"control": "conditon == 'a'"},
        "good (good.h5ad): --control \"conditon == 'a'\": obs",
    ),
    ("good", {"control": "exit()"}, "good (good.h5ad): --control 'exit()': a query may not hold"),
    (
        "good",
        {"control": "condition == 'x'", "perturbations": "A"},
        "--control \"condition == 'x'\": selects no cell of any sample",
    ),
    ("good", {"perturbations": ","}, "--perturbations ',': holds no perturbation"),
    ("good", {"embedding_prompt": "{cell_sentence} {x}"}, "good (good.h5ad): the prompt uses {x}"),
    ("good", {"embedding_prompt": "no.txt"}, "--embedding_prompt: prompt 'no.txt' is neither"),
    ("good", {"embedding_prompt": "{organism}"}, "--embedding_prompt: prompt template lacks {cell"),
    (
        "good",
        {"perturbation_prompt": "{cell_sentence}", "perturbations": "A"},
        "--perturbation_prompt: prompt template lacks {perturbation}",
    ),
    ("good", {"model": "./no/such"}, "--model ./no/such: no such directory, and no Hugging Face"),
    ("good", {"model": "model"}, "--model model: no tokenizer.json"),
    ("good", {"perturbations": "no.csv"}, "--perturbations no.csv: no such file"),
    ("good", {"perturbations": "A", "gene_sets": "x.gmt"}, "--gene_sets x.gmt: no such file"),
    (
        "good",
        {"perturbations": "A", "sets": "s\td\tQ1\tQ2\tQ3\tQ4\tQ5\n"},
        "--gene_sets: no set has 5 genes that every sample has",
    ),
    ("good", {"table": "perturbation,n_cells\nA,x\n"}, "--perturbations my.csv, line 2: n_cells x"),
    ("good", {"table": "perturbation,shard\nA,x\n"}, "--perturbations my.csv: prompts or results"),
    (
        "good",
        {"table": "perturbation,cell_query\nA,type == 'B'\nB,type == 'X'\nC,type == 'X'\n"},
        "--perturbations my.csv, line 3: cell_query \"type == 'X'\": selects no control cell",
    ),
    (
        "good",
        {"perturbations": "A", "context": "x"},
        "good (good.h5ad): --context x: obs has no such column",
    ),
    (
        "good",
        {"perturbations": "A", "context": "n_genes"},
        "--context n_genes is a name of c2sflow",
    ),
    (
        "good",
        {"perturbations": "A", "measured_column": "x"},
        "good (good.h5ad): --measured_column x: obs has no such column",
    ),
    (
        "good",
        {"perturbations": "A", "training_cells": "spilt == 'train'"},
        "good (good.h5ad): --training_cells \"spilt == 'train'\": obs has no column 'spilt'",
    ),
    (
        "good",
        {"perturbations": "A", "training_cells": "type == 'X'"},
        "--training_cells \"type == 'X'\": selects no cell of any sample",
    ),
    (
        "good",
        {"perturbations": "A", "training_cells": "score < 2"},
        "--training_cells 'score < 2': selects every control cell, and nothing is predicted "
        "from cells that the model was trained on; narrow the query, or leave it out",
    ),
    (
        "good",
        {"evaluation_key": "X_scVI"},
        "good (good.h5ad): --evaluation_key X_scVI: obsm has no such array (has X_pca)",
    ),
    ("good", {"training_cells": ""}, "--training_cells : must not be empty"),
    ("good", {"training_cells": True}, "--training_cells needs a value: "),
    ("good", {"control": True}, "--control needs a value: "),
    ("good", {"evaluation_key": True}, "--evaluation_key needs a value: "),
    ("good", {"max_predictions": 0}, "--max_predictions 0: must be 1 or more"),
    ("good", {"seed": "x"}, "--seed x: must be a whole number"),
    ("good", {"min_genez": 3}, "--min_genez: no such parameter; did you mean --min_genes?"),
]


@pytest.mark.parametrize(("name", "params", "message"), FAULTS)
def test_one_fault_gives_one_line(inputs, name, params, message):
    with pytest.raises(UserError) as error:
        validate(inputs, name, **params)
    first, *faults = str(error.value).splitlines()
    assert first == "1 fault in the input; nothing was run"
    assert len(faults) == 1
    assert faults[0].removeprefix("  1. ").startswith(message)


def test_all_faults_are_told_together(inputs):
    with pytest.raises(UserError) as error:
        validate(
            inputs,
            sheet="sample,path,input_state\na,good.h5ad,\na,none.h5ad,\n,odd.h5ad,\nb,nan.h5ad,raw\n",
            seed=-1,
            label_column="labels",
        )
    text = str(error.value)
    assert text.startswith("10 faults in the input; nothing was run\n  1. --seed -1")
    for fault in (
        "line 3: sample a is in line 2 already",
        "line 4: sample is empty",
        "line 5: input_state raw: must be one of",
        "a (none.h5ad): no such file; relative paths start from the samplesheet",
        "X are ambiguous",
        "b (nan.h5ad): X holds NaN",
        "a (good.h5ad): --label_column labels",
    ):
        assert fault in text


def test_faults_of_many_files_are_in_the_order_of_the_rows_on_any_number_of_cores(
    inputs, monkeypatch
):
    names = ["good", "none", "odd", "broken", "nan", "unknown", "good", "none", "ensembl"]
    rows = [f"s{number},{name}.h5ad" for number, name in enumerate(names)]
    found = []
    for cores in "1", "3":
        monkeypatch.setenv("OMP_NUM_THREADS", cores)
        with pytest.raises(UserError) as error:
            validate(inputs, sheet="\n".join(["sample,path", *rows]), label_column="labels")
        found.append(str(error.value))
    assert found[0] == found[1]
    mentioned = [
        line.split(".", 1)[1].split()[0] for line in found[0].splitlines()[1:] if ". s" in line
    ]
    assert [*dict.fromkeys(mentioned)] == [f"s{number}" for number in range(len(names))]


def test_samples_are_the_same_on_any_number_of_cores(inputs, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    sheet = "sample,path\na,good.h5ad\nb,layered.h5ad\nc,good.h5ad\n"
    made = []
    for cores in "1", "2":
        caplog.clear()
        monkeypatch.setenv("OMP_NUM_THREADS", cores)
        made.append((*validate(inputs, sheet=sheet), caplog.messages))
    assert made[0] == made[1]
    assert [sample["sample"] for sample in made[0][1]] == ["a", "b", "c"]


@pytest.fixture
def arguments(inputs, tmp_path):
    """Command line of the script for a run on a good file with this seed."""

    def made(seed):
        options = {
            "--params": json.dumps({"input": "good.h5ad", "min_genes": 1, "seed": seed}),
            "--staged": json.dumps([str(inputs / "good.h5ad")]),
            "--schema": ROOT / "nextflow_schema.json",
            "--input-schema": ROOT / "assets" / "schema_input.json",
            "--outdir": tmp_path / "out",
        }
        return [str(word) for option in options.items() for word in option]

    return made


def test_script_writes_options_and_samples(arguments, tmp_path):
    assert CliRunner().invoke(main, arguments(1)).exit_code == 0
    assert json.loads((tmp_path / "out" / "options.json").read_text())["sentences"]["seed"] == 1
    assert json.loads((tmp_path / "out" / "samples.json").read_text())[0]["n_obs"] == 40


def test_script_tells_faults_without_traceback_and_writes_nothing(arguments, tmp_path):
    command = [sys.executable, str(ROOT / "bin" / "c2s"), "validate", *arguments(-1)]
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr == (
        "error: 1 fault in the input; nothing was run\n  1. --seed -1: must be 0 or more\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_repeated_cell_names_are_said(tmp_path, caplog):
    data = ad.concat([cells(4), cells(4)])
    data.write_h5ad(tmp_path / "twice.h5ad")
    with caplog.at_level(logging.INFO):
        staged = Staged([str(tmp_path / "twice.h5ad")])
        validate_run({"input": "twice.h5ad", "min_genes": 1}, staged, SCHEMA, INPUT_SCHEMA)
    assert "twice: 4 repeated cell names made unique" in caplog.messages


def test_what_no_cell_or_gene_passes_is_refused_before_qc(inputs):
    """The line is QC's own, and it comes from VALIDATE."""
    for params, line in (
        ({"min_genes": 200}, "no cell passes: 0 have no genes, 40 fewer than --min_genes 200, 0"),
        ({"max_pct_mt": 0}, "more than --max_pct_mt 0; the median cell has"),
        ({"min_cells": 41}, "no gene is in --min_cells 41 of the 40 kept cells; lower it"),
    ):
        with pytest.raises(UserError) as caught:
            validate(inputs, "mito", **{"max_pct_mt": 100, **params})
        assert line in str(caught.value)
        assert len(str(caught.value).splitlines()) == 2
        validate(inputs, "mito", skip_qc=True, **params)
    validate(inputs, "mito", max_pct_mt=100)


def test_a_declared_state_holds_where_filters_are_checked(inputs):
    with pytest.raises(UserError, match="the values of X are ambiguous") as caught:
        validate(inputs, "odd", min_genes=200)
    assert "no cell passes" not in str(caught.value)
    with pytest.raises(UserError, match="no cell passes") as caught:
        validate(inputs, "odd", min_genes=200, input_state="normalized")
    assert "ambiguous" not in str(caught.value)


def test_values_that_are_no_counts_are_refused_with_how_their_table_was_read(tmp_path):
    table = pd.DataFrame(
        np.arange(1, 1 + 12 * len(SYMBOLS)).reshape(12, -1) ** 0.5 / 3, columns=SYMBOLS
    )
    path = tmp_path / "excel.csv"
    table.set_axis([f"s{n}" for n in range(12)]).round(3).to_csv(path, sep=";", decimal=",")
    with pytest.raises(UserError) as caught:
        validate_run({"input": "excel.csv"}, Staged([str(path)]), SCHEMA, INPUT_SCHEMA)
    assert "excel (excel.csv; fields separated by semicolons, decimal commas): the" in str(
        caught.value
    )
