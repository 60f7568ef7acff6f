"""Figures of held-out cells in a model's card."""

import pandas as pd
from click.testing import CliRunner

from c2sflow.data.result_tables import write_table
from c2sflow.evaluation.figures import Figure, figures_table
from c2sflow.steps.card import main
from c2sflow.training.held_out_card import with_held_out_figures

CARD = "# A model\n\n## Prompts\n\ntext with | and {braces}\n\n## Limits\n"
ACCURACY = [
    Figure("accuracy", "", "knn", 0.812, 40, "X_c2s", 0.7, 0.9),
    Figure("balanced_accuracy", "", "knn", 0.5, 40, "X_c2s", 0.4, 0.6),
    Figure("recall", "B", "knn", 0.9, 12, "X_c2s", 0.8, 1.0),
    Figure("accuracy", "", "majority", 0.31, 40, "", 0.2, 0.4),
    Figure("balanced_accuracy", "", "majority", 0.125, 40, ""),
]
CHANGES = [
    Figure(metric, name, predictor, value, 9, "expression", value - 0.1, value + 0.1, 8)
    for metric, predictor, value in [
        ("pearson_change", "model", 0.8),
        ("pearson_change", "training_mean", 0.9),
        ("mse", "model", 0.25),
    ]
    for name in ("A", "B", "")
]


def test_figures_stand_before_the_prompts():
    tables = {"accuracy": figures_table(ACCURACY), "perturbation": figures_table(CHANGES)}
    made = with_held_out_figures(CARD, tables)
    head, rest = made.split("## Prompts")
    assert "## Prompts" + rest == CARD[CARD.index("## Prompts") :]
    assert head.startswith("# A model\n\n## Held-out cells\n\n")
    lines = head.splitlines()
    assert "| knn, X_c2s | 40 | 0.812 [0.7, 0.9] | 0.5 [0.4, 0.6] |" in lines
    assert "| majority | 40 | 0.31 [0.2, 0.4] | 0.125 |" in lines
    assert "| mean of 2 perturbations | model | training_mean |" in lines
    assert "| pearson_change | 0.8 [0.7, 0.9] | 0.9 [0.8, 1] |" in lines
    assert "| mse | 0.25 [0.15, 0.35] |  |" in lines
    assert not [line for line in lines if "recall" in line]


def test_of_one_perturbation_it_is_named():
    one = [figure for figure in CHANGES if figure.subject == "A"]
    made = with_held_out_figures(CARD, {"perturbation": figures_table(one)})
    assert "| A | model | training_mean |" in made.splitlines()


def test_without_figures_the_card_is_as_it_was(tmp_path):
    assert with_held_out_figures(CARD, {"trust": pd.DataFrame()}) == CARD
    (tmp_path / "README.md").write_text(CARD)
    arguments = ["--card", str(tmp_path / "README.md"), "--outdir", str(tmp_path / "model")]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert (tmp_path / "model/README.md").read_text() == CARD


def test_script_reads_the_tables_of_a_run(tmp_path):
    (tmp_path / "README.md").write_text(CARD)
    (tmp_path / "evaluation").mkdir()
    write_table(figures_table(ACCURACY), tmp_path / "evaluation" / "accuracy.tsv")
    arguments = ["--card", str(tmp_path / "README.md"), "--outdir", str(tmp_path / "model")]
    arguments += ["--evaluation-dir", str(tmp_path / "evaluation")]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert (
        "| majority | 40 | 0.31 [0.2, 0.4] | 0.125 |"
        in (tmp_path / "model/README.md").read_text().splitlines()
    )
