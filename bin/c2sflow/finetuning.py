"""Fine-tuning, from shards of sentences to a model directory: what FINETUNE does."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from peft import PeftModel
from transformers import AutoConfig, PreTrainedTokenizerBase

from c2sflow import __version__
from c2sflow.batching import free_bytes
from c2sflow.embedding import embed_cells
from c2sflow.errors import UserError
from c2sflow.model_card import model_card
from c2sflow.model_files import describe_model
from c2sflow.model_saving import save_adapter, save_model
from c2sflow.models import load_model, load_tokenizer
from c2sflow.optimizers import RATES
from c2sflow.pairing import rank_vectors
from c2sflow.prompts import EMBEDDING_PROMPT, load_template
from c2sflow.provenance import (
    TRAINING_SOFTWARE,
    read_json,
    software_versions,
    write_beside,
    write_json,
)
from c2sflow.small_gemma import make_tokenizer
from c2sflow.training import Recipe, Trainer, Validation
from c2sflow.training_cells import SPLITS, TrainingCells, read_splits, read_training_cells
from c2sflow.training_checkpoints import Checkpoints
from c2sflow.training_examples import ExampleMaker, Templates, labels_of
from c2sflow.training_material import Place, check_columns, make_epochs, validation_shares
from c2sflow.training_methods import Trainee, load_trainee, micro_tokens, n_trained
from c2sflow.training_options import TrainingOptions
from c2sflow.training_tasks import Epochs
from c2sflow.training_team import Team

LOGGER = logging.getLogger(__name__)

# To be counted up when the same options make another model than before: checkpoints of an older
# recipe are then not taken up.
RECIPE = 1
EVALUATIONS = 20  # of a training, unless told otherwise
MOST_VALIDATION = 512  # validation examples
MEASURED = 512  # examples whose lengths say how many make a step
PADDED = 0.1  # share of padding worth a warning


def finetune(
    shards: Sequence[Path],
    summaries: Sequence[Path],
    outdir: Path,
    options: TrainingOptions,
    base: Path | None = None,
) -> None:
    """Train on the shards' training cells; write ``model/`` and the record of the run.

    Beside ``model/``, which --model accepts, these are ``finetune.json``, ``loss.tsv`` and
    ``splits.tsv``. Called by several processes at once (accelerate launch), it trains one model.

    Parameters
    ----------
    shards
        Parquet files of SENTENCES, of all samples, with the column c2s_split.
    summaries
        The samples' ``<id>.sentences.json``.
    base
        Directory of the model to begin with; None for the method "scratch".

    Raises
    ------
    UserError
        If cells, columns or model do not go together with the tasks.
    """
    if (base is None) != (options.method == "scratch"):
        raise UserError("every method but scratch needs a --model to begin with, and scratch none")
    if (outdir / "model").exists():
        raise UserError(f"{outdir / 'model'} is there already; give another --outdir")
    team = Team(options.device)
    if not team.leads:
        logging.getLogger("c2sflow").setLevel(logging.WARNING)
    templates = Templates.load(
        options.annotation_prompt, options.perturbation_prompt, options.generation_prompt
    )
    splits = read_splits(shards)
    counts = {split: int((splits["split"] == split).sum()) for split in SPLITS}
    columns = options.columns([templates.of(task) for task in options.shares()])
    train = read_training_cells(shards, columns, "train")
    check_columns(train, options, templates)
    validation = read_training_cells(shards, columns, "validation") if counts[SPLITS[1]] else None
    described = _describe(base, options)
    tokenizer = load_tokenizer(base) if base else _new_tokenizer(summaries, train, options)
    place = _place(base, tokenizer, options, team) if options.pairing == "assignment" else None
    epochs, warnings = make_epochs(train, options, place=place)
    if epochs is None:
        raise UserError(f"--tasks {options.tasks}: no training cell for any task")
    trainee = load_trainee(
        options.method,
        base,
        tokenizer=tokenizer,
        device=team.device,
        dtype=options.dtype,
        lora_rank=options.lora_rank,
        lora_alpha=options.lora_alpha,
        seed=options.seed,
    )
    maker = _maker(train, trainee, templates, options, options.augmentation)
    digest = _digest(options, templates, [train, validation], described, summaries)
    validated, more = _validation(validation, trainee, templates, options, team)
    most = micro_tokens(options.max_batch_tokens, trainee, free_bytes(trainee.model.device))
    trainer = Trainer(
        trainee,
        epochs,
        maker,
        validated,
        _recipe(options, epochs, maker, team),
        max_tokens=max(1, most >> (options.attempt - 1)),
        team=team,
        checkpoints=Checkpoints(options.checkpoints, digest) if options.checkpoints else None,
    )
    n_parameters = {
        "n_parameters": trainee.model.num_parameters(),
        "n_trainable": n_trained(trainee),
    }
    progress = trainer.run()
    if not team.leads:
        return
    padding = 1 - progress.tokens / max(1, progress.slots)
    warnings += more
    if padding > PADDED:
        warnings.append(f"{padding:.0%} of what went through the model was padding")
    record = _record(options, trainer, counts, described, splits) | n_parameters
    record |= {"padding": padding, "warnings": warnings}
    for warning in warnings:
        LOGGER.warning(warning)
    outdir.mkdir(parents=True, exist_ok=True)
    _write_tables(outdir, progress.rows, splits)
    card = model_card(record, progress.rows, templates, __version__)
    _write_model(outdir, trainee, base, described, options, card)
    write_json(outdir / "finetune.json", record)


def _describe(base: Path | None, options: TrainingOptions) -> dict | None:
    """id, revision, commit and digest of the base model."""
    if base is None:
        return None
    found = describe_model(base, options.base_id or str(base.resolve()))
    if options.base_id:
        found |= {"id": options.base_id, "revision": options.base_revision or found["revision"]}
    return {name: found[name] for name in ("id", "revision", "commit", "digest")}


def _new_tokenizer(
    summaries: Sequence[Path], cells: TrainingCells, options: TrainingOptions
) -> PreTrainedTokenizerBase:
    """For the genes of all samples, and whatever the prompts say of the training cells."""
    genes = dict.fromkeys(word for path in summaries for word in read_json(path)["genes"])
    columns = dict.fromkeys([*options.columns([]), "organism"])
    fillings = {label for column in columns for label in set(labels_of(cells.obs, column)) - {None}}
    if "conversion" in options.shares():
        fillings.add("conversion to")
    prompts = Templates.load(
        options.annotation_prompt, options.perturbation_prompt, options.generation_prompt
    )
    texts = [prompts.annotation, prompts.perturbation, prompts.generation]
    return make_tokenizer(genes, texts, sorted(fillings))


def _place(
    base: Path | None, tokenizer: PreTrainedTokenizerBase, options: TrainingOptions, team: Team
) -> Place:
    """Where cells lie to be assigned: as the base model embeds them, or by their ranks."""

    def by_ranks(cells: TrainingCells, rows: np.ndarray) -> np.ndarray:
        return rank_vectors([cells.genes(row, 100) for row in rows])

    def by_model(cells: TrainingCells, rows: np.ndarray) -> np.ndarray:
        template = load_template(options.embedding_prompt, EMBEDDING_PROMPT, ["cell_sentence"])
        model = load_model(base, head=False, device=team.device, dtype=options.dtype)
        records = [cells.record(row) for row in rows]
        return embed_cells(model, tokenizer, template, records).vectors

    return by_model if base else by_ranks


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
        max_answer_genes=options.max_answer_genes,
        augmentation=augmentation,
        seed=options.seed,
    )


def _validation(
    cells: TrainingCells | None,
    trainee: Trainee,
    templates: Templates,
    options: TrainingOptions,
    team: Team,
) -> tuple[Validation | None, list[str]]:
    """This process' share of the validation examples, the same in every validation."""
    epochs, warnings = None, []
    if cells is not None:
        epochs, warnings = make_epochs(cells, options, most=min(MOST_VALIDATION, len(cells)))
    if epochs is None:
        said = "no validation cell: training goes on to the last step, whose weights are taken"
        return None, [said]
    maker = _maker(cells, trainee, templates, options, 0.0)
    draws = [epochs[number] for number in range(epochs.n_examples)]
    examples = maker(team.share(draws)) if team.share(draws) else []
    shares = validation_shares(epochs, options.shares())
    return Validation(examples, shares), [f"validation: {warning}" for warning in warnings]


