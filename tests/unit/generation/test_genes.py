"""Words of an answer: genes, invalid ones, repeats, and a last word cut in half."""

import pytest

from c2sflow.generation.answers import parse_answer

GENES = {"ACTB", "CD8", "CD8A", "HLA-DRA"}


@pytest.mark.parametrize(
    ("text", "cut", "expected"),
    [
        (" ACTB CD8A", False, (["ACTB", "CD8A"], 0, 0)),
        ("ACTB FOO ACTB actb", False, (["ACTB"], 2, 1)),
        ("HLA-DRA CD8.", False, (["HLA-DRA", "CD8"], 0, 0)),
        ("ACTB HLA-D", True, (["ACTB"], 0, 0)),
        ("ACTB HLA-D", False, (["ACTB"], 1, 0)),
        ("ACTB CD8", True, (["ACTB", "CD8"], 0, 0)),
        ("ACTB, CD8\nCD8A", False, (["ACTB", "CD8", "CD8A"], 0, 0)),
        ("", False, ([], 0, 0)),
    ],
)
def test_parse(text, cut, expected):
    parsed = parse_answer(text, GENES, cut)
    assert (parsed.genes, parsed.n_invalid, parsed.n_duplicate) == expected
    assert not parsed.full


@pytest.mark.parametrize(
    ("text", "cut", "most", "expected"),
    [
        (" ACTB CD8A FOO", False, 2, (["ACTB", "CD8A"], True, " ACTB CD8A")),
        (" ACTB, FOO ACTB CD8", False, 3, (["ACTB"], True, " ACTB, FOO ACTB")),
        (" ACTB CD8A.", False, 2, (["ACTB", "CD8A"], False, None)),
        (" ACTB HLA-D", True, 1, (["ACTB"], False, " ACTB")),  # half a gene is no gene more
        (" HLA-D", True, 1, ([], False, "")),
    ],
)
def test_words_behind_the_limit_are_left_out(text, cut, most, expected):
    parsed = parse_answer(text, GENES, cut, most)
    assert (parsed.genes, parsed.full, parsed.kept) == expected
