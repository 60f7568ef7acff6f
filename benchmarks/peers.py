"""One way of `bench_peers.py`, in the interpreter that has its package: python peers.py JOB.

JOB is a JSON file with ``way`` (a key of `WAYS`), ``model`` and ``model_float32`` (folders),
``cells`` (h5ad), ``genes`` (of a sentence), ``answers``, ``tokens`` (of an answer), ``folder`` (for
what is written). Only this package's standard library imports are at the top: Helical's and
cell2sentence's environments have neither click nor c2sflow.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from measure import report_one

PERTURBATION = "B cell"
CELL_TYPES = ("CD19+ B", "CD14+ Monocyte", "Dendritic", "CD56+ NK")


class Clock:
    """Wall and CPU seconds of the parts of a run."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self.last = time.perf_counter(), time.process_time()

    def part(self, name: str) -> None:
        """What ran since the last part, or since the beginning, was `name`."""
        now = time.perf_counter(), time.process_time()
        self.parts[f"{name}_seconds"] = now[0] - self.last[0]
        self.parts[f"{name}_cpu_seconds"] = now[1] - self.last[1]
        self.last = now


def read_cells(job: dict) -> Any:
    """The demo's cells as an AnnData object."""
    import anndata

    return anndata.read_h5ad(job["cells"])


def write_vectors(job: dict, vectors: Any, name: str = "") -> None:
    """Embeddings, for `bench_peers.py` to compare."""
    import numpy as np

    way = f"{job['way']}, {name}" if name else job["way"]
    np.save(Path(job["folder"]) / f"{way}.npy", np.asarray(vectors, dtype=np.float32))


def prompts_of(job: dict) -> list[str]:
    """The prompts that c2sflow made of the cells."""
    return json.loads((Path(job["folder"]) / "prompts.json").read_text(encoding="utf-8"))


def words(answers: list[str]) -> dict[str, float]:
    """How much was answered."""
    return {"answers": len(answers), "words": sum(len(answer.split()) for answer in answers)}


def c2sflow_object(job: dict, **options: Any) -> Any:
    """c2sflow's `Cell2Sen`."""
    from c2sflow.api.cell2sen import Cell2Sen
    from c2sflow.api.config import Cell2SenConfig

    return Cell2Sen(
        Cell2SenConfig(model_path=job["model"], device="cpu", max_genes=job["genes"], **options)
    )


def c2sflow(job: dict) -> dict:
    """Embed by c2sflow's library; write its prompts and vectors."""
    import c2sflow.model.loading  # noqa: F401  # not timed, as the others' imports are not
    from c2sflow.sentences.prompts import fill

    adata = read_cells(job)
    clock = Clock()
    cell2sen = c2sflow_object(job)
    _ = cell2sen.model, cell2sen.tokenizer
    clock.part("load")
    dataset = cell2sen.process_data(adata)
    clock.part("sentences")
    vectors = cell2sen.get_embeddings(dataset)
    clock.part("embed")
    write_vectors(job, vectors)
    prompts = [fill(cell2sen.embedding_prompt, row) for row in dataset.to_dict("records")]
    path = Path(job["folder"]) / "prompts.json"
    path.write_text(json.dumps(prompts), encoding="utf-8")
    return clock.parts


def plain(job: dict) -> dict:
    """Embed c2sflow's prompts as a plain script does; bfloat16, as the demo model is stored."""
    return _plain(job, "auto")


def plain_float32(job: dict) -> dict:
    """The same in float32."""
    return _plain(job, "float32")


def _plain(job: dict, dtype: str) -> dict:
    from bench_embedding import usual_of_prompts

    made = usual_of_prompts(Path(job["model"]), prompts_of(job), dtype)
    return {"embed_seconds": made["seconds"], "embed_cpu_seconds": made["cpu_seconds"]}


def cell2sentence_model(job: dict, folder: str) -> Any:
    """cell2sentence's `CSModel` of the float32 copy: see `bench_peers.py`."""
    from cell2sentence.csmodel import CSModel

    return CSModel(job["model_float32"], folder, "model")


def cell2sentence(job: dict) -> dict:
    """Embed by cell2sentence, as its tutorial does."""
    from cell2sentence.csdata import CSData
    from cell2sentence.tasks import embed_cells

    adata = read_cells(job)
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        model = cell2sentence_model(job, folder)
        clock.part("load")
        columns = ["cell_type", "organism"]
        table, genes = CSData.adata_to_arrow(adata, label_col_names=columns)
        data = CSData.csdata_from_arrow(table, genes, save_dir=folder, save_name="cells")
        clock.part("sentences")
        vectors = embed_cells(data, model, n_genes=job["genes"])
        clock.part("embed")
    write_vectors(job, vectors)
    return clock.parts


def cell2sentence_same(job: dict) -> dict:
    """Embed c2sflow's prompts by cell2sentence: in its batches of 8, and one at a time."""
    from transformers import AutoModelForCausalLM

    prompts = prompts_of(job)
    with tempfile.TemporaryDirectory() as folder:
        cs_model = cell2sentence_model(job, folder)
        model = AutoModelForCausalLM.from_pretrained(cs_model.save_path)
        batches = [prompts[start : start + 8] for start in range(0, len(prompts), 8)]
        vectors = [v for batch in batches for v in cs_model.embed_cells_batched(model, batch)]
        write_vectors(job, vectors)
        write_vectors(job, [cs_model.embed_cell(model, prompt) for prompt in prompts], "single")
    return {}


