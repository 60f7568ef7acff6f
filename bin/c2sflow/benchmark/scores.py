"""The Virtual Cell Challenge's metrics of a run, computed by cell-eval2, beside baselines."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from c2sflow.benchmark.compared import Compared, Settings, genes_of, log_unmeasured, read_compared
from c2sflow.benchmark.opened import Results, open_results
from c2sflow.benchmark.predictors import changed_cells, linear_changes, log_means, no_change
from c2sflow.common.errors import UserError, brief
from c2sflow.common.files import write_beside, write_json
from c2sflow.data.result_tables import TSV

LOGGER = logging.getLogger(__name__)
COLUMN, CONTROL = "target", "non-targeting"
MIN_CELLS = 4  # measured cells of a condition: halves of two
# cell-eval2's names. Of all of them but those that no challenge averages.
METRICS = (
    "pds_cosine", "pds_l1", "pds_l2", "delta_pearson", "expr_mse_unbiased_capped_norm",
    "de_wilcoxon_overlap", "de_wilcoxon_sig_jaccard", "de_wilcoxon_direction_match",
    "de_wilcoxon_direction_fidelity_yield_raw", "de_wilcoxon_direction_reach_raw",
    "de_wilcoxon_lfc_nmae",
)  # fmt: skip
DISCRIMINATION = ("pds_cosine", "pds_l1", "pds_l2")
EXPRESSION_ERROR = "expr_mse_unbiased_capped_norm"
LOWER_IS_BETTER = (EXPRESSION_ERROR, "de_wilcoxon_lfc_nmae")
DIFFERENTIAL = tuple(name for name in METRICS if name.startswith("de_"))
# cell-eval2 refuses all metrics where one has no value, as the expression error has none where the
# measured cells show no effect. What is left out in turn, until it computes the rest.
LEFT_OUT = ((), (EXPRESSION_ERROR,), DIFFERENTIAL, (EXPRESSION_ERROR, *DIFFERENTIAL))
REFUSALS = (ValueError, ZeroDivisionError, ArithmeticError)
# From which the expression error is computed.
COMPONENTS = (
    "expr_mse_unbiased", "expr_mse_unbiased_capped", "expr_distance_unbiased",
    "expr_real_mass_ratio",
)  # fmt: skip


@dataclass
class _Scores:
    """Figures as they come.

    Attributes
    ----------
    config
        cell-eval2's settings.
    rows
        metric, predictor, value.
    notes
        What could not be computed, and why.
    """

    config: Any
    rows: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, predictor: str, compute: Callable[[Any], Mapping[str, float]]) -> None:
        """Add a predictor's figures, given settings; another package's refusal becomes a note."""
        refusals: list[Exception] = []
        for left_out in LEFT_OUT:
            try:
                found = compute(_without(self.config, left_out))
            except REFUSALS as error:
                refusals.append(error)
            else:
                break
        else:
            self.notes.append(f"{predictor}: not computed by cell-eval2: {brief(refusals[0])}")
            return
        if refusals:
            named = ", ".join(left_out)
            self.notes.append(f"{predictor}: no {named} by cell-eval2: {brief(refusals[0])}")
        for metric in METRICS:
            value = found.get(metric)
            if value is not None and np.isfinite(value):
                row = {"metric": metric, "predictor": predictor, "value": float(value)}
                self.rows.append(row)


def _without(config: Any, left_out: Sequence[str]) -> Any:
    """Settings with our metrics but for these, and what the others are computed from."""
    from dataclasses import replace

    metrics = [name for name in METRICS if name not in left_out]
    return replace(config, metrics=[*metrics, *(COMPONENTS if EXPRESSION_ERROR in metrics else ())])


def write_benchmark(cells: Path, perturbed: Path, outdir: Path, settings: Settings) -> None:
    """Write ``evaluation/benchmark.tsv`` and ``benchmark_notes.json``.

    The table has metric, predictor (model, mean_response, no_change, linear, replicate), value,
    and scaled: 0 is the mean response, 1 a replicate of the experiment.

    Raises
    ------
    UserError
        If there are no counts, or no measured cells to compare with.
    """
    with open_results(cells, perturbed) as results:
        compared = read_compared(cells, perturbed, settings, settings.evaluation_cells)
        results.check("--benchmark", compared, counts=True, measured=True)
        log_unmeasured(compared)
        table, notes = benchmark(results, compared, settings.seed)
    with write_beside(outdir / "evaluation" / "benchmark.tsv") as partial:
        table.to_csv(partial, **{**TSV, "float_format": "%.10g"})
    write_json(outdir / "evaluation" / "benchmark_notes.json", {"benchmark": notes})
    LOGGER.info("benchmark: %d figures by cell-eval2", len(table))
    for note in notes:
        LOGGER.info("benchmark: %s", note)


def benchmark(results: Results, compared: Compared, seed: int) -> tuple[pd.DataFrame, list[str]]:
    """Figures of all predictors, and notes on them.

    Raises
    ------
    UserError
        If no condition has cells enough.
    """
    from cell_eval2.run import aggregate_metrics, compute_metrics

    notes: list[str] = []
    names = _enough(compared, notes)
    control = results.cells.counts(compared.control)
    measured = {name: results.cells.counts(compared.measured[name]) for name in names}
    targets = genes_of({name: compared.perturbations[name] for name in names}, results.genes)
    scores = _Scores(_config(targets), notes=notes)
    real = _cells(control, measured, results.genes)

    def compare(predicted: Mapping[str, sparse.csr_matrix], config: Any) -> dict[str, float]:
        pair = _cells(control, predicted, results.genes), real
        frame = compute_metrics(*pair, config=config)
        found = aggregate_metrics(frame, metrics=config.metrics)
        return dict(zip(found["metric"].to_list(), found["mean"].to_list(), strict=True))

    model = {name: results.predicted.counts(compared.predicted[name]) for name in names}
    sizes = {name: own.shape[0] for name, own in model.items()}
    rng = np.random.default_rng([seed, len(names)])
    scores.add("model", lambda config: compare(model, config))
    if len(names) > 1:
        scores.add("mean_response", lambda config: _mean_response(real, config))
    same = {name: no_change(control, n, rng) for name, n in sizes.items()}
    scores.add("no_change", lambda config: compare(same, config))
    linear = _linear(control, measured, targets, results.genes)
    if len(linear) == len(names):
        changed = {name: changed_cells(control, linear[name], n, rng) for name, n in sizes.items()}
        scores.add("linear", lambda config: compare(changed, config))
    else:
        scores.notes.append(
            "linear: no baseline on gene features, which needs four perturbations or more, all of "
            "them named as genes of the data"
        )
    scores.add("replicate", lambda config: _replicate(real, config))
    figures = pd.DataFrame(scores.rows, columns=["metric", "predictor", "value"])
    if len(names) == 1:
        figures = figures[~figures["metric"].isin(DISCRIMINATION)].reset_index(drop=True)
    table = scaled(figures)
    return table.assign(n_conditions=len(names)), scores.notes


def _enough(compared: Compared, notes: list[str]) -> list[str]:
    """Conditions with cells enough on both sides."""
    names = [
        name
        for name in compared.of_both()
        if len(compared.measured[name]) >= MIN_CELLS and len(compared.predicted[name]) >= 2
    ]
    few = [name for name in compared.of_both() if name not in names]
    if few:
        notes.append(f"{', '.join(few[:5])}: fewer than {MIN_CELLS} measured or 2 predicted cells")
    if not names or len(compared.control) < MIN_CELLS:
        raise UserError(
            f"--benchmark: no perturbation has {MIN_CELLS} measured and 2 predicted cells, and as "
            "many control cells; predict more with --max_cells_per_perturbation"
        )
    if len(names) == 1:
        notes.append(
            "one perturbation: there is no other to distinguish it from, and the mean response is "
            "its own measured response; so there is no discrimination, mean response or scale"
        )
    return names


def _config(targets: Mapping[str, str | None]) -> Any:
    """The challenge's settings, with these target genes."""
    from dataclasses import replace

    from cell_eval2.config import EvalConfig

    return replace(
        EvalConfig.from_preset("vcc2026"),
        target_gene_map=dict(targets),
        cache_strict=False,
        num_threads=int(os.environ.get("OMP_NUM_THREADS", "1")),
    )


