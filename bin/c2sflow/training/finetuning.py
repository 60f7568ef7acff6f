"""Fine-tuning, from shards of sentences to a model directory: what FINETUNE does."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerBase

from c2sflow import __version__
from c2sflow.common.errors import UserError
from c2sflow.common.files import read_json, write_json
from c2sflow.data.splits.splits import Rule
from c2sflow.data.splits.twins import cell_keys, twin_warnings, with_one_split
from c2sflow.data.splits.written_state import state_text
from c2sflow.model.adapters import has_adapter
from c2sflow.model.batching import free_bytes
from c2sflow.model.embedding import embed_cells
from c2sflow.model.files import describe_model
from c2sflow.model.hub import portable_name
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.model.trained import ANSWER_GENES, answer_genes, read_trained
from c2sflow.sentences.no_ops import UNNAMED
from c2sflow.sentences.prompts import EMBEDDING_PROMPT, load_template
from c2sflow.training.cells import TrainingCells, read_obs, read_splits, read_training_cells
from c2sflow.training.checkpoints import Checkpoints
from c2sflow.training.distributed import Team
from c2sflow.training.examples import ExampleMaker, Templates, labels_of
from c2sflow.training.groups import named_kind
from c2sflow.training.material import Place, check_columns, make_epochs, validation_shares
from c2sflow.training.model_card import model_card
from c2sflow.training.new_tokenizer import make_tokenizer
from c2sflow.training.optimizers import RATES
from c2sflow.training.options import TrainingOptions
from c2sflow.training.pairing import rank_vectors
from c2sflow.training.record import training_record, with_loss_as_read, write_tables
from c2sflow.training.saving import write_trained
from c2sflow.training.tasks import OF_GROUPS, Epochs
from c2sflow.training.trained_for import trained_for
from c2sflow.training.trainee import Trainee, load_trainee, micro_tokens
from c2sflow.training.trainer import Recipe, Trainer, Validation
from c2sflow.training.written_loss import loss_as_read

LOGGER = logging.getLogger(__name__)

# To be counted up when the same options make another model than before: checkpoints of an older
# recipe are then not taken up.
RECIPE = 4
EVALUATIONS = 20  # of a training, by default
MOST_VALIDATION = 512  # validation examples
MEASURED = 512  # examples whose lengths decide how many make a step


def finetune(
    shards: Sequence[Path],
    summaries: Sequence[Path],
    outdir: Path,
    options: TrainingOptions,
    base: Path | None = None,
    rule: Rule | None = None,
) -> None:
    """Train on the shards' training cells; write ``model/`` and the record of the run.

    Beside ``model/``, which --model accepts, these are ``finetune.json``, ``loss.tsv``,
    ``splits.tsv`` and ``splits.toml`` (the split in STATE's form, where that has words for it), and
    ``adapter/`` where ``model/`` is a base that has taken in one. Called by several processes at
    once (accelerate launch), it trains one model.

    Parameters
    ----------
    shards
        Parquet files of SENTENCES, of all samples, with the column c2s_split.
    summaries
        The samples' ``<id>.sentences.json``.
    base
        Directory of the model to begin with; None for the method "scratch".
    rule
        How the cells were split, for ``splits.toml``; None: it is not written.

    Raises
    ------
    UserError
        If cells, columns or model do not go together with the tasks.
    """
    if (base is None) != (options.method == "scratch"):
        raise UserError("method scratch takes no --model; every other method needs one")
    if base is not None and has_adapter(base):
        raise UserError(
            f"model {base}: an adapter, but fine-tuning needs a whole model; "
            "write one with --merge_adapter"
        )
    if not shards:
        raise UserError("no shard of sentences to train on")
    if (outdir / "model").exists():
        raise UserError(f"{outdir / 'model'} already exists; give another --outdir")
    options = replace(options, max_answer_genes=answer_genes(base, options.max_answer_genes))
    team = Team(options.device)
    if not team.leads:
        logging.getLogger("c2sflow").setLevel(logging.WARNING)
    templates = _templates(options)
    described = _describe(base, options)
    as_ruled = read_splits(shards)
    splits, n_twins = with_one_split(as_ruled, cell_keys(shards))
    cells = _read(shards, splits, options, templates, read_trained(base).organism_words)
    tokenizer = load_tokenizer(base) if base else _new_tokenizer(summaries, cells[0], options)
    digest = _digest(options, templates, cells, described, summaries)
    trainer, warnings = _trainer(cells, tokenizer, base, templates, options, team, digest)
    trainer.run()
    if not team.leads:
        return
    warnings = [*twin_warnings(n_twins, splits), *warnings]
    record = training_record(options, trainer, described, splits, warnings)
    record["n_twins"] = n_twins
    rows = trainer.progress.rows
    outdir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".trained-", dir=outdir) as name:
        written = Path(name)
        write_trained(written, trainer.trainee, base, described, options.merge_adapter)
        trainer.free()
        for folder in written.iterdir():
            trained_for(cells[0], options, templates, base).write(folder)
        if trainer.validation is not None:
            record = _read_back(record, written / "model", base, trainer.validation, options)
        for warning in record["warnings"]:
            LOGGER.warning(warning)
        card = model_card(record, rows, templates, __version__)
        (written / "model" / "README.md").write_text(card, encoding="utf-8")
        write_tables(outdir, rows, splits, _in_states_form(shards, as_ruled, rule))
        write_json(outdir / "finetune.json", record)
        for folder in sorted(
            written.iterdir()
        ):  # adapter/ first: model/ marks the output as complete
            folder.replace(outdir / folder.name)


def _in_states_form(shards: Sequence[Path], splits: pd.DataFrame, rule: Rule | None) -> str | None:
    """``splits.toml``; None, and a line in the log, where it would be another split."""
    if rule is None:
        return None
    obs = read_obs(shards, rule.looked_at).set_index(pd.Index(splits["cell_id"]))
    text, note = state_text(obs, splits["split"].set_axis(obs.index), rule)
    if note:
        LOGGER.info("splits.toml: %s%s", "" if text else "not written: ", note)
    return text


def _templates(options: TrainingOptions) -> Templates:
    """The prompts of the tasks."""
    return Templates.load(
        options.annotation_prompt, options.perturbation_prompt, options.generation_prompt,
        options.prompt_variant, options.shares(),
        cells=options.cells_prompt, tissue=options.tissue_prompt,
        names=named_kind(options.label_column, options.tissue_column),
    )  # fmt: skip


def _read_back(
    record: Mapping[str, Any],
    model: Path,
    base: Path | None,
    validation: Validation,
    options: TrainingOptions,
) -> dict[str, Any]:
    """The record with the loss of what was written, read as the steps of the run read it."""
    four_bits = options.method == "qlora" and not options.merge_adapter
    losses, read_as = loss_as_read(
        model,
        base,
        validation,
        device=options.device,
        dtype=options.dtype,
        quantization="nf4" if four_bits else "none",
    )
    return with_loss_as_read(record, losses, read_as, validation.mean(losses))


def _read(
    shards: Sequence[Path],
    splits: pd.DataFrame,
    options: TrainingOptions,
    templates: Templates,
    words: Mapping[str, str],
) -> tuple[TrainingCells, TrainingCells | None]:
    """Training cells and validation cells, if there are any, in the base's organism words."""
    columns = options.columns([templates.for_task(task) for task in options.shares()])
    columns.append(options.replicates)
    train = read_training_cells(shards, columns, "train", splits, words)
    check_columns(train, options, templates)
    if not (splits["split"] == "validation").any():
        return train, None
    return train, read_training_cells(shards, columns, "validation", splits, words)


def _trainer(
    cells: tuple[TrainingCells, TrainingCells | None],
    tokenizer: PreTrainedTokenizerBase,
    base: Path | None,
    templates: Templates,
    options: TrainingOptions,
    team: Team,
    digest: str,
) -> tuple[Trainer, list[str]]:
    """All that is needed to train, and warnings about the cells."""
    place = _place(base, tokenizer, options, team) if options.pairing == "assignment" else None
    epochs, warnings = make_epochs(cells[0], options, place=place)
    if epochs is None:
        raise UserError(f"--finetune {options.tasks}: no training cell for any of these tasks")
    trainee = load_trainee(
        options.method,
        base,
        tokenizer=tokenizer,
        scratch_family=options.scratch_family,
        device=team.device,
        dtype=options.dtype,
        lora_rank=options.lora_rank,
        lora_alpha=options.lora_alpha,
        seed=options.seed,
    )
    maker = _maker(cells[0], trainee, templates, options, options.augmentation)
    validation, more = _validation(cells[1], trainee, templates, options)
    most = micro_tokens(options.max_batch_tokens, trainee, free_bytes(trainee.model.device))
    trainer = Trainer(
        trainee,
        epochs,
        maker,
        validation,
        _recipe(options, epochs, maker, team),
        max_tokens=max(1, most >> (options.attempt - 1)),
        team=team,
        checkpoints=Checkpoints(options.checkpoints, digest) if options.checkpoints else None,
    )
    return trainer, warnings + more


def _describe(base: Path | None, options: TrainingOptions) -> dict[str, str] | None:
    """id, revision, commit and digest of the base model."""
    if base is None:
        return None
    found = describe_model(base, options.base_id or portable_name(base))
    if options.base_id:
        found |= {"id": options.base_id, "revision": options.base_revision or found["revision"]}
    return {name: found[name] for name in ("id", "revision", "commit", "digest")}


def _new_tokenizer(
    summaries: Sequence[Path], cells: TrainingCells, options: TrainingOptions
) -> PreTrainedTokenizerBase:
    """For the genes of all samples, and whatever the prompts contain about the training cells."""
    genes = dict.fromkeys(word for path in summaries for word in read_json(path)["genes"])
    columns = dict.fromkeys([*options.columns([]), "organism"])
    fillings = {label for column in columns for label in set(labels_of(cells.obs, column)) - {None}}
    if "conversion" in options.shares():
        fillings.add("conversion to")
    if "perturbation" in options.shares():
        fillings.add(UNNAMED)
    prompts = _templates(options)
    tasks = ["cell_type", "perturbation", "generation"]
    tasks += [task for task in options.shares() if task in OF_GROUPS]
    texts = [text for task in tasks for text in prompts.wordings(task)]
    return make_tokenizer(genes, texts, sorted(fillings))


def _place(
    base: Path | None, tokenizer: PreTrainedTokenizerBase, options: TrainingOptions, team: Team
) -> Place:
    """Coordinates of cells to be assigned: as the base model embeds them, or by their ranks."""

    if base is None:
        return lambda cells, rows: rank_vectors([cells.genes(row, 100) for row in rows])

    def by_model(cells: TrainingCells, rows: np.ndarray) -> np.ndarray:
        template = load_template(options.embedding_prompt, EMBEDDING_PROMPT, ["cell_sentence"])
        model = load_model(base, head=False, device=team.device, dtype=options.dtype)
        records = [cells.record(row) for row in rows]
        return embed_cells(model, tokenizer, template, records).vectors

    return by_model


def _maker(
    cells: TrainingCells,
    trainee: Trainee,
    templates: Templates,
    options: TrainingOptions,
    augmentation: float,
) -> ExampleMaker:
    return ExampleMaker(
        cells,
        trainee.tokenizer,
        templates,
        context=trainee.context,
        label_column=options.label_column,
        perturbation_column=options.perturbation_column,
        tissue_column=options.tissue_column,
        max_answer_genes=options.max_answer_genes or ANSWER_GENES,
        augmentation=augmentation,
        seed=options.seed,
    )


def _validation(
    cells: TrainingCells | None,
    trainee: Trainee,
    templates: Templates,
    options: TrainingOptions,
) -> tuple[Validation | None, list[str]]:
    """The validation examples, the same in every validation."""
    epochs: Epochs | None = None
    warnings = ["no cell"]
    if cells is not None:
        each_once = replace(options, balance_labels=False)
        epochs, warnings = make_epochs(cells, each_once, most=MOST_VALIDATION)
    warnings = [f"validation: {warning}" for warning in warnings]
    if cells is None or epochs is None:
        line = "validation: nothing to validate on: the weights of the last step are used"
        return None, [*warnings, line]
    maker = _maker(cells, trainee, templates, options, 0.0)
    draws = [epochs[number] for number in range(epochs.n_examples)]
    return Validation(maker(draws), validation_shares(epochs, options.shares())), warnings


def _recipe(options: TrainingOptions, epochs: Epochs, maker: ExampleMaker, team: Team) -> Recipe:
    """The options in steps."""
    some = [epochs[number] for number in range(min(MEASURED, epochs.n_examples))]
    n_tokens = np.mean([example.input_ids.size for example in maker(some)])
    per_step = max(team.size, round(options.batch_tokens / n_tokens))
    steps = max(1, math.ceil(options.epochs * epochs.n_examples / per_step))
    steps = min(steps, options.max_steps or steps)
    auto = max(1, math.ceil(steps / EVALUATIONS))
    # What is text after `TrainingOptions` has read it is "auto".
    evaluate = auto if isinstance(options.evaluate_every, str) else options.evaluate_every
    keep = evaluate if isinstance(options.checkpoint_every, str) else options.checkpoint_every
    rate = options.learning_rate
    LOGGER.info(
        "%d examples an epoch of %.0f tokens; %d steps of %d examples",
        epochs.n_examples, n_tokens, steps, per_step,
    )  # fmt: skip
    return Recipe(
        steps=steps,
        examples_per_step=per_step,
        rate=RATES[options.method] if isinstance(rate, str) else rate,
        warm_up=math.ceil(options.warmup * steps),
        evaluate_every=evaluate,
        checkpoint_every=keep,
        patience=options.patience,
        prompt_gene_weight=options.prompt_gene_weight,
        seed=options.seed,
    )


def _digest(
    options: TrainingOptions,
    templates: Templates,
    cells: Sequence[TrainingCells | None],
    described: Mapping[str, str] | None,
    summaries: Sequence[Path],
) -> str:
    """Of all that decides the weights."""
    parts = {
        "recipe": RECIPE,
        "options": options.deciding(),
        "templates": asdict(templates),
        "cells": [part.digest() for part in cells if part is not None],
        "base": described["digest"] if described else None,
        "genes": [] if described else [read_json(path)["genes"] for path in summaries],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
