"""Every fault a user can make, found and reported together before anything else runs."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pandas as pd

from c2sflow.common.errors import Faults, UserError
from c2sflow.common.threads import in_processes
from c2sflow.data.genes.symbol_tables import is_table, read_symbols
from c2sflow.data.obs.queries import CheckedQueries
from c2sflow.data.obs.shard_columns import RESERVED
from c2sflow.generation.plan import answer_template, sampling_faults
from c2sflow.inputs.gene_sets import read_gene_sets
from c2sflow.inputs.lists import NO_LIST, read_vocabulary
from c2sflow.inputs.parameters import check_parameters
from c2sflow.inputs.perturbations import read_perturbations
from c2sflow.inputs.samplesheet import Row, read_samplesheet, sample_ids, single_row
from c2sflow.model.option_faults import model_option_faults
from c2sflow.sentences.groups.drawing import SAMPLE
from c2sflow.sentences.groups.prompts import (
    GROUP_PROMPT,
    INTERPRETATION_PROMPT,
    group_template,
)
from c2sflow.sentences.prompts import (
    ANNOTATION_PROMPT,
    EMBEDDING_PROMPT,
    PERTURBATION_PROMPT,
    load_template,
    template_fields,
    with_context,
)
from c2sflow.sentences.variants import TASKS, read_variant, variants_of
from c2sflow.training.groups import named_kind as trained_kind
from c2sflow.training.tasks import OF_GROUPS
from c2sflow.validation.benchmarks import check_benchmarks
from c2sflow.validation.generated_kind import (
    asks_for_several,
    generates_several,
    named_kind,
    trains,
)
from c2sflow.validation.generation import (
    check_generation,
    generation_plan,
    given_cell_types,
    given_tissues,
)
from c2sflow.validation.groups import grouped_cells
from c2sflow.validation.inputs_staged import Staged
from c2sflow.validation.labels import (
    add_labels,
    read_asked,
    text_of,
    tissue_prompt,
    untrained_labels,
)
from c2sflow.validation.model_defaults import known_of_model, take_defaults, unfit_for
from c2sflow.validation.obs_columns import CELLS_PROMPT, ONE_CELL_PROMPT, Targets
from c2sflow.validation.options import (
    asked_of_model,
    check_attention,
    check_encoder,
    check_model,
    check_size,
    labels_line,
    plan_lines,
)
from c2sflow.validation.samples import Seen, check_sample, name_kinds, read_sample
from c2sflow.validation.training import Training
from c2sflow.validation.training_options import training_of

LOGGER = logging.getLogger(__name__)


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
    Parameters (group to name to value) and samples, for ``parameters.json``, ``samples.json``.

    Raises
    ------
    UserError
        With all faults, numbered, one line each.
    """
    faults = Faults()
    options, wrong = check_parameters(params, schema)
    faults += wrong
    flat = {name: value for group in options.values() for name, value in group.items()}
    trained = known_of_model(flat, staged.model_dir)
    log = take_defaults(flat, options, trained)
    asked = read_asked(flat, options, staged, faults)
    faults += sampling_faults(flat["temperature"], flat["top_p"], flat["num_samples"])
    predicts = bool(flat["perturbations"] or flat["perturbation_column"])
    training = training_of(flat, predicts, faults, staged.splits_file)
    targets = _targets(flat, staged, training, faults)
    add_labels(targets, asked, flat, faults)
    check_attention(flat, faults)
    faults += model_option_faults(flat)
    check_generation(flat, targets, faults)
    labels = given_cell_types(flat, staged, faults)
    tissues = given_tissues(flat, staged, faults)
    check_encoder(flat["text_encoder"], staged.text_encoder_dir, faults)
    log += [*check_model(flat, staged.model_dir, faults), *labels_line(flat, staged.model_dir)]
    samples = []
    rows = _rows(flat, staged, input_schema, faults)
    hint = "; relative paths start from the samplesheet" if staged.sheet else ""
    read = partial(_read_row, flat=flat, symbols=targets.symbols, hint=hint)
    for (number, row, _, name), seen in zip(rows, in_processes(read, rows), strict=True):
        faults += seen.faults
        if seen.sample is not None:
            with faults.collect():
                check_sample(seen, row.where, targets, training, faults)
                samples.append({"id": name, "input": number, **seen.sample})
                log += seen.lines
    name_kinds(samples, bool(flat["pseudobulk"]))
    check_benchmarks(flat, samples, faults)
    plan = generation_plan(flat, targets, labels, tissues)
    if len(samples) == len(staged.rows):
        targets.check(faults)
        log += targets.check_gene_sets(faults)
        targets.check_vocabulary(faults)
        if training:
            log += training.check(faults)
            targets.hold_out(training.held_out)
        if not wrong:
            check_size(flat, targets, plan, faults)
    faults.stop_if_any()
    # A prompt's file becomes its text, with the context in it: later steps need no file.
    own = flat["dataset_context"] or flat["prompt_variant"]
    texts = {name: text for name, text in targets.prompts.items() if flat.get(name) or own}
    for group in options.values():
        group |= {name: text for name, text in texts.items() if name in group}
    given = own or flat["generation_prompt"]
    options["finetuning"] |= {
        "one_cell_prompt": targets.prompts.get(ONE_CELL_PROMPT) if own else None,
        "cells_prompt": targets.prompts.get(CELLS_PROMPT) if given else None,
        "tissue_prompt": tissue_prompt(asked, flat) if trains(flat, "tissue") else None,
    }
    none = NO_LIST if flat["cell_types"] == NO_LIST else None
    options["annotation"]["cell_types"] = "\n".join(labels) or none
    if plan:
        options["generation"] |= {"organisms": "\n".join(plan.organisms), "tasks": plan.n_tasks}
    options["generation"]["tissues"] = "\n".join(tissues) or None
    options["annotation"]["labels"] = text_of(asked, targets) if flat["labels"] else None
    options["asked"] = asked_of_model(flat, targets, labels)
    if training:
        options["split"] = training.rule.asdict()
    # The place of a file is not part of the result.
    for name in ("perturbations", "gene_sets", "gene_vocabulary"):
        if file := getattr(staged, f"{name}_file"):
            options["perturbation"][name] = file.name
    if is_table(flat["gene_symbols"]) and staged.gene_symbols_file:
        options["qc"]["gene_symbols"] = staged.gene_symbols_file.name
    unfit = [] if flat["finetune"] else untrained_labels(asked, trained, str(flat["model"]))
    for line in [*unfit_for(flat, trained, predicts), *unfit]:
        LOGGER.warning(line)
    for line in [
        *log,
        *targets.gaps,
        *targets.unlike_labels(),
        *plan_lines(samples, targets, flat, plan),
    ]:
        LOGGER.info(line)
    return options, samples


