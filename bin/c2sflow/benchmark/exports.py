"""Folders that the field's benchmarks take: predicted cells, measured cells, and the command."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from c2sflow.benchmark import cz_benchmarks, scperturbench
from c2sflow.benchmark.compared import Compared, Settings, genes_of, log_unmeasured, read_compared
from c2sflow.benchmark.files import write_parts
from c2sflow.benchmark.opened import Results, open_results

LOGGER = logging.getLogger(__name__)
CONTROL = "non-targeting"  # what cell-eval and cell-eval2 call control cells by default

CELL_EVAL = """# cell-eval

    pip install cell-eval==0.8.2
{command}
`predicted.h5ad`{real}: `X` is the natural logarithm of 1 + expression at 10,000 a
cell, as cell-eval takes it (it does not look at `uns["log1p"]`); `obs["target_gene"]` holds the
perturbation, and `{control}` for control cells, which {are} as measured.

To pack a submission (needs zstd; `genes.csv` lists the genes):

    cell-eval prep -i predicted.h5ad -g genes.csv --expected-gene-dim -1
"""
VCC2026 = """# Virtual Cell Challenge 2026, cell-eval2

    pip install cell-eval2==0.20.0 pdex
{command}
`predicted.h5ad`{real}: `X` holds counts; `obs["target"]` the perturbation, and
`{control}` for control cells, which {are} as measured.
{genes}

The scale of the challenge, 0 for the mean response and 1 for a replicate of the experiment:

    cell-eval2 baseline --preset vcc2026{flag} -ar real.h5ad -o baseline
    cell-eval2 run --preset vcc2026{flag} --anchor -ap predicted.h5ad -ar real.h5ad -o scores
    cell-eval2 score --user-agg scores/agg_results.csv --anchor scores \\
        --baseline-agg baseline/baseline_agg.csv
"""


@dataclass(frozen=True)
class Tool:
    """A benchmark.

    Attributes
    ----------
    write
        Writes its folder.
    needs_counts, needs_measured
        What it cannot do without.
    in_memory
        Whether its cells are held in memory: then `evaluation_cells` of each kind are taken.
    """

    write: Callable[[Path, Results, Compared], None]
    needs_counts: bool = False
    needs_measured: bool = False
    in_memory: bool = False


def write_exports(
    tools: Sequence[str], cells: Path, perturbed: Path, outdir: Path, settings: Settings
) -> None:
    """Write ``exports/<tool>/`` for each tool.

    Parameters
    ----------
    tools
        Names of `TOOLS`.
    cells, perturbed
        c2s.h5ad and c2s_perturbed.h5ad.

    Raises
    ------
    UserError
        If no predicted cell starts from a control cell, or a tool lacks what it needs.
    """
    with open_results(cells, perturbed) as results:
        for name in tools:
            tool = TOOLS[name]
            most = settings.evaluation_cells if tool.in_memory else None
            compared = read_compared(cells, perturbed, settings, most)
            log_unmeasured(compared)
            results.check(name, compared, tool.needs_counts, tool.needs_measured)
            folder = outdir / "exports" / name
            folder.mkdir(parents=True, exist_ok=True)
            tool.write(folder, results, compared)
            LOGGER.info("exports/%s: see README.md there for the command", name)


def _write_cell_eval(folder: Path, results: Results, compared: Compared) -> None:
    _write_pair(folder, results, compared, "target_gene", counts=False)
    pd.Series(results.genes).to_csv(folder / "genes.csv", index=False, header=False)
    command = "    cell-eval run -ap predicted.h5ad -ar real.h5ad --num-threads 4 -o scores\n"
    _write_readme(folder, CELL_EVAL, compared, command)


def _write_vcc2026(folder: Path, results: Results, compared: Compared) -> None:
    _write_pair(folder, results, compared, "target", counts=True)
    named = genes_of(compared.perturbations, results.genes)
    flag = "" if any(named.values()) else " --no-target-genes"
    command = (
        f"    cell-eval2 run --preset vcc2026{flag} -ap predicted.h5ad -ar real.h5ad -o scores\n"
    )
    genes = (
        "Perturbations that have the name of a gene are taken to target it; where one is an added\n"
        "protein instead, such as a cytokine, add `--no-target-genes`."
        if not flag
        else "No perturbation has the name of a gene: `--no-target-genes`."
    )
    _write_readme(folder, VCC2026, compared, command, flag=flag, genes=genes)


def _write_readme(folder: Path, text: str, compared: Compared, command: str, **more: str) -> None:
    measured = bool(compared.of_both())
    command = (
        f"{command}\n"
        if measured
        else "\nNo measured cells are known (`--measured_column`): compare with yours.\n\n"
    )
    real = " and `real.h5ad`" if measured else ""
    are = "are the same in both," if measured else "are"
    readme = text.format(command=command, real=real, are=are, control=CONTROL, **more)
    (folder / "README.md").write_text(readme, encoding="utf-8")


def _write_pair(
    folder: Path, results: Results, compared: Compared, column: str, counts: bool
) -> None:
    """predicted.h5ad and, where cells are measured, real.h5ad: the same conditions in both."""
    names = compared.of_both() or list(compared.predicted)
    own = [
        results.cells_part(compared, compared.control, {column: CONTROL}),
        *(
            results.predicted_part(compared, compared.predicted[name], {column: name})
            for name in names
        ),
    ]
    write_parts(folder / "predicted.h5ad", own, results.genes, counts, results.log_base)
    if compared.of_both():
        real = own[:1] + [
            results.cells_part(compared, compared.measured[name], {column: name}) for name in names
        ]
        write_parts(folder / "real.h5ad", real, results.genes, counts, results.log_base)


TOOLS = {
    "cell_eval": Tool(_write_cell_eval),
    "vcc2026": Tool(_write_vcc2026, needs_counts=True),
    "cz_benchmarks": Tool(cz_benchmarks.write, needs_measured=True, in_memory=True),
    "scperturbench": Tool(scperturbench.write, needs_measured=True, in_memory=True),
}
