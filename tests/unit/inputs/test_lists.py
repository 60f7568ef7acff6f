"""A file of the genes that predictions may say."""

import pytest

from c2sflow.common.errors import UserError
from c2sflow.inputs.lists import allowed_words, read_vocabulary


def test_symbols_in_the_order_of_the_data(tmp_path):
    path = tmp_path / "my genes.txt"
    path.write_text("\ufeffcd8a\n\nGNLY\tcytotoxic\n ABSENT \n", encoding="utf-8")
    assert allowed_words(["GNLY", "FTL", "CD8A"], read_vocabulary(path)) == ["GNLY", "CD8A"]


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe\x00"])
def test_a_file_without_genes(tmp_path, content):
    path = tmp_path / "genes.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"--gene_vocabulary genes\.txt"):
        read_vocabulary(path)


def test_no_gene_of_the_data():
    with pytest.raises(UserError, match="none of its 1 genes"):
        allowed_words(["CD8A"], frozenset({"ENSG1"}))
