"""The organism: from all evidence there is, and never by a guess between two."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from making import SYMBOLS, cells

from c2sflow.common.errors import UserError
from c2sflow.data.genes.organisms import ENSEMBL_PREFIXES, find_organism
from c2sflow.data.qc.qc import Filters, run_qc
from c2sflow.data.readers import open_anndata
from c2sflow.data.state.normalization import State
from c2sflow.sentences.shards import write_shards

UPPER = ["ACTB", "CD3E", "LYZ", "CD14"]
TITLE = [name.capitalize() for name in UPPER]


def found(symbols, obs=None, **columns):
    """The organism, and what was noted."""
    var = pd.DataFrame(columns, index=pd.Index(symbols, dtype=str))
    obs = pd.DataFrame(obs or {}, index=["a", "b"])
    data = ad.AnnData(np.ones((2, len(symbols))), obs=obs, var=var)
    with open_anndata(data) as opened:
        return find_organism("auto", opened, opened.var_names, "x (x.h5ad)"), opened.notes


@pytest.mark.parametrize("prefix", ENSEMBL_PREFIXES)
def test_every_prefix_of_ensembl(prefix):
    ids = [f"ENS{prefix}G{n:011}.{n}" for n in range(4)]
    assert found(TITLE, gene_ids=ids)[0] == ENSEMBL_PREFIXES[prefix]
    assert found(UPPER, gene_ids=pd.Categorical(ids))[0] == ENSEMBL_PREFIXES[prefix]
    assert found([f"ENS{prefix}T{n:011}" for n in range(4)])[0] == ENSEMBL_PREFIXES[prefix]


@pytest.mark.parametrize(
    ("genome", "organism"),
    [
        ("GRCh38", "human"), ("hg19", "human"), ("GRCh38-2020-A", "human"), ("T2T-CHM13", "human"),
        ("mm10", "mouse"), ("GRCm39", "mouse"), ("mRatBN7.2", "rat"), ("Rnor_6.0", "rat"),
        ("rn7", "rat"), ("Mmul_10", "macaque"), ("rheMac10", "macaque"), ("GRCz11", "zebrafish"),
        ("Sscrofa11.1", "pig"), ("GRCg7b", "chicken"), ("ARS-UCD1.2", "cow"), ("WBcel235", "worm"),
        ("BDGP6", "fly"), ("GRCr8", "rat"), ("CanFam3.1", "dog"),
    ],
)  # fmt: skip
def test_genome_goes_before_symbols(genome, organism):
    assert found(TITLE, genome=genome)[0] == organism
    assert found(UPPER, genome=pd.Categorical([genome] * 4))[0] == organism


@pytest.mark.parametrize(
    ("symbols", "organism"),
    [
        ([*UPPER, "HLA-DRA"], "human"),
        ([*UPPER, "LINC00115"], "human"),
        ([*UPPER, "MT-CO1"], "human"),
        ([*TITLE, "mt-Co1"], "mouse"),
        ([*TITLE, "Gm12345"], "mouse"),
        ([*TITLE, "1700001A01Rik"], "mouse"),
        ([*TITLE, "RT1-Da"], "rat"),
        ([*TITLE, "Mt-co1"], "rat"),
        ([*UPPER, "MAMU-DRA"], "macaque"),
        ([*UPPER, "SLA-DRA"], "pig"),
        (["actb1", "cd4-1", "mt-nd1", "lyz"], "zebrafish"),
        (["FBgn0000008", "FBgn0000014"], "fly"),
        (["WBGene00000001", "WBGene00000002"], "worm"),
    ],
)
def test_symbols_that_one_species_has(symbols, organism):
    assert found(symbols) == (organism, [])


@pytest.mark.parametrize("column", ["feature_reference", "organism", "species"])
def test_a_column_of_var_names_the_organism_of_the_genes(column):
    assert found(TITLE, **{column: "NCBITaxon:10090"}) == ("mouse", [])
    # Spike-ins are of no organism: CELLxGENE calls them NCBITaxon:32630.
    values = pd.Categorical(["Homo sapiens"] * 99 + ["NCBITaxon:32630"])
    assert found([f"Q{n}" for n in range(100)], **{column: values}) == ("human", [])
    with pytest.raises(UserError, match=rf"var\['{column}'\] names human and mouse; give --org"):
        found(TITLE, **{column: ["human", "mouse", "mouse", "human"]})


@pytest.mark.parametrize(
    ("obs", "details", "there"),
    [
        ({"organism": "mouse"}, {"gene_ids": [f"ENSG{n:011}" for n in range(4)]}, "mouse"),
        ({"species": "rat"}, {"genome": "GRCh38"}, "rat"),
        ({"organism": ["mouse", "rat"]}, {"feature_reference": "NCBITaxon:9606"}, "mouse and rat"),
    ],
)
def test_genes_of_another_organism_are_noted(obs, details, there):
    organism, (note,) = found(UPPER, obs, **details)
    assert organism == ("obs" if "and" in there else there)
    assert note.startswith(f"the organism is given as {there}, but the genes are of human by the")
    own = {"organism": ["human", "mouse"]}
    assert found(UPPER, own, **details)[1] == []


def test_upper_case_alone_is_noted():
    organism, (note,) = found(UPPER)
    assert organism == "human"
    assert "taken as human by 4 of 4 gene symbols in upper case alone" in note


@pytest.mark.parametrize(
    ("symbols", "details", "message"),
    [
        (TITLE, {}, "fit mouse and rat alike"),
        ([*TITLE, "Mt-co1", "Gm12345"], {}, r"fit mouse \(Gm12345\) and rat \(Mt-co1\)"),
        ([*TITLE, "Mt-co1", "1700001a01rik"], {}, "fit mouse .* and rat"),
        ([*UPPER, "MT-CO1", "GM12345"], {}, r"fit human \(MT-CO1\) and mouse \(GM12345\)"),
        ([*UPPER, "MT-CO1", "mt-Co1"], {}, r"human \(MT-CO1\) and mouse \(mt-Co1\)"),
        (["g1", "g2"], {}, "neither obs.'organism'. nor the gene names show the organism"),
        (["XYZ1", "ABC2"], {}, "nor the gene names show"),
        (UPPER, {"genome": ["GRCh38", "GRCh38", "mm10", "mm10"]}, "names human and mouse"),
        (
            UPPER,
            {"gene_ids": [f"ENSQQQG{n:011}" for n in range(4)]},
            r"such as ENSQQQG0.*--organism",
        ),
        (
            UPPER,
            {"gene_ids": [f"ENS{m}G{n:011}" for m in ("", "MUS") for n in (1, 2)]},
            "the identifiers are of human and mouse",
        ),
        (SYMBOLS, {"obs": {"species": [0, 1]}}, r"obs\['species'\] holds codes \(0, 1\)"),
        (SYMBOLS, {"obs": {"organism": ["human", "unknown"]}}, "empty for 1 cells"),
    ],
)
def test_asked_for(symbols, details, message):
    with pytest.raises(UserError, match=message) as error:
        found(symbols, **details)
    assert "--organism" in str(error.value)


@pytest.mark.parametrize(
    ("values", "note"),
    [
        ([0, 0], "obs['species'] holds the code 0: ignored"),
        (pd.Categorical(["1", "1"]), "obs['species'] holds the code 1: ignored"),
        (["", "unknown"], "obs['species'] names no organism: ignored"),
        ([None, None], "obs['species'] names no organism: ignored"),
    ],
)
def test_nonsense_is_passed_over_with_a_line(values, note):
    assert found(SYMBOLS, {"species": values}) == ("human", [note])


def test_what_an_earlier_run_decided_is_kept():
    assert found(SYMBOLS, {"organism": "Homo", "c2s_organism": "rat"})[0] == "rat"


def test_the_users_column_stays_and_prompts_have_our_word(tmp_path):
    data = cells()
    data.obs["organism"] = "Homo sapiens"
    data.obs["sample"] = [f"donor{n % 3}" for n in range(40)]
    donors, options = list(data.obs["sample"]), {"organism": "human", "filters": Filters(skip=True)}
    summary = run_qc(data, tmp_path / "one.h5ad", sample="study", state=State("counts"), **options)
    assert summary["warnings"] == ["obs['sample'] of the input is kept as obs['input_sample']"]
    with open_anndata(tmp_path / "one.h5ad") as kept:
        write_shards(kept, [(0, 40)], "s", tmp_path)
    shard = pd.read_parquet(tmp_path / "shards/s.00000.parquet")
    assert set(shard["organism"]) == {"human"}
    again = run_qc(  # a run on a result
        tmp_path / "one.h5ad", tmp_path / "two.h5ad", sample="c2s",
        state=State("lognormalized", 10), **options,
    )  # fmt: skip
    assert again["warnings"] == ["obs['sample'] of the input is kept as obs['input_sample_2']"]
    obs = ad.read_h5ad(tmp_path / "two.h5ad").obs
    assert list(obs["input_sample"]) == donors
    assert set(obs["input_sample_2"]) == {"study"}
    assert set(obs["organism"]) == {"Homo sapiens"}
    assert set(obs["c2s_organism"]) == {"human"}


def test_known_data_are_recognised():
    reduced = sc.datasets.pbmc68k_reduced()
    assert found(list(reduced.var_names)) == ("human", [])
