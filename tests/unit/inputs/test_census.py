"""census://, as a user writes it."""

import pytest

from c2sflow.common.errors import UserError
from c2sflow.data.census import write_census
from c2sflow.inputs.census import EXAMPLE, CensusQuery, parse_census
from c2sflow.inputs.samplesheet import single_row


def test_the_example_is_one():
    wanted = {"tissue_general": ["lung"], "disease": ["normal"]}
    assert parse_census(EXAMPLE) == CensusQuery("homo_sapiens", wanted, "2025-01-30")


def test_values_are_as_the_census_spells_them():
    query = parse_census(
        "census://Mus musculus?cell_type=CD4-positive, alpha-beta T cell&cell_type=B cell"
        "&assay=10x 3' v3&note=a%26b=c&disease=CD4+&uri=/data/my census"
    )
    cell_types = ["CD4-positive, alpha-beta T cell", "B cell"]
    others = {"assay": ["10x 3' v3"], "note": ["a&b=c"], "disease": ["CD4+"]}
    assert query.wanted == {"cell_type": cell_types, **others}
    assert (query.organism, query.version, query.uri) == ("mus_musculus", "", "/data/my census")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("census://?tissue=lung", "names no organism"),
        ("census://homo_sapiens", "no version; name one by its date"),
        ("census://homo_sapiens?version=stable", "version=stable changes with every release"),
        ("census://homo_sapiens?version=2025-01-30&uri=x", "not both"),
        ("census://homo_sapiens?version=2025-01-30&version=2024-07-01", "version twice"),
        ("census://homo_sapiens?lung&version=2025-01-30", "'lung' is not COLUMN=VALUE"),
        ("census://homo_sapiens?tissue=&version=2025-01-30", "'tissue=' is not COLUMN=VALUE"),
    ],
)
def test_faults(text, message):
    with pytest.raises(UserError) as caught:
        parse_census(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{text}: ")


def test_the_sample_of_a_query_is_the_organism():
    assert (
        single_row("census://homo_sapiens?cell_type=CD4+/CD25 T&uri=/a/b").sample == "homo_sapiens"
    )


def test_without_its_package(tmp_path):
    """It is in no environment of the project but its own: it needs another botocore."""
    with pytest.raises(UserError, match="`make census` installs it"):
        write_census(tmp_path / "cells.h5ad", "homo_sapiens", {}, version="2025-01-30")
    assert not list(tmp_path.iterdir())
