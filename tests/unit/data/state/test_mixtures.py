"""The state of the values cell by cell: mixtures are refused, and the cells named."""

import os
from itertools import pairwise

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import cells, counts
from mixing import COUNTS, KINDS, LOGS, NORMALIZED, USUAL, draw_counts, draw_file, normalise
from scipy import sparse

from c2sflow.common.errors import UserError
from c2sflow.data.qc.qc import Filters, run_qc
from c2sflow.data.readers import open_anndata
from c2sflow.data.state import reading as state_reading
from c2sflow.data.state.cell_names import name_cells
from c2sflow.data.state.counts import BUMP
from c2sflow.data.state.decision import check_declared, decide_state
from c2sflow.data.state.evidence import Evidence, cell_evidence
from c2sflow.data.state.normalization import State
from c2sflow.data.state.reading import choose_cells, find_state

# More: benchmarks/state_mixtures.py, or C2SFLOW_MIXTURES=2000 pytest ...
N_FILES = int(os.environ.get("C2SFLOW_MIXTURES", "200"))


def decide(values, obs=None):
    rows = sparse.csr_matrix(values)
    obs = pd.DataFrame(index=[f"c{n}" for n in range(rows.shape[0])]) if obs is None else obs
    return decide_state(cell_evidence(rows), obs, "x")


def test_random_files_are_recognised_or_refused_never_mistaken():
    pure, refused, lines = 0, 0, []
    for seed in range(N_FILES):
        file = draw_file(seed)
        usual = file.is_pure and file.kinds[0] in USUAL
        pure += usual
        try:
            state = decide(file.rows, file.obs).state
        except UserError as error:
            lines.append(str(error).splitlines())
            refused += usual
            continue
        assert not file.is_wrong(state), (seed, file.kinds, file.about, str(state))
    assert {len(line) for line in lines} == {1}
    assert refused <= 0.1 * pure  # files of two cells, and of 20 genes, among them


def test_values_stored_as_float16_have_a_common_factor_and_are_no_counts():
    random = np.random.default_rng(0)
    values = normalise(random.poisson(0.3, (3, 300)).astype(float), 1e6)
    with pytest.raises(UserError, match="rounded"):
        decide(values.astype(np.float16).astype(np.float32))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["counts", "downsampled counts"]))
def test_small_counts_occur_as_in_a_mixture_of_poisson_distributions(seed, kind):
    random = np.random.default_rng(seed)
    values = KINDS[kind][0](draw_counts(random), random)
    assert (cell_evidence(sparse.csr_matrix(values)).bumps < BUMP + 0.5).all()


def test_rounded_values_do_not_occur_as_counts_do():
    random = np.random.default_rng(0)
    values = (
        random.poisson(random.gamma(1, 1.5, 3000), (5, 3000)) * np.linspace(0.65, 0.85, 5)[:, None]
    )
    with pytest.raises(UserError, match="occur as often as in no counts"):
        decide(np.rint(values))


@pytest.mark.parametrize(
    ("seed", "reason"),
    [
        (10141, "rounded"),
        (130073, "occur as often as in no counts"),
        (130321, "neither counts"),
        (204438, "neither counts"),
        (301431, "55 of 110 cells .* do not show it"),
        (304235, "cells differ: 4 of 8"),
        (402586, "19 of 21 cells .* do not show it"),
        (403252, "8 of 12 cells .* do not show it"),
        (305173, "1 of 6 cells .* do not show it"),
        (20481, "1 of 4 cells .* do not show it"),
        (30743, "too few to show"),
        (31094, "cells differ"),
        (40737, "a small number is missing between frequent ones"),
        (41141, "the values of every cell sum to 28"),
        (50096, "too few values to show"),
        (81070, "made binary"),
        (100750, "2 of 21 cells .* logs to base 2"),
        (110182, "cells .* do not show it"),
    ],
)
def test_files_that_were_mistaken_once(seed, reason):
    file = draw_file(seed)
    with pytest.raises(UserError, match=reason):
        decide_state(cell_evidence(file.rows), file.obs, "x")


def test_ranks_that_begin_high_are_no_counts():
    """Ranks among all genes: the genes that a cell lacks have the lowest."""
    random = np.random.default_rng(0)
    rows = np.array([40 + random.permutation(60) for _ in range(30)], dtype=np.float32)
    rows += random.integers(0, 2, rows.shape)  # ties are broken otherwise
    with pytest.raises(UserError, match="are between 40 and 100: ranks"):
        decide(sparse.csr_matrix(rows))


@pytest.fixture(scope="module")
def raw():
    """100 cells × 2,000 genes of ordinary depth."""
    random = np.random.default_rng(3)
    genes = random.lognormal(0, 1.5, 2000)
    depth = random.lognormal(0, 0.5, (100, 1))
    return random.poisson(depth * genes / genes.mean() * 1.5).astype(np.float32)


