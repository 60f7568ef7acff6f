"""Values that a message offers where a selection is empty: those of pandas, and never too many."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.data.obs import held_values
from c2sflow.data.obs.held_values import HeldValues, offer_columns, offer_values


def test_labels_by_their_number():
    obs = pd.DataFrame({"condition": ["stim", "ctrl"] * 3 + ["ctrl"]})
    expected = "; obs['condition'] holds: ctrl (4), stim (3)"
    assert offer_values(obs) == expected
    assert offer_values(obs.astype("category")) == expected
    assert offer_values(obs.astype("string")) == expected
    assert offer_values(obs.iloc[:0]) == "; obs['condition'] holds no value"
    assert offer_values(obs[[]]) == ""


def test_other_kinds_of_columns():
    obs = pd.DataFrame(
        {
            "n": pd.array([200, 5431, None], dtype="Int64"),
            "score": [0.25, np.nan, 1 / 3],
            "doublet": [True, False, False],
            "empty": [np.nan] * 3,
            "donor": ["d 1", None, "d\n1"],
            "unused": pd.Categorical(["a"] * 3, categories=["a", "b"]),
        }
    )
    assert offer_values(obs).split("; ")[1:] == [
        "obs['n'] holds: numbers from 200 to 5,431, no value (1)",
        "obs['score'] holds: numbers from 0.25 to 0.3333, no value (1)",
        "obs['doublet'] holds: False (2), True (1)",
        "obs['empty'] holds no value",
        "obs['donor'] holds: d 1 (1), d 1 (1), no value (1)",
        "obs['unused'] holds: a (3)",
    ]


def test_many_and_long_values_are_bounded(monkeypatch):
    obs = pd.DataFrame({"barcode": [f"{n:03}" for n in range(42)], "note": ["x" * 5000] * 42})
    text = offer_values(obs)
    assert "; obs['barcode'] holds: 000 (1), 001 (1), " in text
    assert "009 (1) and 32 more; obs" in text
    assert text.endswith(f"{'x' * 40}… (42)")
    monkeypatch.setattr(held_values, "MOST_COUNTED", 20)
    held = HeldValues()
    for _ in range(3):
        held.add(obs[["barcode"]])
    assert len(held.texts["barcode"]) == 20


def test_columns_are_offered_and_the_likeliest_named():
    obs = pd.DataFrame(columns=["donor_id", "condition", *map(str, range(20))])
    assert offer_columns(obs[["donor_id"]], "batch") == "(has donor_id)"
    assert offer_columns(obs, "donor", "conditon") == (
        "(has donor_id, condition, 0, 1, 2, 3, 4, 5, 6, 7 and 12 more); did you mean 'donor_id', "
        "'condition'?"
    )
    assert offer_columns(obs[[]], "donor") == "(has none)"


@given(st.lists(st.lists(st.sampled_from("abcdefghijklmn"), max_size=30), min_size=1, max_size=5))
def test_samples_are_counted_together(samples):
    held = HeldValues()
    for labels in samples:
        held.add(pd.DataFrame({"type": pd.Series(labels, dtype=object)}))
    counts = pd.Series([label for labels in samples for label in labels], dtype=object)
    counts = counts.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    shown = ", ".join(f"{label} ({n})" for label, n in counts[:10].items())
    rest = f" and {len(counts) - 10} more" if len(counts) > 10 else ""
    expected = f": {shown}{rest}" if len(counts) else " no value"
    assert held.offer() == f"; obs['type'] holds{expected}"
    assert held.offer("another") == ""
