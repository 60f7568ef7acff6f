"""Fine-tuning as a whole: what it writes, that a killed one goes on, that several are one."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from c2sflow.common.errors import UserError
from c2sflow.model.architectures.from_scratch import FROM_SCRATCH
from c2sflow.model.files import read_config
from c2sflow.model.hub import base_folder
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.model.trained import Trained, read_trained
from c2sflow.sentences.prompts import (
    ANNOTATION_PROMPT,
    PERTURBATION_PROMPT,
    UNCONDITIONAL_PROMPT,
)
from c2sflow.sentences.wordings import WORDINGS
from c2sflow.training import finetuning
from c2sflow.training import trainee as training_methods
from c2sflow.training.finetuning import finetune
from c2sflow.training.options import TrainingOptions
from c2sflow.training.trained_for import own_wording
from c2sflow.training.trainee import load_trainee
from c2sflow.training.trainer import Trainer

# What parameters are called that TrainingOptions calls otherwise.
PARAMETERS = {
    "tasks": "finetune", "method": "finetune_method", "batch_tokens": "finetune_batch_tokens",
}  # fmt: skip
SCRIPT = Path(__file__).resolve().parents[3] / "bin" / "c2s"
OPTIONS = TrainingOptions(
    "cell_type,generation,perturbation", label_column="label", perturbation_column="treatment",
    max_steps=4, batch_tokens=600, max_answer_genes=10, evaluate_every=2, checkpoint_every=2,
    learning_rate=0.003, device="cpu", dtype="float32",
)  # fmt: skip


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def train(training_data, random_model):
    """Run `finetune` with some other options; give the folder of results."""

    def run(outdir, base=random_model, **options):
        finetune(
            sorted((training_data / "shards").iterdir()),
            sorted((training_data / "sentences").iterdir()),
            outdir,
            replace(OPTIONS, **options),
            base,
        )
        return outdir

    return run


def weights(outdir):
    (path,) = (outdir / "model").glob("*.safetensors")
    return load_file(path)


def differences(one, two):
    """The largest."""
    assert one.keys() == two.keys()
    return max(float((one[key] - two[key]).abs().max()) for key in one)


def disagreement(one, two):
    """Of what adapters learnt, relative to it: their matrices B begin as zeros.

    AdamW's first steps take up rounding where a gradient is nearly nothing.
    """
    learnt = [key for key in one if "lora_B" in key]
    parts = [torch.cat([adapter[key].flatten() for key in learnt]) for adapter in (one, two)]
    return float((parts[0] - parts[1]).norm() / parts[0].norm())


@pytest.fixture(scope="module")
def lora(train, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lora")
    return train(folder, checkpoints=str(folder / "kept"))


def test_files_of_an_adapter(lora, training_shards, random_model):
    record = json.loads((lora / "finetune.json").read_text())
    assert record["n_cells"] == {"train": 60, "validation": 20, "test": 10}
    base = os.path.relpath(random_model)
    assert record["base"]["id"] == base
    assert (record["steps"], record["stopped"], record["attention"]) == (4, "steps", "eager")
    assert record["padding"] < 0.05
    assert 0 < record["n_trainable"] < record["n_parameters"]
    with (lora / "loss.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["step"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert [row["step"] for row in rows if row["validation_loss"]] == ["0", "2", "4"]
    best = min((float(row["validation_loss"]), int(row["step"])) for row in rows[::2])
    assert (record["validation_loss"], record["best_step"]) == pytest.approx(best)
    assert record["first_validation_loss"] == float(rows[0]["validation_loss"])
    means = [float(rows[0][f"validation_{task}"]) for task in record["tasks"]]
    assert sum(means) / 3 == pytest.approx(record["first_validation_loss"])
    cells = pd.concat(map(pd.read_parquet, training_shards))
    splits = pd.read_csv(lora / "splits.tsv", sep="\t")
    assert splits["cell_id"].tolist() == cells["cell_id"].tolist()
    assert splits["split"].tolist() == cells["c2s_split"].tolist()
    model = lora / "model"
    adapter = json.loads((model / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == base
    assert base_folder(model).samefile(random_model)
    for name in ("config.json", "tokenizer.json"):
        assert (model / name).read_bytes() == (random_model / name).read_bytes()
    card = (model / "README.md").read_text()
    assert "base_model: " not in card  # the hub takes an id there, and no path
    assert f"needs its base, `{base}`" in card
    assert "`--base_model`" in card
    assert "| train | 60 | training |" in card
    assert "{cell_sentence}" in card


def test_what_later_runs_take_their_defaults_from(
    lora, train, tmp_path, training_shards, random_model
):
    cells = pd.concat(map(pd.read_parquet, training_shards))
    labels = tuple(sorted(set(cells.loc[cells["c2s_split"] == "train", "label"].dropna())))
    assert read_trained(lora / "model") == Trained(10, labels)
    # Answers are as long as the base's by default; of what is not trained the base's record holds.
    base = shutil.copytree(random_model, tmp_path / "base")
    Trained(12, ("B", "T")).write(base)
    options = {"base": base, "max_answer_genes": None, "max_steps": 1}
    for tasks, expected in {"generation": Trained(12), "cell_type": Trained(12, labels)}.items():
        outdir = train(tmp_path / tasks, tasks=tasks, merge_adapter=True, **options)
        assert {read_trained(outdir / name) for name in ("model", "adapter")} == {expected}
        record = json.loads((outdir / "finetune.json").read_text())
        assert record["options"]["max_answer_genes"] == 12


def test_prompts_and_length_of_sentences_are_on_record(train, tmp_path, random_model):
    own = "{cell_sentence}. Type:"
    base = shutil.copytree(random_model, tmp_path / "base")
    kept = {"annotation_prompt": "before", "perturbation_prompt": "{cell_sentence} {perturbation}"}
    Trained(max_genes=90, prompts=kept).write(base)
    outdir = train(
        tmp_path / "own", base=base, tasks="cell_type", annotation_prompt=own, max_genes=40,
        max_steps=1,
    )  # fmt: skip
    known = read_trained(outdir / "model")
    assert (known.max_genes, known.prompts) == (40, kept | {"annotation_prompt": own})


@pytest.mark.parametrize(
    ("template", "task", "expected"),
    [
        (ANNOTATION_PROMPT, "cell_type", None),
        ("Blood.\n" + ANNOTATION_PROMPT, "cell_type", None),
        ("Blood.\n" + WORDINGS["cell_type"][3], "cell_type", WORDINGS["cell_type"][3]),
        (UNCONDITIONAL_PROMPT, "generation", None),
        (WORDINGS["generation"][2], "generation", WORDINGS["generation"][2]),
        (PERTURBATION_PROMPT, "conversion", None),
        ("{cell_sentence}?", "cell_type", "{cell_sentence}?"),
    ],
)
def test_only_a_prompt_that_is_not_built_in_is_on_record(template, task, expected):
    assert own_wording(template, task) == expected


def test_nothing_is_pickled_and_all_can_read_it(lora):
    files = [path for path in lora.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".tsv", ".md"}
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in files)


def test_the_merged_model_is_the_adapter_on_its_base(train, tmp_path, lora, random_model):
    merged = train(tmp_path, merge_adapter=True) / "model"
    read_config(merged)
    ids = load_tokenizer(merged)("CD3D GNLY NKG7 cell type B", return_tensors="pt").input_ids
    base = AutoModelForCausalLM.from_pretrained(  # exact, whatever a CPU makes of float32
        random_model, dtype="float64", attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        plain = base(ids).logits
        adapted = PeftModel.from_pretrained(base, lora / "model").double().eval()
        expected = adapted(ids).logits
        made = load_model(merged, head=True, device="cpu", dtype="float32")(ids).logits
    assert (made - expected).abs().max() < 1e-5 * expected.abs().max()
    assert (plain - expected).abs().max() > 1e-3 * expected.abs().max()


def test_a_killed_training_goes_on_to_the_same_weights(
    train, tmp_path, training_data, random_model
):
    options = {"method": "full", "max_steps": 12, "learning_rate": 1e-3}
    whole = train(tmp_path / "whole", **options)
    kept = tmp_path / "kept"
    command = [
        sys.executable, SCRIPT, "finetune", f"--shards-dir={training_data / 'shards'}",
        f"--sentences-dir={training_data / 'sentences'}", f"--model={random_model}",
        f"--checkpoints={kept}", f"--outdir={tmp_path / 'killed'}",
    ]  # fmt: skip
    given = replace(OPTIONS, **options).deciding()
    command += [
        f"--{PARAMETERS.get(name, name).replace('_', '-')}={value}"
        for name, value in given.items()
        if value is not None and not isinstance(value, bool)
    ]
    command.append("--checkpoint-every=2")
    process = subprocess.Popen(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 120
    while not list(kept.glob("*/step-*")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "killed" / "model").exists()
    resumed = train(tmp_path / "resumed", checkpoints=str(kept), **options)
    record = json.loads((resumed / "finetune.json").read_text())
    assert 2 <= record["resumed_from"] < 12
    assert differences(weights(whole), weights(resumed)) == 0
    for name in ("step", "tokens", "train_loss", "validation_loss"):
        columns = [pd.read_csv(f / "loss.tsv", sep="\t")[name] for f in (whole, resumed)]
        pd.testing.assert_series_equal(*columns)
    # Done once, it is done: the weights are there, and no step is taken again.
    again = train(tmp_path / "again", checkpoints=str(kept), **options)
    assert json.loads((again / "finetune.json").read_text())["resumed_from"] == 12
    assert differences(weights(whole), weights(again)) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 1e-4},
        {"tasks": "cell_type"},
        {"seed": 1},
        {"max_steps": 3},
        {"annotation_prompt": "Type of {cell_sentence}?"},
    ],
)
def test_another_recipe_never_takes_up_the_checkpoint(train, tmp_path, lora, change):
    other = train(tmp_path, checkpoints=str(lora / "kept"), **{"max_steps": 4, **change})
    assert json.loads((other / "finetune.json").read_text())["resumed_from"] == 0


def test_where_it_runs_and_what_it_is_called_is_no_other_recipe(train, tmp_path, lora):
    options = {"attempt": 2, "max_batch_tokens": 300, "merge_adapter": True, "base_id": "me/base"}
    other = train(tmp_path, checkpoints=str(lora / "kept"), **options)
    record = json.loads((other / "finetune.json").read_text())
    assert (record["resumed_from"], record["base"]["id"]) == (4, "me/base")


def test_another_seed_makes_another_model(train, tmp_path, lora):
    assert disagreement(weights(lora), weights(train(tmp_path, seed=1))) > 0.1


def test_what_test_cells_hold_cannot_matter(tmp_path, lora, training_data, random_model):
    shards = tmp_path / "shards"
    shards.mkdir()
    for path in (training_data / "shards").iterdir():
        cells = pd.read_parquet(path)
        hidden = cells["c2s_split"] == "test"
        assert hidden.any()
        cells.loc[hidden, ["cell_sentence", "label", "treatment"]] = "NONSENSE"
        cells.to_parquet(shards / path.name)
    sentences = sorted((training_data / "sentences").iterdir())
    finetune(sorted(shards.iterdir()), sentences, tmp_path, OPTIONS, random_model)
    assert differences(weights(lora), weights(tmp_path)) == 0


def test_smaller_batches_make_the_same_model(train, tmp_path, lora):
    small = train(tmp_path, max_batch_tokens=1)
    assert disagreement(weights(lora), weights(small)) < 1e-3


def test_several_processes_make_the_same_model(tmp_path, lora, training_data, random_model):
    subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
            SCRIPT, "finetune", f"--shards-dir={training_data / 'shards'}",
            f"--model={random_model}",
            f"--sentences-dir={training_data / 'sentences'}", f"--finetune={OPTIONS.tasks}",
            "--label-column=label", "--perturbation-column=treatment", "--max-steps=4",
            "--finetune-batch-tokens=600", "--max-answer-genes=10", "--evaluate-every=2",
            "--learning-rate=0.003", "--device=cpu", "--dtype=float32", f"--outdir={tmp_path}",
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
    )  # fmt: skip
    assert json.loads((tmp_path / "finetune.json").read_text())["n_processes"] == 2
    assert disagreement(weights(lora), weights(tmp_path)) < 1e-3


def test_memory_that_runs_out_halves_the_batches(train, tmp_path, lora, monkeypatch):
    """The device is told to be out of memory for what is larger than 200 tokens."""
    real = finetuning.Trainer._accumulate

    def small_device(self, examples):
        if self.max_tokens > 200:
            raise torch.OutOfMemoryError
        return real(self, examples)

    monkeypatch.setattr(Trainer, "_accumulate", small_device)
    assert disagreement(weights(lora), weights(train(tmp_path / "halved"))) < 1e-3
    monkeypatch.setattr(Trainer, "_accumulate", lambda *_: (_ for _ in ()).throw(
        torch.OutOfMemoryError
    ))  # fmt: skip
    with pytest.raises(UserError, match="tokens alone does not fit into the memory of cpu"):
        train(tmp_path / "none")


def test_training_ends_when_validation_gets_worse(train, tmp_path, random_model):
    """With steps far too long; what was there before is the best."""
    options = {"method": "full", "learning_rate": 1.0, "max_steps": 40, "evaluate_every": 1}
    outdir = train(tmp_path, patience=2, epochs=20, **options)
    record = json.loads((outdir / "finetune.json").read_text())
    assert (record["stopped"], record["steps"], record["best_step"]) == ("patience", 2, 0)
    assert differences(weights(outdir), load_file(random_model / "model.safetensors")) == 0


def test_a_model_learns_what_it_is_taught(train, tmp_path, demo_model):
    """Labels that the bundled model does not know are said after some steps."""
    outdir = train(
        tmp_path, base=demo_model, tasks="perturbation", max_steps=25, epochs=50,
        learning_rate=0.005, pairing="assignment",
    )  # fmt: skip
    record = json.loads((outdir / "finetune.json").read_text())
    assert record["validation_loss"] < record["first_validation_loss"] - 0.05
    assert "optimal assignment" in (outdir / "model" / "README.md").read_text()


def test_gradients_of_four_bits_are_those_of_the_rounded_weights(random_model):
    """Also after a validation, at which bitsandbytes would repack the weights."""
    trainee = load_trainee("qlora", random_model, device="cpu", dtype="float32")
    ids = torch.arange(4, 104)[None]

    def gradients(model):
        model.train()
        model.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        return torch.cat([p.grad.flatten() for _, p in trainee_of(model)])

    def trainee_of(model):
        return [(name, p) for name, p in model.named_parameters() if "lora" in name]

    for _, parameter in trainee_of(trainee.model):  # B begins as zeros, where A has no gradient
        torch.nn.init.normal_(parameter, std=0.05, generator=torch.manual_seed(parameter.numel()))
    first = gradients(trainee.model)
    with torch.no_grad():
        trainee.model.eval()(input_ids=ids)
    rounded = load_trainee("lora", random_model, device="cpu", dtype="float32")
    modules = dict(trainee.model.named_modules())
    for name, module in rounded.model.named_modules():
        if name.endswith("base_layer"):
            weight = modules[name].weight
            module.weight.data = dequantize_4bit(weight.data, weight.quant_state).float()
    for (_, one), (_, two) in zip(
        trainee_of(trainee.model), trainee_of(rounded.model), strict=True
    ):
        two.data = one.data.clone()
    expected = gradients(rounded.model)
    for found in (first, gradients(trainee.model)):
        assert (found - expected).norm() < 1e-3 * expected.norm()


def test_four_bits_on_a_cpu(train, tmp_path, random_model):
    outdir = train(tmp_path / "adapter", method="qlora", max_steps=2)
    record = json.loads((outdir / "finetune.json").read_text())
    assert record["train_loss"] > 0
    adapter = weights(outdir)
    assert any(key.endswith("lora_B.weight") and value.any() for key, value in adapter.items())
    merged = train(tmp_path / "merged", method="qlora", max_steps=2, merge_adapter=True)
    base = AutoModelForCausalLM.from_pretrained(random_model, dtype="float32")
    expected = PeftModel.from_pretrained(base, outdir / "model").merge_and_unload()
    made = AutoModelForCausalLM.from_pretrained(merged / "model", dtype="float32")
    pairs = zip(expected.parameters(), made.parameters(), strict=True)
    assert all(torch.allclose(one, two, atol=1e-6) for one, two in pairs)


@pytest.mark.parametrize("family", FROM_SCRATCH)
def test_from_scratch(train, tmp_path, family):
    outdir = train(
        tmp_path, base=None, method="scratch", tasks="cell_type,conversion,perturbation",
        prompt_gene_weight=0.2, augmentation=0.2, balance_labels=True, pairing="assignment",
        scratch_family=family,
    )  # fmt: skip
    record = json.loads((outdir / "finetune.json").read_text())
    assert record["base"] is None
    assert record["validation_loss"] < record["first_validation_loss"]
    config = read_config(outdir / "model")
    assert config["model_type"] == family
    assert config.get("attn_logit_softcapping") == {"gemma2": 50}.get(family)
    assert f"a small {FROM_SCRATCH[family].name} with" in (outdir / "model/README.md").read_text()
    tokenizer = load_tokenizer(outdir / "model")
    words = ["CD3D", "HLA-DRA", "IFN", "Monocyte", "conversion"]
    ids = tokenizer("".join(f" {word}" for word in words), add_special_tokens=False).input_ids
    assert len(ids) == len(words)
    load_model(outdir / "model", head=True, device="cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_column": None}, "task cell_type needs --label_column"),
        ({"label_column": "celltype"}, "--label_column celltype: obs .* no such column"),
        ({"tasks": "perturbation", "control": "tretment == 'a'"}, "did you mean 'treatment'"),
        ({"annotation_prompt": "{tissue}: {cell_sentence}"}, r"uses \{tissue\}"),
        ({"method": "scratch"}, "scratch takes no --model"),
        ({"learning_rate": 1e30, "method": "full"}, "use a lower --learning_rate"),
        ({"tasks": "typing"}, "no task 'typing'"),
        ({"learning_rate": "fast"}, "--learning_rate fast: must be auto or a number above 0"),
        ({"evaluate_every": "0"}, "--evaluate_every 0: must be auto or a number above 0"),
        ({"scratch_family": "opt"}, "--scratch_family opt: choose gemma2 or gpt_neox"),
    ],
)
def test_what_a_user_can_get_wrong_is_told(train, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        train(tmp_path, **options)
    assert not (tmp_path / "model").exists()


def test_a_model_that_is_there_is_left_alone(train, tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(UserError, match="already exists"):
        train(tmp_path)


def test_without_validation_cells_training_goes_to_the_end(tmp_path, training_data):
    shards = tmp_path / "shards"
    shards.mkdir()
    for path in (training_data / "shards").iterdir():
        cells = pd.read_parquet(path)
        cells["c2s_split"] = cells["c2s_split"].replace("validation", "train")
        cells.to_parquet(shards / path.name)
    sentences = sorted((training_data / "sentences").iterdir())
    options = replace(OPTIONS, tasks="generation", label_column=None)
    finetune(sorted(shards.iterdir()), sentences, tmp_path, replace(options, method="scratch"))
    record = json.loads((tmp_path / "finetune.json").read_text())
    assert (record["best_step"], record["validation_loss"]) == (4, None)
    assert any("nothing to validate on" in warning for warning in record["warnings"])


def test_layers_that_are_computed_again_give_the_same_model(train, tmp_path, lora, monkeypatch):
    """As those of a large model are, whose activations would fill the memory."""
    monkeypatch.setattr(training_methods, "CHECKPOINTED", 0)
    again = train(tmp_path)
    assert json.loads((again / "finetune.json").read_text())["gradient_checkpointing"]
    assert disagreement(weights(lora), weights(again)) < 1e-3
