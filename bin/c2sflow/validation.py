"""Every fault a user can make, found and told together before anything else runs."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from c2sflow.anndata_io import open_anndata
from c2sflow.cells import CellData
from c2sflow.errors import UserError
from c2sflow.model_files import read_config
from c2sflow.parameters import check_parameters
from c2sflow.perturbations import parse_perturbations, select_controls
from c2sflow.planning import is_perturbed
from c2sflow.prompts import EMBEDDING_PROMPT, PERTURBATION_PROMPT, check_fields, load_template
from c2sflow.samplesheet import Row, read_samplesheet, sample_ids, single_row
from c2sflow.states import STATES, State, declared_state, detect_state
from c2sflow.symbols import PER_CELL, cell_organisms, find_organism, find_symbols, gene_symbols

LOGGER = logging.getLogger(__name__)

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
# Columns that QC adds to obs: a prompt may use them although the input does not have them.
QC_COLUMNS = ("sample", "organism", "n_genes_by_counts", "total_counts", "pct_counts_mt")


class Faults(list):
    """Messages for the user, one line each."""

    @contextmanager
    def collect(self, prefix: str = "") -> Iterator[None]:
        """Keep a UserError of the block instead of raising it."""
        try:
            yield
        except UserError as error:
            self.append(prefix + " ".join(str(error).split()))

    def stop_if_any(self) -> None:
        """Raise all faults as one UserError."""
        if self:
            lines = "".join(f"\n{number:3}. {fault}" for number, fault in enumerate(self, 1))
            many = "1 fault" if len(self) == 1 else f"{len(self)} faults"
            raise UserError(f"{many} in the input; nothing was run{lines}")


@dataclass
class Staged:
    """Files that the run names, where this step sees them; None for files that do not exist."""

    rows: Sequence[str | None]
    sheet: Path | None = None
    model_dir: Path | None = None
    perturbations_file: Path | None = None
    embedding_prompt_file: Path | None = None
    perturbation_prompt_file: Path | None = None


@dataclass
class Targets:
    """What the run does with the cells' annotation, and what the samples turn out to hold."""

    label_column: str | None = None
    perturbation_column: str | None = None
    control: str | None = None
    perturbations: list[str] = field(default_factory=list)
    prompts: dict[str, str] = field(default_factory=dict)
    sound: bool = True
    n_controls: int = 0
    labelled: Counter = field(default_factory=Counter)
    labelled_controls: Counter = field(default_factory=Counter)

    def look_at(self, obs: pd.DataFrame, where: str, faults: Faults) -> None:
        """Check the columns that the run needs in one sample, and count its cells."""
        n_faults = len(faults)
        for option in ("label_column", "perturbation_column"):
            name = getattr(self, option)
            if name is not None and name not in obs:
                faults.append(f"{where}: --{option} {name}: obs has no such column ({_some(obs)})")
        for prompt in self.prompts.values():
            with faults.collect():
                check_fields(prompt, [*obs.columns, *QC_COLUMNS], where)
        controls = np.zeros(len(obs), dtype=bool)
        with faults.collect(f"{where}: "):
            controls = select_controls(obs, self.control)
        self.sound &= len(faults) == n_faults
        self.n_controls += int(controls.sum())
        if self.perturbation_column in obs:
            labels = obs[self.perturbation_column]
            labelled = is_perturbed(labels)
            self.labelled.update(labels[labelled].astype(str))
            self.labelled_controls.update(labels[labelled & ~controls].astype(str))

    @property
    def wanted(self) -> bool:
        """Whether the run predicts perturbations at all."""
        return bool(self.perturbations or self.perturbation_column)

    def n_predictions(self, max_cells: int | None) -> int:
        """Predictions if every cell passes QC."""
        if not self.wanted:
            return 0
        if self.perturbations or self.control is not None:
            names = self.perturbations or self.labelled_controls
            return len(names) * min(self.n_controls, max_cells or self.n_controls)
        return sum(min(count, max_cells or count) for count in self.labelled.values())

    def check(self, faults: Faults) -> None:
        """Faults that only all samples together show."""
        if self.control is not None and not self.n_controls:
            faults.append(f"--control {self.control!r}: selects no cell of any sample")
        elif self.wanted and not self.n_predictions(None):
            faults.append(
                f"--perturbation_column {self.perturbation_column}: holds no perturbation but "
                "controls; nothing to predict"
            )