def _recipe(options: TrainingOptions, epochs: Epochs, maker: ExampleMaker, team: Team) -> Recipe:
    """The options in steps."""
    some = [epochs[number] for number in range(min(MEASURED, epochs.n_examples))]
    n_tokens = np.mean([example.input_ids.size for example in maker(some)])
    per_step = max(team.size, round(options.batch_tokens / n_tokens))
    steps = max(1, math.ceil(options.epochs * epochs.n_examples / per_step))
    steps = min(steps, options.max_steps or steps)
    auto = max(1, math.ceil(steps / EVALUATIONS))
    evaluate = auto if options.evaluate_every == "auto" else int(options.evaluate_every)
    keep = evaluate if options.checkpoint_every == "auto" else int(options.checkpoint_every)
    rate = options.learning_rate
    LOGGER.info(
        "%d examples an epoch of %.0f tokens; %d steps of %d examples",
        epochs.n_examples, n_tokens, steps, per_step,
    )  # fmt: skip
    return Recipe(
        steps=steps,
        examples_per_step=per_step,
        rate=RATES[options.method] if rate == "auto" else float(rate),
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
    described: dict | None,
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


def _record(
    options: TrainingOptions,
    trainer: Trainer,
    counts: dict[str, int],
    described: dict | None,
    splits: pd.DataFrame,
) -> dict:
    """Content of ``finetune.json``."""
    progress, trainee, recipe = trainer.progress, trainer.trainee, trainer.recipe
    looked = [row for row in progress.rows if "validation_loss" in row]
    best = next((row for row in looked if row["step"] == progress.best_step), {})
    start = "validation_"
    return {
        "method": options.method,
        "tasks": options.shares(),
        "base": described,
        "n_cells": counts,
        "samples": sorted(splits["sample"].unique()),
        "options": options.deciding()
        | {"learning_rate": recipe.rate, "merge_adapter": options.merge_adapter},
        "steps": progress.step,
        "most_steps": recipe.steps,
        "examples_per_step": recipe.examples_per_step,
        "best_step": progress.best_step,
        "stopped": progress.stopped,
        "tokens": progress.tokens,
        "seconds": progress.seconds,
        "tokens_per_second": progress.tokens / max(progress.seconds, 1e-9),
        "train_loss": progress.rows[-1]["train_loss"],
        "first_validation_loss": looked[0]["validation_loss"] if looked else None,
        "validation_loss": best.get("validation_loss"),
        "validation_losses": {
            name.removeprefix(start): loss
            for name, loss in best.items()
            if name.startswith(start) and name != f"{start}loss"
        },
        "attention": trainee.attention,
        "device": str(trainee.model.device),
        "dtype": str(trainee.precision).removeprefix("torch."),
        "gradient_checkpointing": bool(trainee.model.is_activation_checkpointing),
        "n_processes": trainer.team.size,
        "resumed_from": trainer.resumed_from,
        "software": software_versions(TRAINING_SOFTWARE),
    }


def _write_tables(outdir: Path, rows: Sequence[dict], splits: pd.DataFrame) -> None:
    """``loss.tsv`` and ``splits.tsv``."""
    names = dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row)
    with write_beside(outdir / "loss.tsv") as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: v for k, v in row.items() if not math.isnan(v)})
    with write_beside(outdir / "splits.tsv") as partial:
        splits.to_csv(partial, sep="\t", index=False)


