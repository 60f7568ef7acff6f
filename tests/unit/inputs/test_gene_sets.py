"""GMT files: read as they are found in the wild, and every fault told with its line."""

import pytest

from c2sflow.common.errors import UserError
from c2sflow.inputs.gene_sets import describe_sets, found_genes, read_gene_sets


def write(folder, text):
    (folder / "s.gmt").write_text(text, encoding="utf-8")
    return folder / "s.gmt"


def test_sets(tmp_path):
    text = "\ufeffA\thttp://x\tCd3d\tCD8A\tCD3D\t\r\n\nB b\t\tX\n"
    assert read_gene_sets(write(tmp_path, text)) == {"A": ["CD3D", "CD8A"], "B b": ["X"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "A\tx\nB b x y\n\tx\tG\n",
            "line 1 is not name.*; line 2 is not name.*; line 3 is not name",
        ),
        ("A\tx\tG\nA\tx\tH\n", "line 2: a set A was there already"),
        ("\n", "holds no gene set"),
    ],
)
def test_faults(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_gene_sets(write(tmp_path, text))


def test_no_text(tmp_path):
    (tmp_path / "s.gmt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read as text"):
        read_gene_sets(tmp_path / "s.gmt")


def test_only_genes_of_every_sample_count():
    sets = {"A": ["G1", "G2", "G3"], "B": ["G9"]}
    found = found_genes(sets, [["G1", "G2", "G4"], ["G2", "G1", "G3"]])
    assert found == {"A": ["G1", "G2"], "B": []}
    assert describe_sets(sets, found).endswith("left out: A (2 of 3), B (0 of 1)")
    many = {f"S{n}": ["G1"] for n in range(12)}
    assert describe_sets(many, many).endswith("S9 (1 of 1) and 2 more")
