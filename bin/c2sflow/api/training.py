"""Fine-tuning on a table of cell sentences: its split, and the shard that training reads."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd

from c2sflow.common.errors import Faults
from c2sflow.common.files import write_json
from c2sflow.data.splits.splits import COLUMN as SPLIT
from c2sflow.data.splits.splits import Rule
from c2sflow.sentences.shards import write_table
from c2sflow.training.finetuning import finetune
from c2sflow.training.options import TrainingOptions
from c2sflow.validation.training_options import training_of

OURS = ("perturbations", "fit_parameters")  # columns that are no annotation of the cells


def finetune_table(
    table: pd.DataFrame,
    outdir: Path,
    options: TrainingOptions,
    base: Path | None,
    **split: object,
) -> Path:
    """Train on the cells that are not held out; give the model's directory.

    Parameters
    ----------
    table
        From `c2sflow.api.sentence_table.sentence_table`.
    outdir
        Gets ``model/`` and the record: see `c2sflow.training.finetuning.finetune`.
    base
        Directory of the model to begin with; None for the method "scratch".
    split
        split_by, split_column, hold_out_combinations, held_out, validation, hold_out, splits,
        context_column, few_shot, pool_column: as the workflow's parameters.

    Raises
    ------
    UserError
        If tasks, columns and splits do not go together, or `outdir` holds a model.
    """
    rule = _rule(table, options, split)
    cells = table.drop(columns=list(OURS), errors="ignore").assign(**{SPLIT: rule.apply(table)})
    with tempfile.TemporaryDirectory(prefix="c2sflow-") as folder:
        shard, summary = Path(folder) / "cells.parquet", Path(folder) / "cells.sentences.json"
        write_table(cells, shard)
        write_json(summary, {"genes": list(table.attrs["genes"])})
        finetune([shard], [summary], outdir, options, base, rule)
    return outdir / "model"


def _rule(table: pd.DataFrame, options: TrainingOptions, split: dict[str, object]) -> Rule:
    """How the cells are split, when it is seen that every task has cells in every split."""
    own = (
        "label_column", "control", "dtype", "seed", "tissue_column", "cells_per_prompt",
        "cells_per_answer", "group_by",
    )  # fmt: skip
    asked = {name: getattr(options, name) for name in own}
    asked |= {"finetune": options.tasks, "measured_column": options.perturbation_column, **split}
    nothing = dict.fromkeys(("perturbation_column", "perturbations", "pseudobulk"))
    faults = Faults()
    file = None
    if split.get("splits") is not None:
        asked["splits"] = str(split["splits"])
        file = Path(asked["splits"]) if Path(asked["splits"]).is_file() else None
    training = training_of({**asked, **nothing}, False, faults, file)
    if training is not None:
        training.look_at(table, "the cells", faults)
        training.check(faults)
    faults.stop_if_any()
    assert training is not None  # else there is a fault
    return training.rule
