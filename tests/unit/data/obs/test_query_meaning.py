"""A query selects what `pandas.DataFrame.query` selects, or is refused; in every step the same.

The expressions are random, over columns of every type that obs has.
"""

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from c2sflow.common.errors import UserError
from c2sflow.data.concat import concat_obs
from c2sflow.data.obs.queries import CheckedQueries, select_cells
from c2sflow.data.qc.qc import Filters, run_qc
from c2sflow.data.readers import open_anndata
from c2sflow.data.state.normalization import State
from c2sflow.sentences.shards import obs_frame, write_shards

N = 60
RNG = np.random.default_rng(3)


def _some(values, missing=0.2):
    drawn = RNG.choice(np.array(values, dtype=object), N)
    return np.where(RNG.random(N) < missing, None, drawn)


NUMBERS = [0, 1, 2, 3, -1]
TEXTS = ["a", "b", "it's", 'q"x', "True", "1", "é", "back\\slash", "NA", ""]
OBS = pd.DataFrame(
    {
        "cat": pd.Categorical(_some(TEXTS)),
        "cell type": pd.Categorical(_some(TEXTS, 0), categories=TEXTS[::-1], ordered=True),
        "plain": _some(TEXTS),
        "class": pd.array(_some(TEXTS), dtype="string"),
        "n": RNG.choice(NUMBERS, N),
        "n-8": RNG.choice(NUMBERS, N).astype(np.int8),
        "x": np.where(RNG.random(N) < 0.2, np.nan, RNG.choice([0, 0.5, 1, 2.5, np.inf], N)),
        "x32": RNG.choice([0.1, 0.2, np.nan], N).astype(np.float32),
        "gap": pd.array(_some(NUMBERS), dtype="Int64"),
        "ok": RNG.random(N) < 0.5,
        "maybe": pd.array(_some([True, False]), dtype="boolean"),
        "cluster": pd.Categorical(_some(NUMBERS)),
        "flag": pd.Categorical(_some([True, False], 0)),
        "none": np.full(N, np.nan),
    }
)


NAMES = {name: name if name.isidentifier() and name != "class" else f"`{name}`" for name in OBS}
texts = st.sampled_from([NAMES[name] for name in ("cat", "cell type", "plain", "class")])
numbers = st.sampled_from([NAMES[name] for name in ("n", "n-8", "x", "x32", "gap")])
flags = st.sampled_from(["ok", "maybe"])
text_values = st.sampled_from(TEXTS).map(repr)
number_values = st.sampled_from(["0", "1", "2", "-1", "0.1", "0.5", "1e1", "+2", "1_0"])
blanks = st.sampled_from(["", " ", "  "])
equal = st.sampled_from(["==", "!=", " in ", " not in "])
order = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])


def listed(values):
    return st.lists(values, max_size=4).map(lambda v: "[" + ", ".join(v) + "]") | st.lists(
        values, min_size=1, max_size=3
    ).map(lambda v: "(" + ", ".join(v) + ",)")


def joined(*parts):
    return st.tuples(*[p if isinstance(p, st.SearchStrategy) else st.just(p) for p in parts]).map(
        "".join
    )


sums = st.recursive(
    numbers | number_values,
    lambda inner: (
        joined("(", inner, st.sampled_from(["+", "-", "*", "/", " % "]), inner, ")")
        | joined("-", inner)
    ),
    max_leaves=4,
)
comparisons = st.one_of(
    joined(texts, blanks, equal, blanks, text_values | listed(text_values)),
    joined(text_values, st.sampled_from(["==", "!="]), texts),
    joined(sums, blanks, order, numbers, blanks),
    joined(numbers, blanks, order, blanks, sums),
    joined(numbers, equal, listed(number_values)),
    joined(sums, order, numbers, order, sums),
    joined("cluster", st.sampled_from(["==", "!="]), st.sampled_from(["0", "1", "2", "9"])),
    joined("cluster", equal, listed(st.sampled_from(["0", "1", "2", "9"]))),
    joined("flag", st.sampled_from(["==", "!="]), st.sampled_from(["True", "False"])),
    joined(flags | numbers, st.sampled_from(["==", "!="]), st.sampled_from(["True", "False"])),
    joined("none", st.sampled_from(["==", "!=", "<"]), number_values),
    joined("none", equal, listed(text_values)),
    flags,
)
conditions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        joined(inner, st.sampled_from([" and ", " or ", " & ", " | ", "&", "|"]), inner),
        joined("(", inner, st.sampled_from([" and ", " or ", " & ", " | ", "|"]), inner, ")"),
        joined("not ", inner),
        joined("~", "(", inner, ")"),
        joined("(", inner, ")", st.sampled_from(["==", "!="]), st.sampled_from(["True", "False"])),
        joined("(", inner, ") == (", inner, ")"),
    ),
    max_leaves=6,
)
# Anything next to anything.
atoms = st.one_of(
    st.sampled_from([*NAMES.values(), "none", "True", "False", "None", "inf", "index", "@x"]),
    text_values, number_values, listed(text_values | number_values | st.just("n")),
)  # fmt: skip
anything = st.recursive(
    atoms,
    lambda inner: st.one_of(
        joined(
            inner,
            st.sampled_from(
                [" == ", " != ", "<", ">=", " in ", " not in ", " and ", "|", "&", "+", "*", "/",
                 "%", "-", " or ", " is "]
            ),
            inner,
        ),
        joined(st.sampled_from(["not ", "~", "-", "("]), inner),
        joined("(", inner, ")"),
    ),
    max_leaves=8,
)  # fmt: skip