def test_one_per_cent_of_fractions_are_counts(raw):
    random = np.random.default_rng(1)
    some = (raw > 0) & (random.random(raw.shape) < 0.01)
    found = decide(raw + 0.5 * some)
    assert found.state == COUNTS
    assert "99.0 % whole numbers, row sums" in found.evidence
    assert decide(raw + random.random(raw.shape) * some).state == COUNTS


def test_mostly_fractional_counts_are_asked_for(raw):
    random = np.random.default_rng(1)
    with pytest.raises(UserError, match=r"ambiguous.*--input_state"):
        decide(raw * random.uniform(0.3, 1, raw.shape))


MADE = {
    "raw": lambda values: values,
    "CPM": lambda values: normalise(values, 1e6),
    "natural log": lambda values: np.log1p(normalise(values, 1e4)),
    "log base 2": lambda values: np.log2(1 + normalise(values, 1e4)),
    "not centred": lambda values: values / (values.std(0) + 1e-3),
    "square root": np.sqrt,
    "log of counts": np.log1p,
}
PAIRS = [(a, b) for a in ("raw", "natural log") for b in MADE if a != b]


@pytest.mark.parametrize(("most", "few"), PAIRS, ids=[f"{a} and {b}" for a, b in PAIRS])
@pytest.mark.parametrize("n_few", [2, 15, 49])
def test_mixtures_name_the_cells(raw, most, few, n_few):
    batch = np.where(np.arange(100) < 100 - n_few, "b1", "b2")
    obs = pd.DataFrame({"x": "same", "batch": batch}, index=[f"c{n}" for n in range(100)])
    values = np.vstack([MADE[most](raw[:-n_few]), MADE[few](raw[-n_few:])]).astype(np.float32)
    with pytest.raises(UserError) as error:
        decide(values, obs)
    message = str(error.value)
    assert f"{n_few} of 100 cells (batch: b2; c{100 - n_few}" in message, message
    assert "--input_state" in message
    assert "\n" not in message


def test_batches_of_different_totals_are_one_state_with_a_warning(raw):
    obs = pd.DataFrame({"batch": ["a"] * 60 + ["b"] * 40}, index=[f"c{n}" for n in range(100)])
    found = decide(np.vstack([normalise(raw[:60], 4000), normalise(raw[60:], 1e4)]), obs)
    assert found.state == NORMALIZED
    (warning,) = found.warnings
    assert "4,000 in 60 of 100 cells (batch: a" in warning
    assert "10,000 in 40 of 100 cells (batch: b" in warning


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values, _: np.rint(normalise(values, 1e6)), "rounded|nearly every cell sum to"),
        (lambda values, _: np.rint(normalise(values, 1e4)), "rounded|nearly every cell sum to"),
        (lambda values, _: (values > 0).astype(float), "too few values|all values are 1"),
        (lambda values, random: KINDS["downsampled counts"][0](values, random), "cell sum to"),
        (lambda values, random: KINDS["ranks"][0](values, random), "rank|ambiguous"),
    ],
    ids=["CPM", "per 10,000", "binary", "downsampled", "ranks"],
)
def test_whole_numbers_that_may_be_no_counts_are_asked_for(raw, change, message):
    with pytest.raises(UserError, match=f"({message}).*--input_state"):
        decide(change(raw, np.random.default_rng(0)))


@pytest.mark.parametrize("state", [NORMALIZED, *LOGS], ids=str)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_cells_of_few_genes_follow_the_others(raw, state, dtype):
    few = raw.copy()
    few[90:] *= np.cumsum(few[90:] > 0, axis=1) <= np.arange(10)[:, None] // 2
    values = normalise(few, 1e4)
    values = values if state == NORMALIZED else np.log1p(values) / np.log(_base(state))
    assert decide(values.astype(dtype).astype(np.float32)).state == state


def _base(state):
    return np.e if state.log_base == "e" else state.log_base


def test_declared_states_are_checked_cell_by_cell(raw):
    values = np.vstack([raw[:85], np.log1p(normalise(raw[85:], 1e4))]).astype(np.float32)
    evidence = cell_evidence(sparse.csr_matrix(values))
    obs = pd.DataFrame(index=[f"c{n}" for n in range(100)])
    for name in ("counts", "normalized", "lognormalized"):
        with pytest.raises(UserError, match=rf"--input_state {name}, but .* cells \(c"):
            check_declared(evidence, obs, name, "x")
    fractional = sparse.csr_matrix(raw * np.random.default_rng(1).uniform(0.3, 1, raw.shape))
    assert check_declared(cell_evidence(fractional), obs, "counts", "x").state == COUNTS


