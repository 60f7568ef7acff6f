"""Lists of perturbations, and the query for controls, which can run no code."""

import numpy as np
import pandas as pd
import pytest

from c2sflow.errors import UserError
from c2sflow.perturbations import parse_perturbations, select_controls

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
    ("value", "expected"),
    [
        (None, []),
        ("IFN", ["IFN"]),
        (" A , B,A,,", ["A", "B"]),
        ('"TNF, high", IL6', ["TNF, high", "IL6"]),
        ("A\nB", ["A", "B"]),
    ],
)
def test_list(value, expected):
    assert parse_perturbations(value, None) == expected


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("p.txt", "A\r\nTNF, high\n\nA\n", ["A", "TNF, high"]),
        ("p.csv", '\ufeffdose,perturbation\n1,A\n2,"B, C"\n', ["A", "B, C"]),
        ("p.tsv", "perturbation\nA\n", ["A"]),
    ],
)
def test_file(name, content, expected, tmp_path):
    (tmp_path / name).write_text(content)
    assert parse_perturbations(name, tmp_path / name) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", "\n", "holds no perturbation"),
        ("p.csv", "gene\nA\n", r"no column 'perturbation' \(found: gene\)"),
        ("p.txt", b"\xff\xfe\x00A", "cannot be read as text"),
    ],
)
def test_file_without_perturbations(name, content, message, tmp_path):
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        parse_perturbations(name, tmp_path / name)


def test_empty_list():
    with pytest.raises(UserError, match="holds no perturbation"):
        parse_perturbations(" , ", None)


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
    chosen = select_controls(OBS, query)
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
        select_controls(OBS, query)


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
        select_controls(OBS, query)
