"""The query for cells, which can run no code."""

import numpy as np
import pandas as pd
import pytest

from c2sflow.common.errors import UserError
from c2sflow.data.obs.queries import CheckedQueries, query_columns, select_cells

OBS = pd.DataFrame(
    {
        "condition": pd.Categorical(["control", "IFN", "control", None]),
        "cell type": ["B", "T", "it's", "`B`"],
        "n": [1, 2, 3, 4],
        "ok": [True, False, True, False],
    },
    index=["a", "b", "c", "d"],
)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (None, "abcd"),
        ("condition == 'control'", "ac"),
        ('condition != "control"', "bd"),
        ("condition in ['IFN', 'TNF']", "b"),
        ("condition not in ['IFN']", "acd"),
        ("condition == 'other'", ""),
        ("`cell type` == 'B' or n > 2", "acd"),
        ('`cell type` == "it\'s"', "c"),
        ("`cell type` == '`B`'", "d"),
        ("ok and n < 3", "a"),
        ("not ok", "bd"),
        ("(n == 1) | (n == 4)", "ad"),
        ("1 < n <= 3", "bc"),
        ("n % 2 == 0", "bd"),
        ("(condition == 'control' | n == 2) == False", "d"),
        ("n == 1 | n == 4 and ok", "a"),
        ("n == 1 & ok or n == 4", "ad"),
        (r"`cell type` == 'it\'s'", "c"),
        ("`cell type` in ('B', \"it's\",)", "ac"),
        ("condition != 'a#b;c'", "abcd"),
        ("'control' == condition", "ac"),
    ],
)
def test_query(query, expected):
    chosen = select_cells(OBS, query, "--control")
    assert chosen.dtype == np.bool_
    assert "".join(OBS.index[chosen]) == expected


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("conditon == 'control'", "no column 'conditon'; did you mean 'condition'"),
        ("xyzzy == 1", "no column 'xyzzy'; it has condition, cell type"),
        ("condition = 'control'", "compare with =="),
        ("condition == control cells", "put text in quotes"),
        ("condition", "no yes or no"),
        ("1 == 1", "no yes or no"),
        ("", "not a query"),
        ("condition < 3", "holds text: compare it with text"),
        ("condition == 'a", "not closed"),
        ("n == 1 # x", "comment is not allowed"),
        ("n == 1\nor n == 2", "line break or ; is not allowed"),
        ("n == 1; n == 2", "line break or ; is not allowed"),
        ("n == 1) or (n == 2", "not a query"),
        ("n == 1 && n == 2", "use and, or"),
        ("condition == 'a' * 10**10", r"may not hold this \(Pow\)"),
        ("10**10**10 == n", r"may not hold this \(Pow\)"),
        ("condition == 'a' * 10000000000", "arithmetic with 'a'"),
        ("condition * 10000000000 == 'a'", r"arithmetic with obs\['condition'\]"),
        ("'%99999999999d' % n == 'a'", "arithmetic with '%99999999999d'"),
        ("n in [1] * 10000000000", "arithmetic with a list"),
        ("condition + 'a' == 'controla'", "arithmetic with"),
        ("1 << 10000000000 == n", r"may not hold this \(LShift\)"),
        ("n == " + "9" * 5000, "not a query|above"),
        ("n == 99999999999999999999", "a number above"),
        ("n == 0x" + "f" * 100, "a number above"),
        ("(" * 5000 + "n == 1" + ")" * 5000, "not a query|more than 100 operators"),
        ("not " * 5000 + "ok", "more than 100 operators"),
        (" or ".join(["n == 1"] * 60), "more than 100 operators; compare with a list"),
        ("1<(1<(1<(1<(1<(1<(1<(1<(n<9)<1)<1)<1)<1)<1)<1)<1)<1", "more than 100 operators"),
        ("condition in ['" + "x" * 200_000 + "']", "longer than 100,000 bytes"),
        ("n == 1/0", "division by zero"),
        ("condition < 'x'", "compared with values by ==, in"),
        ("condition == `cell type`", "compared with values by ==, in"),
        ("condition == 1", r"obs\['condition'\] holds text: compare it with text, such as 'A'"),
        ("n == '1'", r"obs\['n'\] holds numbers: compare it with numbers, not with '1'"),
        ("n in [1, '2']", "a list holds numbers and text"),
        ("n in [n, 2]", "a list holds other things"),
        ("n in n", "in needs a list"),
        ("n + 1 == [1, 2, 3, 4]", "write COLUMN in"),
        ("1 in n", "in needs a list"),
        ("n == None", "compares with None"),
        ("n == NaN", "no column 'NaN'"),
        ("n == inf", "inf is no plain name"),
        ("ok == 'True'", "holds booleans"),
        ("ok < True", "booleans are compared by =="),
        ("n and ok", r"obs\['n'\] gives no yes or no"),
        ("not n", "gives no yes or no"),
        ("ok and True", "True gives no yes or no"),
        ("index == 'a'", "no column 'index'"),
        ("r'a' == condition", "not a query"),
        ("ﬁ == 1", "no plain name"),
        ("n == 1j", "compares with 1j"),
        ("n is 1", "may not hold this"),
        ("n == 1 if ok else n == 2", "may not hold this"),
    ],
)
def test_query_that_is_wrong(query, message):
    with pytest.raises(UserError, match=message):
        select_cells(OBS, query, "--control")


