"""Every family is trained by every method; the padding token is the end token."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from families import KINDS, write_model, write_tokenizer
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.training.examples import Example
from c2sflow.training.finetuning import finetune
from c2sflow.training.loss import answer_losses
from c2sflow.training.options import TrainingOptions

OPTIONS = TrainingOptions(
    "cell_type,perturbation", label_column="label", perturbation_column="treatment",
    max_steps=6, batch_tokens=600, max_answer_genes=4, evaluate_every=6,
    learning_rate=0.003, device="cpu", dtype="float32",
)  # fmt: skip
FOUR = {f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")}
MATRICES = dict.fromkeys(KINDS, FOUR) | {
    "gpt_neox": {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"}
}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def directories(tmp_path_factory, pbmc):
    """Directory of a random model of each kind, written when it is first asked for."""
    folder = tmp_path_factory.mktemp("families")
    write_tokenizer(folder, list(pbmc.var_names.str.upper()))

    def directory(kind):
        if not (folder / kind).exists():
            (folder / kind).mkdir()
            for path in folder.glob("*.json"):
                shutil.copy(path, folder / kind)
            write_model(kind, folder / kind)
        return folder / kind

    return directory


@pytest.fixture(scope="module")
def pythia(directories):
    return directories("gpt_neox")


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_trained_and_used(kind, method, directories, training_data, tmp_path):
    finetune(
        sorted((training_data / "shards").iterdir()),
        sorted((training_data / "sentences").iterdir()),
        tmp_path,
        replace(OPTIONS, method=method, merge_adapter=method != "full"),
        directories(kind),
    )
    record = json.loads((tmp_path / "finetune.json").read_text())
    assert record["validation_loss"] < record["first_validation_loss"]
    if method != "full":
        learnt = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
        assert {name.split(".")[-3] for name in learnt} == MATRICES[kind]
    assert load_tokenizer(tmp_path / "model").pad_token_id == 0
    ids = torch.arange(2, 40)[None]
    with torch.no_grad():
        made, plain = (
            model(ids).logits
            for model in (
                load_model(tmp_path / "model", head=True, device="cpu", dtype="float32"),
                AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32),
            )
        )
    torch.testing.assert_close(made, plain, rtol=1e-4, atol=1e-4)


def test_the_end_is_learnt_and_padding_is_not(pythia):
    """Answers of unlike lengths share a padded batch; the end token of each is a target."""
    random = np.random.default_rng(0)
    examples = [
        Example(
            "cell_type", np.append(random.integers(2, 500, n), [0]).astype(np.int32), 20, (0, 0)
        )
        for n in (60, 58, 55)
    ]
    model = AutoModelForCausalLM.from_pretrained(pythia, attn_implementation="eager").eval()
    sums = answer_losses(
        model, examples, ["cell_type"], max_tokens=200, attention="eager", pad_token_id=0
    )
    wanted = 0.0
    for example in examples:
        ids = torch.from_numpy(example.input_ids[None].astype(np.int64))
        labels = ids.clone()
        labels[:, :20] = -100
        with torch.no_grad():
            wanted += float(model(ids, labels=labels).loss)
    assert float(sums[0, 0]) == pytest.approx(wanted, rel=1e-4)
    assert int(sums[1, 0]) == 3
