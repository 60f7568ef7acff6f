"""Predicted perturbations by what is new of the held-out cells, in the report."""

import pandas as pd

from c2sflow.evaluation.figures import Figure, figures_table
from c2sflow.report.held_out import held_out, kind_rows


def table():
    known = [
        Figure("pearson_change", "A", "model", 0.9, 10, "expression"),
        Figure("pearson_change", "B", "model", 0.7, 10, "expression"),
        Figure("pearson_change", "", "model", 0.8, 2, "expression", 0.7, 0.9),
        Figure("scfid", "", "model", 3.0, 2, "X_c2s"),
    ]
    new = [
        Figure("pearson_change", "C", "model", 0.1, 10, "expression"),
        Figure("pearson_change", "C", "training_mean", 0.4, 10, "expression"),
    ]
    parts = {"new pair": known, "new context": new}
    return pd.concat(figures_table(own).assign(kind=kind) for kind, own in parts.items())


def test_means_of_each_kind_are_beside_their_baselines():
    assert kind_rows(table()) == {
        "New pair: Pearson of changes, all genes ↑": {"model": "0.800 (0.700 to 0.900)"},
        # Of a single perturbation its own figures.
        "New context: Pearson of changes, all genes ↑": {
            "model": "0.100", "training_mean": "0.400",
        },
    }  # fmt: skip


def test_the_cells_of_each_kind_are_listed():
    section = held_out(table(), ["new pair: 20 measured cells of <two>"])
    assert section.content == "<ul><li>new pair: 20 measured cells of &lt;two&gt;</li></ul>"
    assert section.plot is not None
