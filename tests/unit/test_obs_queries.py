"""The query for cells, which can run no code."""

import numpy as np
import pandas as pd
import pytest

from c2sflow.errors import UserError
from c2sflow.obs_queries import select_cells

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
        ("condition < 3", "TypeError"),
        ("condition == 'a", "not a query"),
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
    ],
)
def test_query_runs_no_code(query):
    with pytest.raises(UserError):
        select_cells(OBS, query, "--control")