def _write_model(
    outdir: Path,
    trainee: Trainee,
    base: Path | None,
    described: dict | None,
    options: TrainingOptions,
    card: str,
) -> None:
    """``model/``, whole or not at all."""
    partial = Path(tempfile.mkdtemp(prefix=".model-", dir=outdir))
    partial.chmod(0o755)
    if trainee.adapter is None:
        save_model(trainee.model, trainee.tokenizer, partial, _file_dtype(base), base)
    else:
        revision = described["commit"] or described["revision"]
        save_adapter(trainee.adapter, partial, base, described["id"], revision)
        if options.merge_adapter:
            partial = _merged(trainee, base, partial)
    (partial / "README.md").write_text(card, encoding="utf-8")
    partial.replace(outdir / "model")


def _merged(trainee: Trainee, base: Path, adapter: Path) -> Path:
    """A directory with the base model that has taken in the adapter, in the place of that.

    An adapter that was trained on weights of four bits goes into the weights as they were.
    """
    dtype = _file_dtype(base)
    model = trainee.adapter
    if trainee.method == "qlora":
        whole = load_model(base, head=True, device="cpu", dtype=str(dtype).removeprefix("torch."))
        model = PeftModel.from_pretrained(whole, adapter)
    folder = Path(tempfile.mkdtemp(prefix=".model-", dir=adapter.parent))
    folder.chmod(0o755)
    save_model(model.merge_and_unload(), trainee.tokenizer, folder, dtype, base)
    for file in adapter.iterdir():
        file.unlink()
    adapter.rmdir()
    return folder


def _file_dtype(base: Path | None) -> torch.dtype:
    """Of the base's own weights; bfloat16 for a new model."""
    if base is None:
        return torch.bfloat16
    found = AutoConfig.from_pretrained(base, trust_remote_code=False).dtype
    return found if isinstance(found, torch.dtype) else torch.float32