def _cells(
    control: sparse.csr_matrix, groups: Mapping[str, sparse.csr_matrix], genes: pd.Index
) -> ad.AnnData:
    """Control cells and those of the conditions, as cell-eval2 takes them."""
    labels = [CONTROL] * control.shape[0]
    for name, own in groups.items():
        labels += [name] * own.shape[0]
    names = pd.Index([f"{label} {place}" for place, label in enumerate(labels)])
    obs = pd.DataFrame({COLUMN: pd.Categorical(labels)}, index=names)
    matrix = sparse.vstack([control, *groups.values()], "csr").astype(np.float32)
    return ad.AnnData(matrix, obs=obs, var=pd.DataFrame(index=genes))


def _mean_response(real: ad.AnnData, config: Any) -> dict[str, float]:
    """cell-eval2's own baseline: every perturbation does what perturbations do on average."""
    from cell_eval2.baseline import build_generic_baseline

    agg = build_generic_baseline(real, config=config, allow_degenerate=True).agg
    row = agg.filter(agg["statistic"] == "mean").to_dicts()[0]
    return {name: value for name, value in row.items() if name != "statistic"}


def _linear(
    control: sparse.csr_matrix,
    measured: Mapping[str, sparse.csr_matrix],
    targets: Mapping[str, str | None],
    genes: pd.Index,
) -> dict[str, np.ndarray]:
    mean = log_means(control)
    changes = {name: log_means(own) - mean for name, own in measured.items()}
    return linear_changes(changes, targets, list(genes))


def _replicate(real: ad.AnnData, config: Any) -> dict[str, float]:
    """cell-eval2's anchor: halves of the measured cells against each other, five times."""
    from cell_eval2.anchor import compute_replicate_anchor

    _, found = compute_replicate_anchor(real, config=config)
    return dict(zip(found["metric"].to_list(), found["replicate"].to_list(), strict=True))


def scaled(table: pd.DataFrame) -> pd.DataFrame:
    """With a column `scaled`: (value - mean response) / (replicate - mean response).

    Missing where either end is missing, or the replicate is not better than the mean response, as
    with few perturbations, whose mean has much of each.
    """
    ends = table.pivot_table(index="metric", columns="predictor", values="value")
    ends = ends.reindex(columns=["mean_response", "replicate"])
    low = table["metric"].map(ends["mean_response"])
    width = table["metric"].map(ends["replicate"]) - low
    better = np.where(table["metric"].isin(LOWER_IS_BETTER), width < 0, width > 0)
    return table.assign(scaled=((table["value"] - low) / width.where(better)))