def _targets(flat: Mapping, staged: Staged, training: Training | None, faults: Faults) -> Targets:
    by_sample = flat["batch_column"] == "sample"  # which QC adds
    targets = Targets(
        wanted=bool(flat["perturbations"] or flat["perturbation_column"]),
        label_column=flat["label_column"],
        perturbation_column=flat["perturbation_column"],
        control=flat["control"],
        context=flat["context"],
        replicate_column=flat["replicate_column"],
        queries=CheckedQueries(trains=training is not None),
        # What the evaluation needs of the samples; without one only what predictions start from.
        measured_column=flat["measured_column"] if flat["evaluate"] else None,
        evaluation_key=flat["evaluation_key"] if flat["evaluate"] else None,
        batch_column=flat["batch_column"] if flat["evaluate"] and not by_sample else None,
        # A training looks at it by itself.
        context_column=flat["context_column"] if flat["evaluate"] and not training else None,
        training_cells=flat["training_cells"],
        grouping=grouped_cells(flat, faults),
        tissue_column=training.tissue_column if training else None,
        trained_by=flat["group_by"] if training and OF_GROUPS & training.tasks.keys() else SAMPLE,
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
    _add_generation(targets, flat, staged.generation_prompt_file, tasks, faults)
    of_groups = {"group_prompt": GROUP_PROMPT} if targets.grouping else {}
    if targets.grouping and flat["interpret_groups"]:
        of_groups["interpretation_prompt"] = INTERPRETATION_PROMPT
    for name, default in of_groups.items():
        with faults.collect(f"--{name}: "):
            file = getattr(staged, f"{name}_file")
            template = group_template(str(file) if file else flat[name], default)
            targets.prompts[name] = with_context(template, context)
    _choose_wording(targets, flat["prompt_variant"], faults)
    targets.check_prompt(faults)
    with faults.collect("--no_op: "):
        template_fields(str(flat["no_op"]))
        targets.no_op = flat["no_op"]
    return targets


def _add_generation(
    targets: Targets, flat: Mapping, file: Path | None, tasks: Collection[str], faults: Faults
) -> None:
    """What asks for cells, one or several at once: of GENERATE, and of the tasks that train it."""
    context = flat["dataset_context"] if isinstance(flat["dataset_context"], str) else None
    prompt = str(file) if file else flat["generation_prompt"]
    several = generates_several(flat)
    of_type = "cell_type" if flat["label_column"] else ""
    with faults.collect("--generation_prompt: "):
        if flat["generate"] or "generation" in tasks:
            given = prompt if several or not asks_for_several(flat) else None
            names = named_kind(flat) if flat["generate"] else of_type
            template = answer_template(given, names, several, context)
            targets.prompts["generation_prompt"] = template
        if several and "generation" in tasks:
            targets.prompts[ONE_CELL_PROMPT] = answer_template(None, of_type, False, context)
        if "tissue_generation" in tasks:
            names = trained_kind(flat["label_column"], flat["tissue_column"])
            targets.prompts[CELLS_PROMPT] = answer_template(prompt, names, True, context)


def _choose_wording(targets: Targets, given: object, faults: Faults) -> None:
    """The prompts in the wording of --prompt_variant; of all wordings the first is checked."""
    with Faults().collect():  # the schema's check reports what is no variant
        variant = read_variant(given)
        for name, template in targets.prompts.items():
            option = "generation_prompt" if name in (ONE_CELL_PROMPT, CELLS_PROMPT) else name
            if option in TASKS:
                with faults.collect():
                    targets.prompts[name] = variants_of(template, option, variant)[0]


def _read_tables(targets: Targets, flat: Mapping, staged: Staged, faults: Faults) -> None:
    """The perturbations, the gene sets and the genes that answers may contain."""
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
    for option in ("perturbation_column", "context", "replicate_column", "measured_column"):
        if flat[option] in RESERVED:
            faults.append(
                f"--{option} {flat[option]} is a name of c2sflow's own; copy the column to "
                "another name"
            )
            setattr(targets, option, None)  # one fault is enough


Numbered: TypeAlias = tuple[int, Row, str | None, str]


def _read_row(numbered: Numbered, flat: Mapping, symbols: pd.Series | None, hint: str) -> Seen:
    """What the file of a row holds, or that it is not there."""
    _, row, path, _ = numbered
    if path is not None:
        return read_sample(row, Path(path), flat, symbols)
    rights = ", or no right to read it" if "://" in row.path else ""
    return Seen(Faults([f"{row.where}: no such file{rights}{hint}"]))


def _rows(flat: Mapping, staged: Staged, input_schema: Mapping, faults: Faults) -> list[Numbered]:
    """Each sample that has a path: its place, row, staged file if there is one, file-safe name."""
    if not flat["input"]:
        return []
    rows, wrong = [single_row(str(flat["input"]))], list[str]()
    if staged.sheet is not None:
        rows, wrong = read_samplesheet(staged.sheet, input_schema)
    faults += wrong
    if not wrong and len(rows) != len(staged.rows):
        faults.append(
            f"{flat['input']}: {len(rows)} samples here and {len(staged.rows)} for Nextflow; "
            "a field must not span lines"
        )
        return []
    names = sample_ids([row.sample for row in rows])
    paths = [*staged.rows, *[None] * len(rows)]
    return [
        (number, row, paths[number], name)
        for number, (row, name) in enumerate(zip(rows, names, strict=True))
        if paths[number] is not None or row.path
    ]
