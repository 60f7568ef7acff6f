"""What the values are: told from the values alone, also where genes were removed."""

import numpy as np
import pytest
import scanpy as sc
from making import counts
from scipy import sparse

from c2sflow.common.errors import UserError
from c2sflow.data.state.decision import declared_state, detect_state
from c2sflow.data.state.normalization import LOG_BASES, State

GENES = 400


@pytest.fixture(scope="module")
def raw():
    """Counts of 60 cells of very different depth."""
    random = np.random.default_rng(1)
    depth = random.lognormal(0, 0.7, (60, 1))
    dense = random.poisson(depth * random.gamma(0.3, 3, (1, GENES)))
    return sparse.csr_matrix(dense, dtype=np.float32)


def normalised(raw, target=1e4):
    totals = np.asarray(raw.sum(axis=1))
    return sparse.csr_matrix(raw.multiply(target / totals), dtype=np.float32)


def logged(matrix, base="e"):
    made = matrix.astype(np.float32)
    made.data = (np.log1p(made.data) / np.log(LOG_BASES[base])).astype(np.float32)
    return made


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.float64])
def test_counts(raw, dtype):
    assert detect_state(raw.astype(dtype), "x") == State("counts")


@pytest.mark.parametrize("step", [1, 4], ids=["all genes", "some genes"])
@pytest.mark.parametrize("target", [1e4, 1e6, 1234.5])
def test_normalised(raw, step, target):
    assert detect_state(normalised(raw, target)[:, ::step], "x") == State("normalized")


@pytest.mark.parametrize("decimals", [None, 3])
@pytest.mark.parametrize("step", [1, 4], ids=["all genes", "some genes"])
@pytest.mark.parametrize("base", ["e", 2, 10])
def test_log_normalised(raw, base, step, decimals):
    matrix = logged(normalised(raw), base)[:, ::step]
    if decimals:
        matrix.data = np.round(matrix.data, decimals)
    assert detect_state(matrix, "x") == State("lognormalized", base)


def test_published_values_rounded_to_3_decimals(pbmc):
    assert detect_state(pbmc.X.tocsr(), "x") == State("lognormalized", "e")


def test_studies_normalised_to_different_totals(raw):
    both = sparse.vstack([normalised(raw[:30], 1e4), normalised(raw[30:], 1e6)], "csr")
    assert detect_state(logged(both), "x") == State("lognormalized", "e")


def _with(value):
    matrix = counts()
    matrix.data[5] = value
    return matrix


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (sparse.csr_matrix(sc.datasets.pbmc68k_reduced().X), r"negative.*scaled.*adata\.raw"),
        (_with(np.nan), "NaN"),
        (_with(np.inf), "infinite"),
        (sparse.csr_matrix((5, 5)), "all zeros"),
        (counts().sqrt(), "ambiguous.*--input_state"),
        (sparse.random(50, 60, 0.4, "csr", rng=0), "ambiguous.*--input_state"),
        (logged(counts()), "never normalised.*--input_state"),
    ],
    ids=["scaled", "nan", "inf", "zeros", "square root", "random", "log of counts"],
)
def test_no_state(matrix, message):
    with pytest.raises(UserError, match=message):
        detect_state(matrix, "x")


def test_declared_state_overrides_but_not_the_impossible(raw):
    odd = sparse.random(50, 60, 0.4, "csr", rng=0)
    assert declared_state(odd, "normalized", "x") == (State("normalized"), None)
    with pytest.raises(UserError, match="no integers"):
        declared_state(odd, "counts", "x")
    with pytest.raises(UserError, match="only integers"):
        declared_state(raw, "lognormalized", "x")
    with pytest.raises(UserError, match="values up to"):
        declared_state(odd * 1000, "lognormalized", "x")
    with pytest.raises(UserError, match="negative"):
        declared_state(-odd, "normalized", "x")


def test_base_of_declared_logarithm(raw):
    assert declared_state(logged(normalised(raw), 2), "lognormalized", "x")[0].log_base == 2
    odd = sparse.random(50, 60, 0.4, "csr", rng=0)
    assert declared_state(odd, "lognormalized", "x", 10)[0].log_base == 10
    state, warning = declared_state(odd, "lognormalized", "x")
    assert state.log_base == "e"
    assert "natural" in warning
