"""Every fault a user can make, found and told together before anything else runs."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from c2sflow.adapters import has_adapter, read_adapter
from c2sflow.anndata_io import open_anndata
from c2sflow.bulk import BULK_COUNTS, BULK_SAMPLES, TABLES, input_kind
from c2sflow.cell_types import read_cell_types
from c2sflow.cells import CellData
from c2sflow.errors import UserError
from c2sflow.faults import Faults
from c2sflow.gene_sets import read_gene_sets
from c2sflow.generation_plan import GenerationPlan
from c2sflow.model_files import base_weights, read_config, read_encoder
from c2sflow.parameters import check_parameters
from c2sflow.perturbations import read_perturbations
from c2sflow.prompts import (
    ANNOTATION_PROMPT,
    EMBEDDING_PROMPT,
    GENERATION_FIELDS,
    PERTURBATION_PROMPT,
    generation_template,
    load_template,
    template_fields,
    with_context,
)
from c2sflow.pseudobulk_groups import pseudobulk_obs, read_columns
from c2sflow.samplesheet import Row, read_samplesheet, sample_ids, single_row
from c2sflow.shards import RESERVED
from c2sflow.states import STATES, State, declared_state, detect_state
from c2sflow.symbol_tables import COLUMN, is_table, read_symbols, with_symbols
from c2sflow.symbols import (
    PER_CELL,
    cell_organisms,
    find_organism,
    find_symbols,
    gene_symbols,
    is_identifier,
)
from c2sflow.targets import Targets, some_columns
from c2sflow.training_checks import Training, training_of
from c2sflow.vocabulary import read_vocabulary

LOGGER = logging.getLogger(__name__)

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


@dataclass
class Staged:
    """Files that the run names, where this step sees them; None for files that do not exist."""

    rows: Sequence[str | None]
    sheet: Path | None = None
    model_dir: Path | None = None
    perturbations_file: Path | None = None
    embedding_prompt_file: Path | None = None
    perturbation_prompt_file: Path | None = None
    gene_sets_file: Path | None = None
    gene_vocabulary_file: Path | None = None
    cell_types_file: Path | None = None
    annotation_prompt_file: Path | None = None
    generation_prompt_file: Path | None = None
    gene_symbols_file: Path | None = None
    text_encoder_dir: Path | None = None


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
    if flat["top_p"] != 1 and not flat["temperature"]:
        faults.append("--top_p: only sampled answers have it; give --temperature above 0")
    predicts = bool(flat["perturbations"] or flat["perturbation_column"])
    training = training_of(flat, predicts, faults)
    targets = _targets(flat, staged, training, faults)
    _check_attention(flat, faults)
    _check_generation(flat, targets, faults)
    labels = _cell_types(flat, staged, faults)
    _check_encoder(flat["text_encoder"], staged.text_encoder_dir, faults)
    log = _check_model(flat, staged.model_dir, faults)
    samples = []
    for number, row, path, name in _rows(flat, staged, input_schema, faults):
        with faults.collect():
            sample, said = _inspect(row, path, flat, targets, training, faults)
            samples.append({"id": name, "input": number, **sample})
            log += said
    _name_kinds(samples, bool(flat["pseudobulk"]))
    plan = _generation_plan(flat, targets, labels)
    if len(samples) == len(staged.rows):
        targets.check(faults)
        log += targets.check_gene_sets(faults)
        targets.check_vocabulary(faults)
        if training:
            log += training.check(faults)
            targets.hold_out(training.held_out)
        if not wrong:
            _check_size(flat, targets, plan, faults)
    faults.stop_if_any()
    # A prompt's file becomes its text, with the context in it: later steps need no file.
    said = {k: v for k, v in targets.prompts.items() if flat[k] or flat["dataset_context"]}
    for group in options.values():
        group |= {name: text for name, text in said.items() if name in group}
    options["annotation"]["cell_types"] = "\n".join(labels) or None
    if plan:
        options["generation"] |= {"organisms": "\n".join(plan.organisms), "tasks": plan.n_tasks}
    if training:
        options["split"] = training.rule.asdict()
    # Where a file lay is nothing of the result.
    for name in ("perturbations", "gene_sets", "gene_vocabulary"):
        if file := getattr(staged, f"{name}_file"):
            options["perturbation"][name] = file.name
    if is_table(flat["gene_symbols"]):
        options["qc"]["gene_symbols"] = staged.gene_symbols_file.name
    for line in [*log, *targets.gaps, *_plan(samples, targets, flat, plan)]:
        LOGGER.info(line)
    return options, samples


def _targets(flat: Mapping, staged: Staged, training: Training | None, faults: Faults) -> Targets:
    targets = Targets(
        wanted=bool(flat["perturbations"] or flat["perturbation_column"]),
        label_column=flat["label_column"],
        perturbation_column=flat["perturbation_column"],
        control=flat["control"],
        context=flat["context"],
        **_scored(flat),
    )
    _read_tables(targets, flat, staged, faults)
    needed = {"cell_sentence"}
    prompts = {"embedding_prompt": (EMBEDDING_PROMPT, needed, staged.embedding_prompt_file)}
    tasks = training.tasks if training else {}
    if flat["annotate"] or "cell_type" in tasks:
        file = staged.annotation_prompt_file
        prompts["annotation_prompt"] = (ANNOTATION_PROMPT, needed, file)
    if targets.wanted or {"perturbation", "conversion"} & set(tasks):
        needed = {"cell_sentence", "perturbation"}
        file = staged.perturbation_prompt_file
        prompts["perturbation_prompt"] = (PERTURBATION_PROMPT, needed, file)
    context = flat["dataset_context"] if isinstance(flat["dataset_context"], str) else None
    for name, (default, fields, file) in prompts.items():
        with faults.collect(f"--{name}: "):
            prompt = str(file) if file else flat[name]
            targets.prompts[name] = load_template(prompt, default, fields)
            targets.prompts[name] = with_context(targets.prompts[name], context)
    if flat["generate"] or "generation" in tasks:
        with faults.collect("--generation_prompt: "):
            file = staged.generation_prompt_file
            prompt = str(file) if file else flat["generation_prompt"]
            types = flat["cell_types"] if flat["generate"] else flat["label_column"]
            template = generation_template(prompt, bool(types), context)
            targets.prompts["generation_prompt"] = template
    targets.check_prompt(faults)
    return targets


def _scored(flat: Mapping) -> dict[str, str | None]:
    """What the evaluation needs of the samples; nothing without one."""
    names = ("measured_column", "training_cells", "evaluation_key")
    return {name: flat[name] if flat["evaluate"] else None for name in names}


def _read_tables(targets: Targets, flat: Mapping, staged: Staged, faults: Faults) -> None:
    """The perturbations, the gene sets and the genes that may be said."""
    given = flat["perturbations"]
    if isinstance(given, str):
        if not staged.perturbations_file and re.fullmatch(r"[^,]+\.(csv|tsv|txt)", given.strip()):
            faults.append(f"--perturbations {given}: no such file")
        else:
            treatments, wrong = read_perturbations(given, staged.perturbations_file)
            targets.treatments = treatments
            faults += wrong
    if isinstance(flat["gene_sets"], str):
        with faults.collect():
            if not staged.gene_sets_file:
                raise UserError(f"--gene_sets {flat['gene_sets']}: no such file")
            targets.gene_sets = read_gene_sets(staged.gene_sets_file)
    if isinstance(flat["gene_vocabulary"], str):
        with faults.collect():
            if not staged.gene_vocabulary_file:
                raise UserError(f"--gene_vocabulary {flat['gene_vocabulary']}: no such file")
            targets.vocabulary = read_vocabulary(staged.gene_vocabulary_file)
    if is_table(flat["gene_symbols"]):
        with faults.collect():
            if not staged.gene_symbols_file:
                raise UserError(f"--gene_symbols {flat['gene_symbols']}: no such file")
            targets.symbols = read_symbols(staged.gene_symbols_file)
    for option in ("perturbation_column", "context", "measured_column"):
        if flat[option] in RESERVED:
            faults.append(
                f"--{option} {flat[option]} is a name of c2sflow's own; copy the column to "
                "another name"
            )
            setattr(targets, option, None)  # one fault is enough


def _check_size(
    flat: Mapping, targets: Targets, plan: GenerationPlan | None, faults: Faults
) -> None:
    """The limit holds for what is planned before QC: a run of days is refused in seconds."""
    n = targets.n_predictions(flat["max_cells_per_perturbation"]) * flat["num_samples"]
    parts = ["cells before QC x perturbations x answers"] if n else []
    fewer = ["--max_cells_per_perturbation"] if n else []
    if plan:
        n += plan.n_cells
        parts.append(f"{plan.n_cells} of --generate")
        fewer.append("--generate")
    if n > flat["max_predictions"]:
        faults.append(
            f"--max_predictions {flat['max_predictions']}: the run would predict {n} cells "
            f"({' + '.join(parts)}); take fewer with {' or '.join(fewer)}, "
            f"or allow it with --max_predictions {n}"
        )


def _check_generation(flat: Mapping, targets: Targets, faults: Faults) -> None:
    if not isinstance(flat["generate"], int):
        return
    if flat["generate"] > 1 and not flat["temperature"]:
        faults.append(
            f"--generate {flat['generate']}: greedy cells of one type are all the same; give "
            "--temperature above 0, or --generate 1"
        )
    with faults.collect():
        known = GENERATION_FIELDS | {"cell_sentence"}
        unknown = set(template_fields(targets.prompts.get("embedding_prompt", ""))) - known
        if unknown:
            names = ", ".join(f"{{{name}}}" for name in sorted(unknown))
            raise UserError(
                f"--generate: --embedding_prompt uses {names}, which a generated cell does not "
                "have; leave it out, or generate in a run of its own"
            )


def _generation_plan(flat: Mapping, targets: Targets, labels: list[str]) -> GenerationPlan | None:
    """What --generate makes, as far as the parameters are sound."""
    if not isinstance(flat["generate"], int) or not targets.organisms:
        return None
    organisms = "\n".join(sorted(targets.organisms))
    size = flat["shard_size"]
    size = size if isinstance(size, int) and size > 0 else "auto"
    return GenerationPlan.of(flat["generate"], organisms, "\n".join(labels), size)


def _check_attention(flat: Mapping, faults: Faults) -> None:
    if flat["attention_maps"] and flat["embedding_layer"] == 0:
        faults.append(
            "--attention_maps: --embedding_layer 0 is the token embeddings, which no attention "
            "made; choose another layer"
        )
    if flat["attention_maps"] and flat["label_column"] in RESERVED:
        faults.append(
            f"--attention_maps: --label_column {flat['label_column']} is a name of c2sflow's own; "
            "copy the column to another name"
        )


def _cell_types(flat: Mapping, staged: Staged, faults: Faults) -> list[str]:
    """The labels that an annotation chooses from, or that cells are generated of, if any."""
    given = flat["cell_types"]
    if not (flat["annotate"] or flat["generate"]) or not isinstance(given, str):
        return []
    with faults.collect():
        if not staged.cell_types_file and re.fullmatch(r"[^,]+\.(csv|tsv|txt)", given.strip()):
            raise UserError(f"--cell_types {given}: no such file")
        return read_cell_types(given, staged.cell_types_file, 2 if flat["annotate"] else 1)
    return []


def _check_model(flat: Mapping, directory: Path | None, faults: Faults) -> list[str]:
    """Check a local model; a Hugging Face id is only looked at. Lines for the log."""
    model, base, said = str(flat["model"]), flat["base_model"], []
    if flat["finetune"] and flat["finetune_method"] == "scratch":
        return []
    adapted = directory is not None and has_adapter(directory)
    if base is not None and not adapted:
        said.append(f"--base_model {base}: no effect, for --model {model} is no adapter")
    if directory is None:
        if model == "demo" or not HUB_ID.fullmatch(model):
            faults.append(
                f"--model {model}: no such directory, and no Hugging Face id (such as "
                "vandijklab/C2S-Scale-Gemma-2-2B)"
            )
        return said
    if flat["finetune"] and adapted:
        faults.append(
            f"--model {model}: an adapter, and --finetune begins with a whole model; "
            "--merge_adapter writes one"
        )
    try:
        if adapted and not base_weights(directory):
            adapter = read_adapter(directory)
            _check_base(base or adapter.get("base_model_name_or_path"))
            return said
        config = read_config(directory)
    except UserError as error:
        faults.append(str(error).replace(f"model {directory}:", f"--model {model}:"))
        return said
    if config.get("model_type") != "gemma2":
        said.append(
            f"model {model}: a {config.get('model_type')} model; c2sflow is made for Gemma-2"
        )
    return said


def _check_base(base: object) -> None:
    """Look at the base of an adapter, which is in no directory here."""
    if not isinstance(base, str) or not HUB_ID.fullmatch(base):
        raise UserError(
            f"--base_model {base}: the base of the adapter is no directory here that holds a whole "
            "model, and no Hugging Face id; name it"
        )


def _check_encoder(encoder: str | None, directory: Path | None, faults: Faults) -> None:
    """Check a local text encoder; a Hugging Face id is only looked at."""
    if not isinstance(encoder, str):
        return
    if directory is None and not HUB_ID.fullmatch(encoder):
        faults.append(f"--text_encoder {encoder}: no such directory, and no Hugging Face id")
    if directory is not None:
        try:
            read_encoder(directory)
        except UserError as error:
            faults.append(str(error).replace(f"model {directory}:", f"--text_encoder {encoder}:"))


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
    row: Row,
    path: Path,
    flat: Mapping,
    targets: Targets,
    training: Training | None,
    faults: Faults,
) -> tuple[dict, list[str]]:
    """What a sample is, and lines for the log. Faults after opening it are collected."""
    names = ("organism", "gene_symbols", "input_kind")
    settings = {name: row.settings.get(name, flat[name]) for name in names}
    kind = input_kind(settings["input_kind"], row.path)
    columns = read_columns(flat["pseudobulk"]) if kind == "cells" else []
    said, state, column, organism = [], None, None, None
    with open_anndata(path, row.where) as data:
        with faults.collect():
            name = row.settings.get("input_state", flat["input_state"])
            state, warning = _state(data, name, row.where)
            said += [f"{row.sample}: {warning}"] if warning else []
            said += _bulk_hint(data, state, kind, row.sample)
            if columns and state.name != "counts":
                raise UserError(
                    f"{row.where}: --pseudobulk sums raw counts, but X holds others ({state}); put "
                    "the counts into X: adata.X = adata.layers['counts']"
                )
        with faults.collect():
            column = _symbols_column(data, settings["gene_symbols"], targets.symbols, row)
            symbols, counts = gene_symbols(data.var, column)
            if column is not None:
                n_found = data.n_vars - counts["missing"]
                said.append(
                    f"{row.sample}: symbols of {n_found} of {data.n_vars} genes from var"
                    f"[{column!r}], {counts['duplicates']} of them repeated"
                )
            targets.look_at_genes(symbols)
            organism = find_organism(settings["organism"], data, symbols, row.where)
        if data.duplicate_names:
            said.append(f"{row.sample}: {data.duplicate_names} repeated cell names made unique")
        obs, n_rows = _future_obs(data, row, organism), data.n_obs
        if missing := [name for name in columns if name not in obs]:
            faults.append(
                f"{row.where}: --pseudobulk {', '.join(missing)}: obs has no such column "
                f"({some_columns(obs)})"
            )
            columns = []
        if columns:
            obs = pseudobulk_obs(obs, columns)
            n_rows = len(obs)
            said.append(f"{row.sample}: {n_rows} pseudobulk samples by {', '.join(columns)}")
            if not n_rows:
                faults.append(f"{row.where}: --pseudobulk: no cell has a value in {columns}")
        targets.organisms |= set(obs["organism"].astype(str)) if organism else set()
        targets.look_at(obs, row.where, faults)
        if training:
            training.look_at(obs, row.where, faults)
        targets.look_at_obsm({} if columns else data.obsm(), row.where, faults)
        rows = "bulk samples" if kind == "bulk" else "cells"
        size = f"{data.n_obs} {rows} x {data.n_vars} genes"
        shape = {"n_obs": n_rows, "n_vars": data.n_vars}
    what = "organism per cell" if organism == PER_CELL else organism
    said.insert(0, f"{row.sample}: {size}, {what}, {state}")
    sample = {
        "sample": row.sample,
        "organism": organism,
        "input_state": state and state.name,
        "log_base": state and state.log_base,
        "gene_symbols": column,
        "input_kind": kind,
        **shape,
        "obs": row.obs,
    }
    return sample, said


def _symbols_column(data: CellData, given: str, table: pd.Series | None, row: Row) -> str | None:
    """Column of var with the symbols, which the table makes if the data hold identifiers only."""
    if is_table(row.settings.get("gene_symbols")):
        raise UserError(f"{row.where}: gene_symbols {given}: a table is for all: --gene_symbols")
    if not is_table(given):
        return find_symbols(data.var, given, row.where, row.path.lower().endswith(TABLES))
    if table is None or is_identifier(data.var_names).mean() <= 0.5:
        return None
    data.var = with_symbols(data.var, table, row.where)
    return COLUMN


def _bulk_hint(data: CellData, state: State, kind: str, sample: str) -> list[str]:
    """Few rows of millions of counts each are hardly cells."""
    if kind == "bulk" or state.name != "counts" or data.n_obs > BULK_SAMPLES:
        return []
    counts = float(np.median(np.asarray(data.sample_rows().sum(axis=1))))
    if counts < BULK_COUNTS:
        return []
    return [
        f"{sample}: {counts / 1e6:.1f} million counts a row: if these are bulk samples, say "
        "--input_kind bulk"
    ]


def _name_kinds(samples: list[dict], pseudobulk: bool) -> None:
    """Where not all rows are cells, obs says what each is."""
    if pseudobulk or any(sample["input_kind"] == "bulk" for sample in samples):
        for sample in samples:
            kind = sample["input_kind"]
            kind = "pseudobulk" if pseudobulk and kind == "cells" else kind
            sample["obs"] = {**sample["obs"], "input_kind": kind}


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


def _plan(
    samples: list[dict], targets: Targets, flat: Mapping, generation: GenerationPlan | None
) -> list[str]:
    """What the run is going to do, for the log."""
    n_cells = sum(sample["n_obs"] for sample in samples)
    size = flat["shard_size"]
    row = "cell" if all(s["input_kind"] == "cells" for s in samples) else "row"
    row = "row" if flat["pseudobulk"] else row
    counts = {"sample": len(samples), row: n_cells}
    if size != "auto":  # by the genes that QC keeps, which nobody knows yet
        counts["shard"] = sum(-(-sample["n_obs"] // size) for sample in samples)
    many = ", ".join(f"{count} {word}{'s' * (count != 1)}" for word, count in counts.items())
    of_cells = "" if size == "auto" else f" of at most {size} {row}s"
    lines = [f"plan: {many}{of_cells}"]
    if flat["attention_maps"]:
        n_maps = min(n_cells, flat["attention_maps"])
        lines.append(f"plan: attention maps of at most {n_maps} cells")
    unused = []
    if not flat["finetune"]:
        unused.append((["split_column", "max_steps", "checkpoint_dir"], "without --finetune"))
    if all(s["input_kind"] == "bulk" for s in samples):
        unused.append((["pseudobulk"], "with bulk samples only"))
    if generation:
        types = (
            f"{len(generation.cell_types)} cell types" if generation.cell_types[0] else "no type"
        )
        lines.append(f"plan: {generation.n_cells} cells to generate, of {types}")
    elif not flat["finetune"]:
        unused.append((["generation_prompt"], "without --generate or --finetune"))
    if not flat["annotate"]:
        if not flat["finetune"]:
            unused.append((["annotation_prompt"], "without --annotate"))
        if not generation:
            unused.append((["cell_types"], "without --annotate or --generate"))
    if not flat["evaluate"]:
        names = ["measured_column", "training_cells", "evaluation_key"]
        names = names[1:] if flat["finetune"] else names
        unused.append((names, "without --evaluate"))
    said = flat["annotate"] and flat["label_column"]
    predicted = targets.wanted and (flat["measured_column"] or flat["perturbation_column"])
    if not flat["evaluate"]:
        unused.append((["text_encoder"], "without --evaluate"))
    elif not (said or predicted):
        why = "without --annotate and --label_column, or predictions and --measured_column"
        unused.append((["text_encoder"], why))
    if targets.wanted:
        n_predictions = targets.n_predictions(flat["max_cells_per_perturbation"])
        n_predictions *= flat["num_samples"]
        lines.append(f"plan: at most {n_predictions} perturbed cells to predict")
        lines += targets.alike()
        if flat["perturbations"]:
            unused.append((["perturbation_column"], "beside --perturbations"))
        if not flat["gene_sets"]:
            unused.append((["context"], "without --gene_sets"))
        elif flat["context"] and len(targets.contexts) < 2:
            lines.append(f"--context {flat['context']}: one value only, nothing to compare")
    else:
        names = ["max_cells_per_perturbation"] + ["gene_vocabulary"] * (not generation)
        if not flat["finetune"]:
            names = ["control", *names, "perturbation_prompt", "measured_column", "training_cells"]
        unused.append(
            ([*names, "gene_sets", "context"], "without --perturbations or --perturbation_column")
        )
    for names, why in unused:
        given = ", ".join(f"--{name}" for name in names if flat[name] is not None)
        if given:
            lines.append(f"{given}: {why} no effect")
    return lines
