"""Genomes of a reference: one prefix is removed, of two genomes one is chosen."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from c2sflow.common.errors import UserError
from c2sflow.data.genes.references import GENOME_SHARE, choose_genome, find_genomes, organism_of
from c2sflow.data.qc.qc import Filters, run_qc
from c2sflow.data.state.normalization import State
from c2sflow.data.views import View

HUMAN = ["ACTB", "GAPDH", "MT-CO1", "MT-ND1", "HLA-A", "CD4", "RPL3", "RPS18", "B2M", "C1orf112"]
MOUSE = ["Actb", "Gapdh", "mt-Co1", "mt-Nd1", "H2-K1", "Cd4", "Rpl3", "Rps18", "B2m", "Xkr4"]


def find(names, **columns):
    frame = pd.DataFrame(columns, index=names)
    return find_genomes(frame, np.full(len(frame), True))


@pytest.mark.parametrize(
    "prefix",
    [
        "GRCh38_",
        "GRCh38______",
        "hg19_",
        "GRCh38-",
        "hg38-",
        "GRCh38-2020-A_",
        "T2T-CHM13_",
        "myref_",
    ],
)
def test_the_prefix_of_one_genome_is_removed(prefix):
    found = find(
        [prefix + name for name in HUMAN],
        gene_ids=pd.Categorical([f"{prefix}ENSG{n:011}" for n in range(10)]),
        feature_types="Gene Expression",
    )
    assert list(found.var.index) == HUMAN
    assert list(found.var["gene_ids"]) == [f"ENSG{n:011}" for n in range(10)]
    assert found.n_prefixed == {prefix.rstrip("_-"): 10}
    assert set(found.var["genome"]) == {prefix.rstrip("_-")}  # which tells the organism
    everything = np.full(10, True)
    assert choose_genome(found, everything, None, "s") is None


def test_a_custom_gene_beside_a_prefixed_genome_stays():
    found = find(["EGFP", *[f"mm10___{name}" for name in MOUSE]])
    assert list(found.var.index) == ["EGFP", *MOUSE]


@pytest.mark.parametrize(
    "names",
    [
        HUMAN,
        [f"PF3D7_01{n:05}" for n in range(20)],  # Plasmodium's own names
        [f"LOC_Os01g{n:05}" for n in range(20)],  # rice
        [f"RP11-{n}P13.7" for n in range(20)],
        [f"Gene_{n}" for n in range(20)],
        [f"ENSG{n:011}_G{n}" for n in range(20)],
        [f"HLA-{n}" for n in range(20)],
    ],
)
def test_other_names_stay(names):
    found = find(names, feature_biotype="protein_coding")
    assert list(found.var.index) == names
    assert not found.n_prefixed


def test_names_that_need_the_column_genome():
    """The genome's name is known: whatever it is called, it is removed."""
    names = [f"my_odd_ref_{n}" for n in ("a", "b", "c_d")]
    assert list(find(names, genome="my_odd_ref").var.index) == ["a", "b", "c_d"]
    assert list(find(names).var.index) == names


def test_assemblies_of_one_organism_are_one_genome():
    found = find(HUMAN, genome=["GRCh38"] * 6 + ["hg19"] * 4)
    assert choose_genome(found, np.full(10, True), None, "s") is None
    assert organism_of("GRCm39") == organism_of("mm10") == "mouse"


BARNYARD = [f"GRCh38_{name}" for name in HUMAN] + [f"mm10___{name}" for name in MOUSE]


@pytest.mark.parametrize(
    "genome", [{}, {"genome": ["GRCh38"] * 10 + ["mm10"] * 10}, {"genome": "GRCh38_and_mm10"}]
)
def test_two_genomes_are_asked_for(genome):
    found, everything = find(BARNYARD, **genome), np.full(20, True)
    with pytest.raises(
        UserError, match=r"s: .*GRCh38 \(10 genes\), mm10 \(10 genes\); .*--genome GRCh38"
    ):
        choose_genome(found, everything, None, "s")
    for asked in ("mm10", "MM10", "mouse"):
        assert choose_genome(found, everything, asked, "s") == "mm10"
    with pytest.raises(UserError, match=r"--genome rn7: the genes are of GRCh38"):
        choose_genome(found, everything, "rn7", "s")