def _some(obs: pd.DataFrame, most: int = 10) -> str:
    names = [str(name) for name in obs.columns]
    return "has " + (", ".join(names[:most]) or "none") + (", …" if len(names) > most else "")


def validate_run(
    params: Mapping, staged: Staged, schema: Mapping, input_schema: Mapping
) -> tuple[dict, list[dict]]:
    """Check everything a run is given.

    Parameters
    ----------
    params
        As Nextflow has them.
    staged
        The files.
    schema, input_schema
        ``nextflow_schema.json`` and ``assets/schema_input.json``.

    Returns
    -------
    Options (group to name to value) and samples, for ``options.json`` and ``samples.json``.

    Raises
    ------
    UserError
        With all faults, numbered, one line each.
    """
    faults = Faults()
    options, wrong = check_parameters(params, schema)
    faults += wrong
    flat = {name: value for group in options.values() for name, value in group.items()}
    if flat["num_samples"] != 1 and not flat["temperature"]:
        faults.append("--num_samples: greedy answers are all the same; give --temperature above 0")
    targets = _targets(flat, staged, faults)
    log = _check_model(str(flat["model"]), staged.model_dir, faults)
    samples = []
    for number, row, path, name in _rows(flat, staged, input_schema, faults):
        with faults.collect():
            sample, said = _inspect(row, path, flat, targets, faults)
            samples.append({"id": name, "input": number, **sample})
            log += said
    if targets.sound and len(samples) == len(staged.rows):
        targets.check(faults)
    faults.stop_if_any()
    for group in options.values():  # a prompt's file becomes its text: later steps need no file
        group |= {name: text for name, text in targets.prompts.items() if group.get(name)}
    for line in [*log, *_plan(samples, targets, flat)]:
        LOGGER.info(line)
    return options, samples


def _targets(flat: Mapping, staged: Staged, faults: Faults) -> Targets:
    targets = Targets(flat["label_column"], flat["perturbation_column"], flat["control"])
    if isinstance(flat["perturbations"], str):
        with faults.collect():
            file = staged.perturbations_file
            targets.perturbations = parse_perturbations(flat["perturbations"], file)
    needed = {"cell_sentence"}
    prompts = {"embedding_prompt": (EMBEDDING_PROMPT, needed, staged.embedding_prompt_file)}
    if targets.wanted:
        needed = {"cell_sentence", "perturbation"}
        file = staged.perturbation_prompt_file
        prompts["perturbation_prompt"] = (PERTURBATION_PROMPT, needed, file)
    for name, (default, fields, file) in prompts.items():
        with faults.collect(f"--{name}: "):
            prompt = str(file) if file else flat[name]
            targets.prompts[name] = load_template(prompt, default, fields)
    return targets


def _check_model(model: str, directory: Path | None, faults: Faults) -> list[str]:
    """Check a local model; a Hugging Face id is only looked at. Lines for the log."""
    if directory is None:
        if model == "demo" or not HUB_ID.fullmatch(model):
            faults.append(
                f"--model {model}: no such directory, and no Hugging Face id (such as "
                "vandijklab/C2S-Scale-Gemma-2-2B)"
            )
        return []
    try:
        config = read_config(directory)
    except UserError as error:
        faults.append(str(error).replace(f"model {directory}:", f"--model {model}:"))
        return []
    if config.get("model_type") != "gemma2":
        return [f"model {model}: a {config.get('model_type')} model; c2sflow is made for Gemma-2"]
    return []