@pytest.mark.parametrize(
    "query",
    [
        "__import__('os').system('touch /tmp/broken') == 0",
        "@pd.read_pickle('x')",
        "n.__class__ == 1",
        "n.map(print) == 1",
        "[x for x in n]",
        "(lambda: 1)() == 1",
        "n[0] == 1",
        "n ** 9 ** 9 ** 9 == 1",
        "n == f'{n}'",
        "'`' + __import__('os').name + '`' == n",
        "`cell type` == 'x' and open('x')",
        "(n := 1) == 1",
        "@n == 1",
        "n.abs() == 1",
        "n @ n == 1",
        "n == b'x'",
        "n == ...",
        "`n` == `__import__('os').name`",
    ],
)
def test_query_runs_no_code(query):
    with pytest.raises(UserError):
        select_cells(OBS, query, "--control")


def test_columns_of_any_name():
    names = ["class", "print", "a#b", "index", "a'b", 'a"b', "x y", "µ", "None", "1st", "a\\b", "é"]
    obs = pd.DataFrame({name: range(3) for name in names})
    for name in names:
        assert select_cells(obs, f"`{name}` == 1", "--control").tolist() == [False, True, False]


def test_largest_number():
    obs = pd.DataFrame({"n": [2**63 - 1, 1]})
    assert select_cells(obs, f"n == {2**63 - 1}", "--control").tolist() == [True, False]
    with pytest.raises(UserError, match="holds a number above"):
        select_cells(obs, f"n == {2**63}", "--control")


def test_two_columns_of_one_name():
    obs = pd.DataFrame([[1, 2]], columns=["n", "n"])
    with pytest.raises(UserError, match="several columns 'n'"):
        select_cells(obs, "n == 1", "--control")


def test_a_query_as_long_as_may_be():
    """Also with what step_options adds to it, from a deep stack as much as from a flat one."""
    query = " or ".join(["n == 1"] * 50)
    obs = OBS.assign(c2s_split="test")
    added = select_cells(obs, f'({query}) and c2s_split == "test"', "--control")
    assert added.tolist() == [True, False, False, False]
    many = ", ".join(f"'cell{n}'" for n in range(8000))
    assert not select_cells(OBS, f"condition in [{many}]", "--control").any()
    assert query_columns(query, "--control") == ["n"]
    with pytest.raises(UserError, match="more than 100 operators"):
        query_columns(f"({query}) and not ok", "--control")


def test_longest_query_of_unary_operators():
    chosen = select_cells(OBS, "not " * 100 + "ok", "--control")
    assert (chosen == OBS["ok"]).all()


@pytest.mark.parametrize("other", [["1", "2"], [True, False], [0.5, None], [1, 2]])
def test_types_that_differ_between_samples(other):
    """Joined, these values would be others: text beside numbers, 0.1 beside its half precision."""
    queries = CheckedQueries()
    first = pd.DataFrame({"n": np.array([0.1, 0.2], np.float32)})
    queries.select(first, "n != 3", "--control", "a.h5ad")
    queries.select(pd.DataFrame({"n": [np.nan, np.nan]}), "n != 3", "--control", "b.h5ad")
    second = pd.DataFrame({"n": other})
    query = "n != '3'" if isinstance(other[0], str) else "n != False"
    with pytest.raises(
        UserError, match=r"holds .* here and float32 in a.h5ad; give the column one"
    ):
        queries.select(second, query, "--control", "c.h5ad")


@pytest.mark.parametrize("name", ["total_counts", "n_genes_by_counts", "cell_id", "shard"])
def test_columns_that_later_steps_make_anew(name):
    obs = pd.DataFrame({name: [1, 2]})
    with pytest.raises(UserError, match="of its own after this check; copy yours to another name"):
        CheckedQueries().select(obs, f"{name} == 1", "--control", "a.h5ad")


def test_columns_that_shards_make_anew():
    obs = pd.DataFrame({"n_genes": [1, 2]})
    chosen = CheckedQueries().select(obs, "n_genes == 1", "--control", "a.h5ad")
    assert chosen.tolist() == [True, False]
    with pytest.raises(UserError, match="copy yours"):
        CheckedQueries(trains=True).select(obs, "n_genes == 1", "--control", "a.h5ad")
