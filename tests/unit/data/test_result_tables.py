"""Tables of results: what is written comes back, and what is broken ends with one line."""

import numpy as np
import pandas as pd
import pytest

from c2sflow.common.errors import UserError
from c2sflow.data.result_tables import read_table, write_table


def test_labels_stay_as_they_stand(tmp_path):
    table = pd.DataFrame(
        {"label": ["NA", "01", "", "T cells"], "score": [0.25, np.nan, 1.5, 2.0], "n": [1, 2, 3, 4]}
    )
    write_table(table, tmp_path / "scores.tsv")
    found = read_table(tmp_path / "scores.tsv", ["label", "absent"])
    assert found["label"].tolist() == ["NA", "01", "", "T cells"]
    np.testing.assert_array_equal(found["score"], table["score"])
    assert found["n"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("content", [b"", b'label\tscore\na\t1\n"b\t2', b"label\xff\t\xfe\n"])
def test_a_broken_table_ends_with_one_line(tmp_path, content):
    path = tmp_path / "scores.tsv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"^scores.tsv is missing or broken \(.*delete .*-resume"):
        read_table(path, ["label"])


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(UserError, match=r"scores.tsv is missing"):
        read_table(tmp_path / "scores.tsv")