def _rows(
    flat: Mapping, staged: Staged, input_schema: Mapping, faults: Faults
) -> Iterator[tuple[int, Row, Path, str]]:
    """Each sample whose file is there: its place, row, staged file and file-safe name."""
    if not flat["input"]:
        return
    if staged.sheet is None:
        rows, wrong = [single_row(str(flat["input"]))], []
    else:
        rows, wrong = read_samplesheet(staged.sheet, input_schema)
    faults += wrong
    if not wrong and len(rows) != len(staged.rows):
        faults.append(
            f"{flat['input']}: {len(rows)} samples here and {len(staged.rows)} for Nextflow; "
            "a field must not span lines"
        )
        return
    names = sample_ids([row.sample for row in rows])
    paths = [*staged.rows, *[None] * len(rows)]
    for number, (row, name) in enumerate(zip(rows, names, strict=True)):
        if paths[number] is not None:
            yield number, row, Path(paths[number]), name
        elif row.path:
            hint = "; relative paths start from the samplesheet" if staged.sheet else ""
            faults.append(f"{row.where}: no such file{hint}")


def _inspect(
    row: Row, path: Path, flat: Mapping, targets: Targets, faults: Faults
) -> tuple[dict, list[str]]:
    """What a sample is, and lines for the log. Faults after opening it are collected."""
    settings = {name: row.settings.get(name, flat[name]) for name in ("organism", "gene_symbols")}
    said, state, column, organism = [], None, None, None
    with open_anndata(path, row.where) as data:
        with faults.collect():
            name = row.settings.get("input_state", flat["input_state"])
            state, warning = _state(data, name, row.where)
            said += [f"{row.sample}: {warning}"] if warning else []
        with faults.collect():
            column = find_symbols(data.var, settings["gene_symbols"], row.where)
            symbols, counts = gene_symbols(data.var, column)
            if column is not None:
                n_found = data.n_vars - counts["missing"]
                said.append(
                    f"{row.sample}: symbols of {n_found} of {data.n_vars} genes from var"
                    f"[{column!r}], {counts['duplicates']} of them repeated"
                )
            organism = find_organism(settings["organism"], data, symbols, row.where)
        if data.duplicate_names:
            said.append(f"{row.sample}: {data.duplicate_names} repeated cell names made unique")
        targets.look_at(_future_obs(data, row, organism), row.where, faults)
        shape = {"n_obs": data.n_obs, "n_vars": data.n_vars}
    what = "organism per cell" if organism == PER_CELL else organism
    said.insert(
        0, f"{row.sample}: {shape['n_obs']} cells x {shape['n_vars']} genes, {what}, {state}"
    )
    sample = {
        "sample": row.sample,
        "organism": organism,
        "input_state": state and state.name,
        "log_base": state and state.log_base,
        "gene_symbols": column,
        **shape,
        "obs": row.obs,
    }
    return sample, said


def _state(data: CellData, name: str, where: str) -> tuple[State, str | None]:
    rows = data.sample_rows()
    if name not in STATES:  # "auto", or a fault that is told already
        return detect_state(rows, where), None
    recorded = data.recorded("log1p")
    # scanpy records no base for the natural logarithm.
    base = (recorded.get("base") or np.e) if isinstance(recorded, dict) else None
    return declared_state(rows, name, where, base)


def _future_obs(data: CellData, row: Row, organism: str | None) -> pd.DataFrame:
    """The input's obs with the columns that QC will add and a query can name."""
    obs = data.obs.assign(**row.obs, sample=row.sample)
    if organism is not None:
        obs["organism"] = cell_organisms(obs) if organism == PER_CELL else organism
    return obs


def _plan(samples: list[dict], targets: Targets, flat: Mapping) -> list[str]:
    """What the run is going to do, for the log."""
    n_cells = sum(sample["n_obs"] for sample in samples)
    n_shards = sum(-(-sample["n_obs"] // flat["shard_size"]) for sample in samples)
    counts = {"sample": len(samples), "cell": n_cells, "shard": n_shards}
    many = ", ".join(f"{count} {word}{'s' * (count != 1)}" for word, count in counts.items())
    lines = [f"plan: {many} of at most {flat['shard_size']} cells"]
    if targets.wanted:
        n_predictions = targets.n_predictions(flat["max_cells_per_perturbation"])
        lines.append(f"plan: at most {n_predictions} perturbed cells to predict")
    else:
        unused = ("control", "max_cells_per_perturbation", "perturbation_prompt")
        given = ", ".join(f"--{name}" for name in unused if flat[name] is not None)
        if given:
            lines.append(f"{given}: without --perturbations or --perturbation_column no effect")
    return lines
