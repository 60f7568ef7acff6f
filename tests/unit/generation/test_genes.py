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
