"""A shard and its plan to predictions: what prompts say, and that answers keep their condition."""

import json

import pandas as pd
import pytest

from c2sflow.generation.perturb_shards import perturb_shards
from c2sflow.generation.perturbation import predict
from c2sflow.inputs.perturbations import Treatment
from c2sflow.model.answer_limits import AnswerLength
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.perturbation.planning import plan_predictions
from c2sflow.sentences.prompts import PERTURBATION_PROMPT

OPTIONS = {
    "device": "cpu", "dtype": "float32", "attention": "eager", "quantization": "none",
    "max_batch_tokens": "auto", "pooling": "mean", "embedding_layer": -1, "embedding_prompt": None,
    "valid_genes_only": True, "no_repeats": True, "max_new_tokens": 12, "seed": 1,
}  # fmt: skip
OWN_PROMPT = "{tissue} {dose}: {cell_sentence} {perturbation} {kind}"


@pytest.fixture(scope="module")
def shard(tmp_path_factory, records):
    """4 cells; obs has columns that the table has too, and one that is called condition."""
    folder = tmp_path_factory.mktemp("shard")
    cells = pd.DataFrame(records[:4]).assign(
        tissue="blood", kind="of obs", condition="of obs", perturbation="of obs"
    )
    cells.to_parquet(folder / "s.00000.parquet")
    words = sorted({word for text in cells["cell_sentence"] for word in text.split()})
    (folder / "genes.json").write_text(json.dumps({"genes": words}))
    treatments = [
        Treatment(
            "A", "A, 1 µM, 6 h", "", columns={"dose": "1 µM", "time": "6 h", "tissue": "skin"}
        ),
        Treatment("A", "A, 2 µM", "", columns={"dose": "2 µM", "time": "", "tissue": "lung"}),
    ]
    plan = plan_predictions(cells.assign(shard="s.00000"), treatments=treatments)
    plan.to_parquet(folder / "s.00000.plan.parquet")
    return folder, cells, plan, words


@pytest.mark.parametrize(
    ("prompt", "texts", "num_samples"),
    [
        (None, ["A, 1 µM, 6 h", "A, 2 µM"], 1),
        (OWN_PROMPT, ["A, 6 h", "A"], 2),  # the prompt says the dose itself
    ],
)
def test_prompts_and_conditions(shard, demo_model, tmp_path, prompt, texts, num_samples):
    folder, cells, plan, words = shard
    options = OPTIONS | {
        "model": str(demo_model), "perturbation_prompt": prompt, "num_samples": num_samples,
        "temperature": 1.0 if num_samples > 1 else 0.0,
    }  # fmt: skip
    perturb_shards(
        [folder / "s.00000.parquet"], [folder / "s.00000.plan.parquet"], [folder / "genes.json"],
        tmp_path, options,
    )  # fmt: skip
    found = pd.read_parquet(tmp_path / "s.00000.perturbed.parquet")
    expected = plan.loc[plan.index.repeat(num_samples)].reset_index(drop=True)
    names = ["condition", "perturbation", "dose", "time", "tissue"]
    pd.testing.assert_frame_equal(found[names], expected[names])
    assert found["source_cell"].tolist() == expected["cell_id"].tolist()

    # The same predictions from prompts that are filled by hand, cell by cell.
    said = {"A, 1 µM, 6 h": ("skin", "1 µM", texts[0]), "A, 2 µM": ("lung", "2 µM", texts[1])}
    rows = []
    for cell in cells.to_dict("records"):
        for condition in sorted(said):
            tissue, dose, text = said[condition]
            own = {"perturbation": text, "tissue": tissue, "dose": dose}
            rows.append(cell | own | {"c2s_condition": condition})
    model = load_model(demo_model, head=True, device="cpu", dtype="float32", attention="eager")
    by_hand, _ = predict(
        model, load_tokenizer(demo_model), pd.DataFrame(rows), words, prompt or PERTURBATION_PROMPT,
        length=AnswerLength(n_tokens=12), num_samples=num_samples, seed=1,
        temperature=options["temperature"],
    )  # fmt: skip
    assert found["c2s_sentence"].tolist() == by_hand["c2s_sentence"].tolist()
    assert found["c2s_sentence"].nunique() > 2
