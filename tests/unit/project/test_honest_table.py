"""`make benchmark`: its counts are those of the files, its table holds what the runs have."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import sparse

from c2sflow.evaluation.calibration import Judged, calibration_figures
from c2sflow.evaluation.figures import figures_table

ROOT = Path(__file__).resolve().parents[3]
HONEST = ROOT / "benchmarks/honest"
sys.path.append(str(ROOT / "benchmarks"))

from honest import table  # noqa: E402
from honest.cells import FILES, counts_of  # noqa: E402


def test_counts_of_log_normalised_cells_are_those_that_were_counted():
    rng = np.random.default_rng(0)
    counts = sparse.csr_matrix(rng.poisson(0.4, (200, 60)) + (np.arange(60) == 0))
    totals = np.asarray(counts.sum(axis=1)).ravel() + rng.integers(0, 50, 200)
    values = sparse.csr_matrix(np.log1p(counts.toarray() * (1e4 / totals)[:, None]))
    found, known = counts_of(values, totals * 1.1)
    assert known.all()
    np.testing.assert_array_equal(found.toarray(), counts.toarray())


@pytest.mark.parametrize("counts", [[2, 4, 0], [2, 5, 3]])
def test_a_cell_without_a_gene_of_one_count_is_left_open(counts):
    total = sum(counts) + 100
    values = sparse.csr_matrix(np.log1p(np.array([counts]) * 1e4 / total))
    _, known = counts_of(values, np.array([total * 1.05]))
    assert not known.any()


def test_absent_data_are_one_clear_line(tmp_path):
    done = subprocess.run(
        [sys.executable, HONEST / "cells.py", tmp_path, tmp_path / "cells"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert all(name in line for name in [*FILES, "DATA="])
    assert not (tmp_path / "cells").exists()


def test_every_file_of_parameters_is_run_into_its_own_folder():
    lines = re.search(r"chains='\n(.*?)'", (HONEST / "run.sh").read_text(), re.DOTALL)[1]
    chains = [line.split() for line in lines.splitlines()]
    listed = [name for chain in chains for name in chain]
    files = {path.stem: yaml.safe_load(path.read_text()) for path in HONEST.glob("*.yml")}
    assert sorted(listed) == sorted(files)
    for name, parameters in files.items():
        assert parameters["outdir"] == f"results/benchmark/{name}"
        given = ROOT / parameters["input"]
        if given.suffix == ".csv":
            [path] = pd.read_csv(given)["path"]
            given = (given.parent / path).resolve()
        made = given.relative_to(ROOT).parts[2]
        [chain] = [chain for chain in chains if name in chain]
        assert made in {"cells", *chain[: chain.index(name)]}  # chains run beside each other


def figures(tmp_path, run, value):
    """evaluation/ of a run with two conditions and their means."""
    rows = [
        (
            metric,
            subject,
            space,
            predictor,
            own,
            own - 0.1,
            own + 0.1,
            30,
            50 if subject else None,
            0.01,
        )
        for metric, space, *_ in table.OWN_ROWS
        for subject in ("A", "B", None)
        for predictor, own in (("model", value), ("no_change", 0.25), ("measured_half", 0.9))
    ]
    columns = ["metric", "subject", "space", "predictor", "value", "ci_low", "ci_high"]
    folder = tmp_path / run / "evaluation"
    folder.mkdir(parents=True)
    pd.DataFrame(rows, columns=[*columns, "n", "n_reference", "null"]).to_csv(
        folder / "perturbation.tsv", sep="\t", index=False
    )
    return folder.parent


def test_the_table_holds_the_figures_of_the_runs_and_marks_the_best(tmp_path):
    runs = {
        "finetuned": figures(tmp_path, "x_finetuned", 0.2),
        "zero_shot": figures(tmp_path, "x_zero_shot", -0.5),
    }
    lines = table.own_table(runs).splitlines()
    assert lines[0] == "Means over A, B: 30 predicted and 50 measured cells of each."
    cells = [cell.strip() for cell in lines[4].strip("|").split("|")]
    assert cells[1:5] == ["0.20 [0.10, 0.30]", "−0.50 [−0.60, −0.40]", "**0.25 [0.15, 0.35]**", "–"]
    assert cells[7:] == ["0.90 [0.80, 1.00]", "0.01"]
    error = next(line for line in lines if line.startswith("| squared error"))
    assert "**−500 [−600, −400]**" in error  # the least


def test_scores_of_cell_eval_are_beside_its_baselines(tmp_path):
    runs = {}
    for run, value in (("finetuned", 0.8), ("zero_shot", 0.4)):
        folder = runs[run] = tmp_path / run
        (folder / "evaluation").mkdir(parents=True)
        rows = [
            ("pds_l1", "model", value, (value - 0.5) / 0.4),
            ("pds_l1", "mean_response", 0.5, 0),
            ("pds_l1", "replicate", 0.9, 1),
        ]
        pd.DataFrame(rows, columns=["metric", "predictor", "value", "scaled"]).to_csv(
            folder / "evaluation/benchmark.tsv", sep="\t", index=False
        )
    assert table.cell_eval_table(runs).splitlines() == [
        "| figure | fine-tuned | zero-shot | no change | mean response | linear | replicate "
        "| fine-tuned, scaled | zero-shot, scaled |",
        "|" + "---|" * 9,
        "| `pds_l1` | **0.80** | 0.40 | – | 0.50 | – | 0.90 | 0.75 | −0.25 |",
    ]


def test_probabilities_are_beside_those_of_a_calibrated_model(tmp_path):
    rng = np.random.default_rng(0)
    scores = np.log(rng.dirichlet(np.ones(3), 300))
    judged = Judged(scores, (scores + rng.gumbel(size=scores.shape)).argmax(axis=1))
    (tmp_path / "evaluation").mkdir()
    made = figures_table(calibration_figures(judged, 0)).assign(asked="cell_type")
    made.to_csv(tmp_path / "evaluation/calibration.tsv", sep="\t", index=False)
    lines = table.calibration_table(tmp_path).splitlines()
    assert lines[0] == "300 cells."
    own = made.set_index("metric")
    ece = own.loc["ece"]
    assert next(line for line in lines if line.startswith("| calibration error")) == (
        f"| calibration error | {ece['value']:.3f} [{ece['ci_low']:.3f}, {ece['ci_high']:.3f}] "
        f"| {ece['null']:.3f} [{ece['null_low']:.3f}, {ece['null_high']:.3f}] |"
    )
    assert f"| temperature | {own.loc['temperature', 'value']:.2f} | – |" in lines


def test_runs_of_other_cells_make_no_table(tmp_path):
    runs = {"finetuned": figures(tmp_path, "x_finetuned", 0.2)}
    other = figures(tmp_path, "x_zero_shot", 0.1) / "evaluation/perturbation.tsv"
    other.write_text(other.read_text().replace("0.25", "0.31"))
    with pytest.raises(SystemExit, match="not of the same cells"):
        table.own_table({**runs, "zero_shot": other.parents[1]})


def test_only_what_is_between_the_markers_changes():
    text = "by hand\n<!-- a -->\n\nold\n\n<!-- /a -->\nby hand\n"
    assert table.replaced(text, "a", "new") == text.replace("old", "new")
    with pytest.raises(SystemExit):
        table.replaced(text, "b", "new")


def test_times_are_those_of_the_trace(tmp_path):
    trace = tmp_path / "execution_trace.tsv"
    trace.write_text(
        "submit\tstart\trealtime\t%cpu\n"
        "2026-11-28 12:00:00.000\t2026-11-28 12:00:01.000\t1m 2s\t50.0%\n"
        "2026-11-28 12:01:03.000\t2026-11-28 12:01:04.000\t500ms\t200.0%\n"
    )
    assert table.times_of(trace) == pytest.approx((64.5, 32))
