"""Parts of messages."""

import pytest

from c2sflow.common.errors import likeliest


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("conditon", ["donor", "condition"], ["condition"]),
        ("CONDITION", ["donor", "condition"], ["condition"]),
        ("cell_type", ["Cell_Type", "cell_line"], ["Cell_Type"]),
        ("colour", ["donor", "condition"], []),
        ("condition", [], []),
        ("1", [0, 1, "10"], ["1"]),  # columns of obs may be numbers
    ],
)
def test_the_likeliest_name(name, known, expected):
    assert likeliest(name, known) == expected


def test_the_likeliest_come_first():
    assert likeliest("T cell", ["B cell", "T cells", "Monocyte"], most=3) == ["T cells", "B cell"]