def test_a_virus_beside_a_genome_is_left_out_without_a_choice():
    names = [f"GRCh38_G{n}" for n in range(100)] + ["HIV_gag", "HIV_pol"]
    names[:10] = [f"GRCh38_{name}" for name in HUMAN]
    for columns in ({}, {"genome": ["GRCh38"] * 100 + ["HIV"] * 2}):
        found, everything = find(names, **columns), np.full(102, True)
        assert choose_genome(found, everything, None, "s") == "GRCh38"
        assert found.n_genes(everything) == {"GRCh38": 100, "HIV": 2}


def barnyard(path, kind):
    """60 cells: 25 human, 20 mouse, 12 doublets, 3 without counts."""
    rng = np.random.default_rng(0)
    counts = np.zeros((60, 20))
    counts[:25, :10], counts[:25, 10:] = rng.poisson(20, (25, 10)), rng.poisson(0.4, (25, 10))
    counts[25:45, 10:], counts[25:45, :10] = rng.poisson(20, (20, 10)), rng.poisson(0.4, (20, 10))
    counts[45:57] = rng.poisson(10, (12, 20))
    names = [f"cell{n}" for n in range(60)]
    genomes = ["GRCh38"] * 10 + ["mm10"] * 10
    matrix = sparse.csr_matrix(counts.astype(np.float32))
    if kind == "h5ad":
        obs = pd.DataFrame(index=names)
        ad.AnnData(matrix, obs=obs, var=pd.DataFrame(index=BARNYARD)).write_h5ad(path)
    else:
        with h5py.File(path, "w") as file:
            group = file.create_group("matrix")
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(matrix, name).astype(np.int32)
            group["shape"], group["barcodes"] = np.array([20, 60]), np.array(names, "S")
            columns = {"name": BARNYARD, "id": BARNYARD, "genome": genomes}
            columns["feature_type"] = ["Gene Expression"] * 20
            for name, values in columns.items():
                group[f"features/{name}"] = np.array(values, "S")
    return counts


@pytest.mark.parametrize("kind", ["h5ad", "h5"])
@pytest.mark.parametrize(("genome", "columns"), [("GRCh38", slice(0, 10)), ("mm10", slice(10, 20))])
def test_cells_of_one_genome(kind, genome, columns, tmp_path):
    counts = barnyard(tmp_path / f"x.{kind}", kind)
    figures = run_qc(
        tmp_path / f"x.{kind}", tmp_path / "made.h5ad", sample="s", organism="x",
        state=State("counts"), view=View("X", genome=genome), filters=Filters(skip=True),
        chunk_size=7,
    )  # fmt: skip
    with np.errstate(invalid="ignore"):
        share = counts[:, columns].sum(1) / counts.sum(1)
    kept = ~(share < GENOME_SHARE)  # a cell without counts is of no other genome
    made = ad.read_h5ad(tmp_path / "made.h5ad")
    assert list(made.obs_names) == [f"cell{n}" for n in np.flatnonzero(kept)]
    assert np.array_equal(made.layers["counts"].toarray(), counts[kept][:, columns])
    assert list(made.var_names) == (HUMAN if genome == "GRCh38" else MOUSE)
    assert "pct_counts_mt" in made.obs
    assert figures["dropped"]["other_genome"] == int((share <= 1 - GENOME_SHARE).sum()) >= 20
    assert figures["dropped"]["mixed_genomes"] == 12
    assert figures["genome"] == genome
    assert figures["genome_genes"] == {"GRCh38": 10, "mm10": 10}
