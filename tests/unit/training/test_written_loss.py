"""What is written is the model whose loss is recorded: the loss is that of the files."""

import json
from dataclasses import replace

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from c2sflow.training import finetuning
from c2sflow.training.finetuning import finetune
from c2sflow.training.options import TrainingOptions
from c2sflow.training.written_loss import kept_warnings, loss_as_read

pytestmark = pytest.mark.usefixtures("one_thread")
OPTIONS = TrainingOptions(
    "cell_type:3,generation", label_column="label", max_steps=24, epochs=50, batch_tokens=600,
    max_answer_genes=10, evaluate_every=6, learning_rate=2e-4, device="cpu", dtype="float32",
)  # fmt: skip


@pytest.fixture(scope="module")
def base(demo_model):
    """Its weights are bfloat16."""
    assert {t.dtype for t in load_file(demo_model / "model.safetensors").values()} == {
        torch.bfloat16
    }
    return demo_model


@pytest.fixture
def train(training_data, base, tmp_path, monkeypatch):
    """Train; give the folder of results, the record and the validation examples."""

    def run(**options):
        seen = []

        def watched(*args, **more):
            seen.append(args[2])
            return loss_as_read(*args, **more)

        monkeypatch.setattr(finetuning, "loss_as_read", watched)
        finetune(
            sorted((training_data / "shards").iterdir()),
            sorted((training_data / "sentences").iterdir()),
            tmp_path,
            replace(OPTIONS, **options),
            base,
        )
        return tmp_path, json.loads((tmp_path / "finetune.json").read_text()), seen[0]

    return run


def plain_loss(directory, validation, dtype="float32"):
    """By transformers alone, an example at a time."""
    model = AutoModelForCausalLM.from_pretrained(
        directory, dtype=dtype, attn_implementation="eager"
    ).eval()
    losses = {}
    for example in validation.examples:
        ids = torch.from_numpy(example.input_ids[None]).long()
        with torch.no_grad():
            scores = model(ids).logits[0].float().log_softmax(dim=-1)
        answer = ids[0, example.n_prompt :, None]
        own = -scores[example.n_prompt - 1 : -1].gather(1, answer).mean()
        losses.setdefault(example.task, []).append(own.item())
    means = {task: sum(values) / len(values) for task, values in losses.items()}
    return 0.75 * means["cell_type"] + 0.25 * means["generation"]


def test_a_bfloat16_base_trained_whole_is_written_as_it_was_trained(train, base):
    folder, record, validation = train(method="full", learning_rate=2e-5)
    gain = record["first_validation_loss"] - record["best_validation_loss"]
    assert record["best_step"] > 0
    assert gain > 0
    found = plain_loss(folder / "model", validation)
    assert record["validation_loss"] == pytest.approx(found, rel=1e-5)
    assert record["first_validation_loss"] - found > 0.98 * gain
    before, after = (load_file(path / "model.safetensors") for path in (base, folder / "model"))
    same = sum(int((before[key].float() == after[key]).sum()) for key in before)
    assert same < 0.2 * sum(tensor.numel() for tensor in before.values())
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}


def test_a_merged_model_has_the_whole_change_and_its_adapter_beside_it(train, base):
    folder, record, validation = train(merge_adapter=True, learning_rate=1e-3)
    assert record["validation_loss"] == pytest.approx(
        plain_loss(folder / "model", validation), rel=1e-5
    )
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
    before = {name: p.clone() for name, p in plain.state_dict().items()}
    adapted = PeftModel.from_pretrained(plain, folder / "adapter").double().merge_and_unload()
    merged = load_file(folder / "model" / "model.safetensors")
    exact = {name: adapted.state_dict()[name] - before[name] for name in merged}
    error = sum(
        (merged[name].double() - before[name] - change).square().sum()
        for name, change in exact.items()
    )
    assert error < 1e-8 * sum(change.square().sum() for change in exact.values())


def test_what_reading_rounds_away_is_recorded_and_told(train):
    """As on a GPU, where weights are read as bfloat16."""
    folder, record, validation = train(method="full", learning_rate=2e-5, dtype="bfloat16")
    assert record["read_as"] == "bfloat16"
    found = plain_loss(folder / "model", validation, "bfloat16")
    assert record["validation_loss"] == pytest.approx(found, abs=0.02)
    card = (folder / "model" / "README.md").read_text()
    assert f"as bfloat16, the model has a loss of {record['validation_loss']:.4f}" in card


def test_a_file_that_holds_little_of_what_was_learnt_is_told():
    record = {
        "first_validation_loss": 2.0, "best_validation_loss": 1.0, "validation_loss": 1.05,
        "best_step": 8, "read_as": "bfloat16",
    }  # fmt: skip
    assert kept_warnings(record) == []
    (warning,) = kept_warnings({**record, "validation_loss": 1.58})
    assert "read as bfloat16, the trained model keeps 42% of what it learned" in warning
    assert "--dtype float32" in warning
    (warning,) = kept_warnings({**record, "best_step": 0, "best_validation_loss": 2.0})
    assert warning.startswith("nothing was learned: the validation loss was never lower")
    assert kept_warnings({**record, "first_validation_loss": None}) == []


def test_a_training_that_learns_nothing_says_so(train):
    folder, record, _ = train(method="full", learning_rate=1.0, max_steps=6, patience=1)
    assert record["best_step"] == 0
    assert any(warning.startswith("nothing was learned") for warning in record["warnings"])
    assert "**✗ Nothing was learned**" in (folder / "model" / "README.md").read_text()