@given(st.integers(0, 2**32), st.lists(st.integers(0, 300), max_size=4))
def test_evidence_of_a_cell_depends_on_the_cell_alone(seed, cuts):
    file = draw_file(seed)
    whole = cell_evidence(file.rows)
    ends = sorted({0, *(cut for cut in cuts if cut < file.rows.shape[0]), file.rows.shape[0]})
    parts = Evidence.concat([cell_evidence(file.rows[a:b]) for a, b in pairwise(ends)])
    for name in ("total", "whole", "fits", "steps", "sums", "divisor", "stepped"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9)


def test_sums_and_shares_are_those_of_numpy():
    values = draw_counts(np.random.default_rng(5))
    values[3] = 0
    values = np.log1p(normalise(values, 1e4)) * (np.arange(len(values)) % 2 == 0)[:, None]
    found = cell_evidence(sparse.csr_matrix(values))
    np.testing.assert_allclose(found.total, values.sum(1))
    np.testing.assert_array_equal(found.n_values, (values > 0).sum(1))
    sums = np.expm1(values).sum(1)
    np.testing.assert_allclose(found.sums[:, 1], sums)


def test_cells_are_named_by_the_column_that_holds_exactly_these():
    obs = pd.DataFrame(
        {"sex": list("mf") * 4, "donor": list("aabbccdd"), "score": np.arange(8.0)},
        index=[f"c{n}" for n in range(8)],
    )
    assert name_cells(np.isin(obs["donor"], ["b", "d"]), obs) == (
        "4 of 8 cells (donor: b, d; c2, c3, c6 …)"
    )
    assert name_cells(obs["score"] == 5, obs) == "1 of 8 cells (c5)"
    assert name_cells(obs["score"] >= 0, obs) == "8 of 8 cells"


def test_samples_of_large_files_hold_every_batch():
    obs = pd.DataFrame({"donor": ["a"] * 70_000 + ["b"] * 20 + ["c"] * 60_000})
    obs["score"] = np.arange(len(obs)) / 3
    chosen = choose_cells(obs)
    assert (np.diff(chosen) > 0).all()
    assert len(chosen) < 30_000
    assert obs["donor"].iloc[chosen].value_counts()["b"] >= 8


def mixture(n_cells=400, first=150, last=160):
    data = cells(n_cells)
    values = counts(n_cells, 34).toarray()
    values[first:last] = np.log1p(normalise(values[first:last], 1e4))
    data.X = sparse.csr_matrix(values.astype(np.float32))
    return data


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_matrix.toarray])
def test_cells_beyond_the_sample_are_found_by_qc(kind, tmp_path, monkeypatch):
    """VALIDATE looks at all cells of this file, unless it is too large; QC at all of any."""
    data = mixture()
    data = ad.AnnData(kind(data.X), obs=data.obs, var=data.var)
    data.write_h5ad(tmp_path / "x.h5ad")
    with open_anndata(tmp_path / "x.h5ad") as opened, pytest.raises(UserError, match="10 of 400"):
        find_state(opened, "auto", "x")
    monkeypatch.setattr(state_reading, "MOST_CELLS", 100)
    for name in ("N_BLOCKS", "UNSORTED_BLOCKS", "BLOCK"):
        monkeypatch.setattr(state_reading, name, 8)
    monkeypatch.setattr(choose_cells, "__defaults__", (8,))
    with open_anndata(tmp_path / "x.h5ad") as opened:
        found, evidence = find_state(opened, "auto", "x")
        assert found.state == State("counts")
        assert len(evidence) < 150
    with pytest.raises(UserError, match=r"taken as raw counts.* 10 of 400 cells \(cell150"):
        run_qc(
            tmp_path / "x.h5ad", tmp_path / "s.h5ad", sample="s", organism="human",
            state=found.state, filters=Filters(skip=True), chunk_size=37,
        )  # fmt: skip
    assert not (tmp_path / "s.h5ad").exists()


def test_qc_records_the_evidence(tmp_path):
    data = cells(60)
    data.X = data.X + 0.5 * (sparse.random(60, 34, 0.01, rng=1, format="csr") > 0).multiply(
        data.X > 0
    )
    summary = run_qc(
        data, tmp_path / "s.h5ad", sample="s", organism="human", state=COUNTS,
        filters=Filters(skip=True),
    )  # fmt: skip
    assert "% whole numbers, row sums" in summary["state_evidence"]
    made = ad.read_h5ad(tmp_path / "s.h5ad")
    np.testing.assert_allclose(made.layers["counts"].toarray(), data.X.toarray())
    np.testing.assert_allclose((10 ** made.X.toarray() - 1).sum(1), 1e4, rtol=1e-4)
