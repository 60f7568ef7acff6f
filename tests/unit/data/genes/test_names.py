"""What is decided of a name once is decided again, whatever was looked at before."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.data.columns import clean_text, text_index
from c2sflow.data.genes import excel_dates, features, organisms, references, symbols

NAMES = [
    "ACTB", "MT-CO1", "mt-Nd1", "Mt-nd1", "MT", "", " ", "nan", "123", "1-Mar", "Sep-02",
    "2006-09-01", "ENSG00000075624", "ENSMUSG00000029580.4", "ENST00000331789",
    "ENSG00000075624_ACTB", "ACTB|ENSG00000075624", "NM_001101.3", "FBgn0000042", "GRCh38_ACTB",
    "mm10___Actb", "chr1:10-20", "CD3_TotalSeqB", "HTO-1", "ERCC-00002", "ADT_CD4", "Ä-gen",
]  # fmt: skip
ONCE = [
    symbols._is_transcript, symbols._is_identifier, symbols._symbol, features._kind_by_name,
    organisms._species_of_id, references._first_part, excel_dates.likely_gene,
]  # fmt: skip


@pytest.mark.parametrize("decide", ONCE, ids=lambda decide: decide.__name__)
def test_a_name_is_decided_as_the_first_time(decide):
    fresh = [decide.__wrapped__(name) for name in NAMES]
    assert [decide(name) for name in [*NAMES, *NAMES]] == [*fresh, *fresh]


@given(st.lists(st.one_of(st.sampled_from(NAMES), st.text(max_size=8)), min_size=1, max_size=20))
def test_kinds_and_mitochondria_are_those_of_pandas(names):
    index = pd.Index(names, dtype=object)
    kinds = pd.Series("genes", index=range(len(names)), dtype=object)
    for kind, pattern in features._NAMES.items():
        kinds[[bool(re.search(pattern, name)) for name in names]] = kind
    assert features._kinds_by_name(index).tolist() == kinds.tolist()
    expected = index.str.upper().str.startswith("MT-")
    assert np.array_equal(symbols.is_mitochondrial(index), expected)


@given(st.lists(st.one_of(st.text(max_size=6), st.integers(), st.none(), st.binary(max_size=4))))
def test_names_of_rows_are_cleaned_one_by_one(names):
    made = text_index(pd.Index(names, dtype=object))
    assert list(made) == [clean_text(name) for name in names]


@given(st.text(alphabet="0123456789-./ mMaArRsSeEpPtTdDcCoOäÄéÉſKI١", max_size=12))
def test_dates_are_found_as_by_the_forms_alone(name):
    """Most names are no dates by how they begin, and are compared with no form."""
    found = any(form.match(name.strip()) for form in excel_dates._FORMS)
    assert found or excel_dates.likely_gene(name) is None
    begins = name.strip()[:1].isdigit() or name.strip().casefold().startswith(excel_dates._FIRST)
    assert begins or not found