def cell2sentence_bfloat16(job: dict) -> dict:
    """Embed one prompt with the demo model as it is stored; the error, if there is one."""
    from cell2sentence.csmodel import CSModel
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as folder:
        cs_model = CSModel(job["model"], folder, "model")
        model = AutoModelForCausalLM.from_pretrained(cs_model.save_path)
        try:
            cs_model.embed_cell(model, prompts_of(job)[0])
        except TypeError as error:
            return {"error": f"TypeError: {error}"}
    return {"error": None}


def cell2sentence_cells(job: dict) -> dict:
    """Sample cells of `CELL_TYPES` by cell2sentence, in bfloat16, which its function sets."""
    from cell2sentence.tasks import generate_cells_conditioned_on_cell_type

    types = [CELL_TYPES[i % len(CELL_TYPES)] for i in range(job["answers"])]
    with tempfile.TemporaryDirectory() as folder:
        model = cell2sentence_model(job, folder)
        clock = Clock()
        answers = generate_cells_conditioned_on_cell_type(
            model, types, n_genes=job["tokens"], max_num_tokens=job["tokens"], do_sample=True
        )
        clock.part("generate")
    return {**clock.parts, **words(answers)}


def c2sflow_cells(job: dict) -> dict:
    """Sample cells of `CELL_TYPES` by c2sflow, which embeds them as well."""
    cell2sen = c2sflow_object(job, max_new_tokens=job["tokens"])
    dataset = cell2sen.process_data(read_cells(job))
    _ = cell2sen.model, cell2sen.tokenizer
    clock = Clock()
    each = job["answers"] // len(CELL_TYPES)
    cells = cell2sen.generate_cells(dataset, each, CELL_TYPES, n_genes=job["tokens"])
    clock.part("generate")
    return {**clock.parts, **words(cells.obs["c2s_sentence"].tolist())}


def helical_object(job: dict, **options: Any) -> Any:
    """Helical's `Cell2Sen`; its config has no option for a local model, so its path is replaced."""
    from helical.models.c2s import Cell2Sen, Cell2SenConfig

    config = Cell2SenConfig(device="cpu", max_genes=job["genes"], **options)
    config.config["hf_model_path"] = job["model"]
    return Cell2Sen(config)


def helical(job: dict) -> dict:
    """Embed by Helical."""
    import helical.models.c2s  # noqa: F401  # not timed

    adata = read_cells(job)
    clock = Clock()
    cell2sen = helical_object(job)
    clock.part("load")
    dataset = cell2sen.process_data(adata)
    clock.part("sentences")
    vectors = cell2sen.get_embeddings(dataset)
    clock.part("embed")
    write_vectors(job, vectors)
    return clock.parts


def helical_same(job: dict) -> dict:
    """Embed c2sflow's prompts by Helical."""
    from datasets import Dataset

    prompts = prompts_of(job)
    cell2sen = helical_object(job, embedding_prompt_template="{cell_sentence}")
    columns = {"cell_sentence": prompts, "organism": ["human"] * len(prompts)}
    write_vectors(job, cell2sen.get_embeddings(Dataset.from_dict(columns)))
    return {}


def helical_perturbed(job: dict) -> dict:
    """Predict perturbed cells by Helical."""
    cell2sen = helical_object(job, max_new_tokens=job["tokens"])
    return _perturbed(job, cell2sen, lambda made: made[1])


def c2sflow_perturbed(job: dict) -> dict:
    """Predict perturbed cells by c2sflow, whose AnnData holds their expression and vectors, too."""
    cell2sen = c2sflow_object(job, max_new_tokens=job["tokens"])
    _ = cell2sen.model, cell2sen.tokenizer
    return _perturbed(job, cell2sen, lambda made: list(made.obs["c2s_sentence"]))


def _perturbed(job: dict, cell2sen: Any, sentences: Callable[[Any], list[str]]) -> dict:
    dataset = cell2sen.process_data(read_cells(job)[: job["answers"]])
    clock = Clock()
    made = cell2sen.get_perturbations(dataset, [PERTURBATION] * job["answers"])
    clock.part("generate")
    return {**clock.parts, **words(sentences(made))}


WAYS: dict[str, Callable[[dict], dict]] = {
    "c2sflow": c2sflow,
    "plain script": plain,
    "plain script, float32": plain_float32,
    "cell2sentence": cell2sentence,
    "helical": helical,
    "cell2sentence, same prompts": cell2sentence_same,
    "cell2sentence, bfloat16": cell2sentence_bfloat16,
    "helical, same prompts": helical_same,
    "c2sflow, cells": c2sflow_cells,
    "cell2sentence, cells": cell2sentence_cells,
    "c2sflow, perturbed": c2sflow_perturbed,
    "helical, perturbed": helical_perturbed,
}


def run(job: dict) -> dict:
    """The figures of a way; what packages print goes to stderr."""
    with redirect_stdout(sys.stderr):
        made = WAYS[job["way"]](job)
    parts = ("load_seconds", "sentences_seconds", "embed_seconds")
    if all(part in made for part in parts):
        made["seconds"] = sum(made[part] for part in parts)
    return made


if __name__ == "__main__":
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    report_one(lambda: run(settings))