def by_pandas(obs, query):
    """bool (n_obs,); None where pandas refuses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = obs.query(query, engine="python")
        except Exception:
            return None
    return np.isin(np.arange(len(obs)), found.index)


def by_us(obs, query):
    try:
        return select_cells(obs, query, "--control")
    except UserError as error:
        message = str(error)
        assert "\n" not in message.replace(repr(query), "")
        assert "Error" not in message
        note(message)
        return None


def check(query):
    ours, theirs = by_us(OBS, query), by_pandas(OBS, query)
    if ours is not None:
        assert theirs is not None, query
        assert (ours == theirs).all(), query
    return ours, theirs


@settings(max_examples=150)
@given(conditions)
def test_a_query_of_the_grammar_selects_what_pandas_selects(query):
    ours, theirs = check(query)
    assert (ours is None) == (theirs is None), query


@settings(max_examples=150)
@given(anything)
def test_anything_selects_what_pandas_selects_or_is_refused(query):
    check(query)


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """obs of two samples as VALIDATE, PLAN, FINETUNE and EVALUATE read it."""
    folder = tmp_path_factory.mktemp("steps")
    inputs, tables, shards, after_qc = [], [], [], []
    for name, rows in (("one", slice(None, 25)), ("two", slice(25, None))):
        obs = OBS.iloc[rows].set_axis([f"{name}{n}" for n in range(len(OBS))[rows]])
        for column in ("cat", "cluster"):  # categories of their own, in their own order
            obs[column] = obs[column].cat.remove_unused_categories()
        counts = RNG.integers(0, 5, (len(obs), 4)).astype(np.float32)
        var = pd.DataFrame(index=["ACTB", "GAPDH", "MT-CO1", "B2M"])
        ad.AnnData(counts, obs, var).write_h5ad(folder / f"{name}.h5ad")
        with open_anndata(folder / f"{name}.h5ad") as data:
            inputs.append(data.obs)
        run_qc(
            folder / f"{name}.h5ad", folder / f"{name}.qc.h5ad", sample=name, organism="human",
            state=State("counts", None), filters=Filters(skip=True),
        )  # fmt: skip
        with open_anndata(folder / f"{name}.qc.h5ad") as data:
            write_shards(data, [(0, 9), (9, data.n_obs)], name, folder)
            after_qc.append(data.obs)
        tables.append(obs_frame(pq.read_table(folder / f"{name}.obs.parquet")))
        paths = sorted((folder / "shards").glob(f"{name}.*.parquet"))
        shards += [obs_frame(pq.read_table(path)) for path in paths]
    joined = {
        "PLAN": pd.concat(tables, ignore_index=True),
        "FINETUNE": pd.concat(shards, ignore_index=True),
        "EVALUATE": concat_obs(after_qc),
    }
    kept = np.concatenate(
        [np.isin(i.index, o.index) for i, o in zip(inputs, after_qc, strict=True)]
    )
    return inputs, kept, joined


@settings(max_examples=150)
@given(conditions)
def test_every_step_selects_the_same_cells(steps, query):
    inputs, kept, joined = steps
    queries = CheckedQueries()
    try:
        chosen = [queries.select(obs, query, "--control", "x.h5ad") for obs in inputs]
    except UserError as error:
        note(error)
        return
    for step, obs in joined.items():
        assert (select_cells(obs, query, step) == np.concatenate(chosen)[kept]).all(), step
