"""A run's files to its results: what MERGE does with what the steps before it wrote."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import h5py
import pandas as pd
from anndata.io import read_elem

from c2sflow import __version__
from c2sflow.common.files import (
    read_json,
    read_json_list,
    software_versions,
    write_json,
)
from c2sflow.data.genes.alignment import GeneAlignment, word_columns
from c2sflow.data.result_tables import read_evaluation, write_table
from c2sflow.generation.plan import GenerationPlan, answer_template, organism_columns
from c2sflow.results.generated import merge_generated, summarise_generated
from c2sflow.results.groups import GroupFiles, group_record, merge_groups
from c2sflow.results.merge import Merged, merge_samples
from c2sflow.results.predictions import Predicted, merge_predictions, summarise
from c2sflow.results.shards import Sample
from c2sflow.sentences.groups.prompts import GROUP_PROMPT, INTERPRETATION_PROMPT
from c2sflow.sentences.no_ops import MEASURED, predicted_only
from c2sflow.sentences.prompts import (
    ANNOTATION_PROMPT,
    EMBEDDING_PROMPT,
    PERTURBATION_PROMPT,
    load_template,
)
from c2sflow.sentences.rank_fit import RankFit
from c2sflow.sentences.summaries import SentenceFiles

LOGGER = logging.getLogger(__name__)

# Where a run puts its files is not part of its result: two runs of one input are identical.
NOT_OF_THE_RESULT = ("input_output", "resources", "cluster", "report", "generic", "split", "asked")
# Nor do these change the cells: what is fetched, allowed, or made of the predictions.
NOT_OF_THE_CELLS = (
    "model_cache", "compile_cache", "max_predictions", "gene_sets", "context", "tasks",
    "checkpoint_dir", "export", "output_format",
)  # fmt: skip
# What uns["c2s"]["samples"] has of qc.json.
OF_A_SAMPLE = (
    "organism", "input_state", "log_base", "state_evidence", "n_cells_in", "n_cells_kept",
)  # fmt: skip


def provenance(
    options: Mapping[str, Mapping],
    model: Mapping,
    samples: Sequence[Mapping],
    reports: Mapping[str, Mapping],
    rank_fit: Mapping[str, float],
    pipeline: Mapping[str, str],
    model_software: Mapping[str, str],
) -> dict:
    """``uns["c2s"]``: everything that made the result, and nothing that differs between runs."""
    parameters = {
        name: "" if value is None else value
        for group, values in options.items()
        if group not in NOT_OF_THE_RESULT
        if group != "finetuning" or values["finetune"]
        for name, value in values.items()
        if name not in NOT_OF_THE_CELLS
    }
    return {
        "version": __version__,
        "pipeline": dict(pipeline),
        "model": dict(model),
        "parameters": parameters,
        "prompts": _prompts(parameters, options),
        "software": software_versions() | dict(model_software),
        "rank_fit": dict(rank_fit),
        "samples": {
            s["id"]: {k: "" if v is None else v for k, v in reports[s["id"]].items()}
            for s in samples
        },
        "seed": parameters.get("seed", 42),
    }


def _prompts(parameters: Mapping, options: Mapping[str, Mapping]) -> dict[str, str]:
    """The prompts of what was done; those of annotation and generation only with one."""
    defaults = {"embedding": EMBEDDING_PROMPT, "perturbation": PERTURBATION_PROMPT}
    if parameters.get("cells_per_prompt"):
        defaults["group"] = GROUP_PROMPT
        if parameters.get("interpret_groups"):
            defaults["interpretation"] = INTERPRETATION_PROMPT
    if parameters.get("annotate"):
        defaults["annotation"] = ANNOTATION_PROMPT
    prompts = {
        name: load_template(parameters.get(f"{name}_prompt") or None, default, ())
        for name, default in defaults.items()
    }
    if parameters.get("generate"):
        plan = generation_plan(options)
        given, several = parameters["generation_prompt"] or None, plan.n_together > 1
        prompts["generation"] = answer_template(given, plan.names, several)
    return prompts


def merge_run(
    samples: Path,
    parameters: Path,
    model: Path,
    qc_dir: Path,
    sentences_dir: Path,
    embeddings_dir: Path,
    outdir: Path,
    perturbed_dir: Path | None = None,
    plan: Path | None = None,
    pipeline: Mapping[str, str] | None = None,
    annotations_dir: Path | None = None,
    evaluation_dir: Path | None = None,
    generated_dir: Path | None = None,
    groups_dir: Path | None = None,
) -> None:
    """Write c2s.h5ad (or c2s.zarr), and what is asked for: predicted, generated cells, groups.

    These are c2s_perturbed.h5ad, c2s_generated.h5ad and c2s_groups.h5ad. With the answers comes a
    summary of them, with groups what the report shows of them.

    Parameters
    ----------
    samples, parameters, model
        samples.json and parameters.json of VALIDATE, model.json of MODEL.
    qc_dir, sentences_dir, embeddings_dir, perturbed_dir, annotations_dir
        Where the steps' files are, named by sample and shard.
    plan
        plan.json of PLAN: how many cells of each shard are perturbed.
    evaluation_dir
        Tables of EVALUATE, which ``uns["c2s"]["evaluation"]`` gets.
    generated_dir
        <task>.generated.parquet of GENERATE.
    groups_dir
        Of GROUPS <id>.groups.json and <id>.members.parquet, and the results of its shards.
    outdir
        Gets the results.
    pipeline
        Name, version and revision of the workflow.

    Raises
    ------
    UserError
        If a file is missing, broken or not of this run.
    """
    sheet = read_json_list(samples)
    ids = [sample["id"] for sample in sheet]
    sentences = SentenceFiles(sentences_dir, ids)
    shards, fit = {}, RankFit()
    for name, summary in sentences.items():
        shards[name] = [shard["name"] for shard in summary["shards"]]
        fit += RankFit(*summary["rank_fit_sums"])
    rank_fit = fit.solve()
    reports = {i: _qc_report(qc_dir / f"{i}.qc.json") for i in ids}
    options = read_json(parameters)
    groups = GroupFiles.read(groups_dir, ids) if groups_dir is not None else None
    parts = [
        Sample(
            id=sample["id"],
            name=str(sample["sample"]),
            path=qc_dir / f"{sample['id']}.h5ad",
            embeddings=[
                embeddings_dir / f"{shard}.embedding.h5ad" for shard in shards[sample["id"]]
            ],
            annotations=[
                annotations_dir / f"{shard}.annotation.parquet" for shard in shards[sample["id"]]
            ]
            if annotations_dir
            else [],
            groups=groups.of_sample(str(sample["sample"])) if groups else None,
        )
        for sample in sheet
    ]
    uns = provenance(
        options, read_json(model), sheet, reports, rank_fit, pipeline or {}, _model_software(parts)
    )
    if evaluation_dir is not None:
        uns["evaluation"] = read_evaluation(evaluation_dir)
    target = outdir / f"c2s.{options['results']['output_format']}"
    base = options["results"]["log_base"]
    merged = merge_samples(parts, target, uns, options["report"]["store_umap"], base)
    LOGGER.info("%s: %d cells of %d samples", target.name, len(merged.obs), len(parts))
    if perturbed_dir is not None:
        if plan is None:
            raise ValueError("merging predictions needs their plan")
        planned = read_json(plan)
        answered = _predicted(parts, shards, sentences, perturbed_dir, planned, merged)
        merged.notices += _merge_perturbed(answered, target, outdir, merged, uns)
    if generated_dir is not None:
        _merge_generated(sheet, sentences, generated_dir, options, outdir, merged.genes, uns)
    if groups is not None:
        merged.notices += _merge_groups(groups, target, outdir, uns)
    # The report lists it among what the steps warn of.
    write_json(outdir / "merge.json", {"sample": "merging", "warnings": merged.notices})


def _qc_report(path: Path) -> dict:
    report = read_json(path)
    return {name: report.get(name) for name in OF_A_SAMPLE}


def _model_software(parts: list[Sample]) -> dict[str, str]:
    """Versions that the first shard was embedded with: this step has none of those packages."""
    try:
        with h5py.File(parts[0].embeddings[0]) as file:
            return read_elem(file["uns/software"])
    except (OSError, KeyError):  # merge_samples reports which shards are broken
        return {}


def _predicted(
    parts: list[Sample],
    shards: Mapping[str, list[str]],
    sentences: Mapping[str, Mapping],
    perturbed_dir: Path,
    planned: Mapping[str, int],
    merged: Merged,
) -> Iterator[Predicted]:
    """Shards with predictions, in the order of the cells: those of one sample are made at once."""
    start = 0
    for part in parts:
        with h5py.File(part.path) as file:
            cells = read_elem(file["obs"]).index
        chosen = [shard for shard in shards[part.id] if shard in planned]
        if chosen:
            columns = word_columns(sentences[part.id], merged.genes)
        for shard in chosen:
            path = perturbed_dir / f"{shard}.perturbed.parquet"
            yield Predicted(path, planned[shard], columns, cells, start)
        start += len(cells)


def _merge_perturbed(
    answered: Iterable[Predicted], cells: Path, outdir: Path, merged: Merged, uns: Mapping
) -> list[str]:
    """Write the predicted cells and their summary; what is renamed, a line each."""
    target, var = outdir / "c2s_perturbed.h5ad", pd.DataFrame(index=merged.genes.names)
    options = uns["parameters"]
    predicted, notices = merge_predictions(
        answered, merged.obs, var, uns["rank_fit"], target, uns,
        n_each=options.get("num_samples", 1), base=options["log_base"],
        source=cells, controls=options["benchmark_controls"],
    )  # fmt: skip
    for line in notices:
        LOGGER.warning(line)
    n, n_controls = (
        len(predicted_only(predicted)),
        int(predicted.get(MEASURED, pd.Series([0])).sum()),
    )
    LOGGER.info(
        "%s: %d predicted cells, %d answers to no-ops, %d control cells",
        target.name, n, len(predicted) - n - n_controls, n_controls,
    )  # fmt: skip
    write_table(summarise(predicted), outdir / "perturbation" / "summary.tsv")
    return notices


def _merge_generated(
    sheet: Sequence[Mapping],
    sentences: Mapping[str, Mapping],
    generated_dir: Path,
    options: Mapping[str, Mapping],
    outdir: Path,
    genes: GeneAlignment,
    uns: Mapping,
) -> None:
    plan = generation_plan(options)
    columns = {
        organism: organism_columns(sheet, sentences, organism, genes) for organism in plan.organisms
    }
    tasks = [
        (generated_dir / f"{plan.task_name(task)}.generated.parquet", len(plan.cells(task)))
        for task in range(plan.n_tasks)
    ]
    target, var = outdir / "c2s_generated.h5ad", pd.DataFrame(index=genes.names)
    base = options["results"]["log_base"]
    generated = merge_generated(tasks, columns, var, uns["rank_fit"], target, uns, base)
    LOGGER.info("%s: %d generated cells", target.name, len(generated))
    write_table(summarise_generated(generated, plan.n_each), outdir / "generation" / "summary.tsv")


def _merge_groups(groups: GroupFiles, cells: Path, outdir: Path, uns: Mapping) -> list[str]:
    """Write the groups of cells and what the report shows of them; a notice if there are none."""
    if groups.members.empty:
        return ["no cell is in a group of --cells_per_prompt: there is no c2s_groups.h5ad"]
    obs = merge_groups(groups, cells, outdir / "c2s_groups.h5ad", uns)
    write_json(outdir / "groups.json", group_record(groups, obs))
    return []


def generation_plan(options: Mapping[str, Mapping]) -> GenerationPlan:
    """Which cells a run with these options generates."""
    return GenerationPlan.from_options(
        options["generation"]["generate"],
        options["generation"]["organisms"],
        options["annotation"]["cell_types"],
        options["sentences"]["shard_size"],
        options["generation"]["cells_per_answer"],
        options["generation"]["tissues"],
    )
