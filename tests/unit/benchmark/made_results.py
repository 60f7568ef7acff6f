"""Results of a small run with measured cells, as MERGE writes them."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from results.test_merge import make_sample
from results.test_predictions import write_shard
from scipy import sparse

from c2sflow.results.merge import merge_samples
from c2sflow.results.predictions import Predicted, merge_predictions
from c2sflow.sentences.rank_fit import RankFit

N_GENES, N_CONTROL, N_EACH = 120, 60, 30
PERTURBED = ("G3", "G7", "G11", "G20")


def make_results(
    folder: Path, perturbed=PERTURBED, base=10, counts=True, n_answers=20, controls=False
) -> tuple[Path, Path]:
    """c2s.h5ad and c2s_perturbed.h5ad: each perturbation changes a fifth of the genes.

    Predictions are cells drawn from about the right distribution, in the order of their genes.
    """
    rng = np.random.default_rng(0)
    level = rng.gamma(1.2, 4.0, N_GENES) + 0.3
    effects = {
        name: np.exp(rng.normal(0, 1.2, N_GENES) * (rng.random(N_GENES) < 0.2))
        for name in perturbed
    }

    def draw(mean, n):
        return rng.poisson(rng.gamma(8, 1 / 8, (n, 1)) * mean).astype(np.float32)

    labels = ["control"] * N_CONTROL + [name for name in perturbed for _ in range(N_EACH)]
    values = np.vstack(
        [draw(level, N_CONTROL), *(draw(level * e, N_EACH) for e in effects.values())]
    )
    genes = [f"G{n}" for n in range(N_GENES)]
    sample, _ = make_sample(folder, "s 1", len(labels), genes, [len(labels)], treatment=labels)
    cells = ad.read_h5ad(sample.path)
    cells.layers["counts"] = sparse.csr_matrix(values)
    logged = np.log10(1 + 1e4 * values / values.sum(1, keepdims=True)).astype(np.float32)
    cells.X = sparse.csr_matrix(logged)
    if not counts:
        del cells.layers["counts"]
    cells.write_h5ad(sample.path)
    fit = RankFit()
    for row in logged:
        found = np.sort(row[row > 0])[::-1]
        fit.add_cells(found, [len(found)])
    uns = {"seed": 5}
    merged = merge_samples([sample], folder / "c2s.h5ad", uns, base=base)
    rows = []
    for cell in range(n_answers):
        for name, effect in effects.items():
            answer = draw(level * effect, 1)[0]
            order = [n for n in np.argsort(-answer, kind="stable") if answer[n] > 0]
            rows.append((f"cell{cell}", name, " ".join(genes[n] for n in order), 0))
    write_shard(folder / "0.parquet", rows)
    columns = {name: n for n, name in enumerate(genes)}
    shard = Predicted(folder / "0.parquet", len(rows), columns, merged.obs.index)
    merge_predictions(
        [shard], merged.obs, pd.DataFrame(index=genes), fit.solve(), folder / "c2s_perturbed.h5ad",
        uns, base=base, source=folder / "c2s.h5ad", controls=controls,
    )  # fmt: skip
    return folder / "c2s.h5ad", folder / "c2s_perturbed.h5ad"
