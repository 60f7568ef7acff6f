"""What the unit tests share: real cells, the bundled model, and one with random weights."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scanpy as sc
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bin"))
DEMO_MODEL = ROOT / "assets" / "demo_model"

# Machines are shared and slow: bound the number of examples, never their time. The same examples
# every time: what is red here can be looked at elsewhere.
settings.register_profile("c2sflow", max_examples=25, deadline=None, derandomize=True)
settings.load_profile("c2sflow")


@pytest.fixture(scope="session")
def pbmc():
    """700 real cells: log-normalised values (natural log), 765 genes, labels in bulk_labels."""
    return sc.datasets.pbmc68k_reduced().raw.to_adata()


@pytest.fixture(scope="session")
def records(pbmc):
    """24 cells as prompts need them; one has no genes, the others 3 to 120."""
    from c2sflow.sentences.ranking import cell_sentences, gene_words

    words = gene_words(pbmc.var_names)
    cells = pbmc[:24]
    lengths = np.random.default_rng(0).integers(3, 120, 24)
    lengths[5] = 0
    made = []
    sentences = cell_sentences(cells.X, cells.obs_names, words)
    for cell_id, (sentence, _), n in zip(cells.obs_names, sentences, lengths, strict=True):
        genes = sentence.split()[:n]
        made.append(
            {
                "cell_id": cell_id,
                "sample": "s",
                "organism": "human",
                "cell_sentence": " ".join(genes),
                "n_genes": len(genes),
            }
        )
    return made


@pytest.fixture(scope="session")
def demo_model():
    """Directory of the bundled model."""
    return DEMO_MODEL


@pytest.fixture(scope="session")
def random_model(tmp_path_factory):
    """Directory of a Gemma-2 with random weights and the bundled model's tokenizer."""
    import torch
    from transformers import AutoTokenizer, Gemma2Config, Gemma2ForCausalLM

    directory = tmp_path_factory.mktemp("random_model")
    tokenizer = AutoTokenizer.from_pretrained(DEMO_MODEL)
    tokenizer.save_pretrained(directory)
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=48,
        max_position_embeddings=512,
        attn_implementation="eager",
    )
    model = Gemma2ForCausalLM(config)
    with torch.no_grad():  # logits large enough that the soft-caps matter
        for layer in model.model.layers:
            layer.self_attn.q_proj.weight.mul_(40)
            layer.self_attn.k_proj.weight.mul_(40)
        model.model.embed_tokens.weight.mul_(10)
    model.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def reference(random_model):
    """The same model as transformers loads it: eager, float32, with its head."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        random_model, dtype=torch.float32, attn_implementation="eager"
    ).eval()


@pytest.fixture(scope="module")
def model(random_model):
    """The same model as c2sflow loads it to generate, in float32."""
    from c2sflow.model.loading import load_model

    return load_model(random_model, head=True, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def tokenizer(random_model):
    """Its tokenizer."""
    from c2sflow.model.loading import load_tokenizer

    return load_tokenizer(random_model)


@pytest.fixture(scope="module")
def one_thread():
    """Sums of the same order, in every process: what is trained twice is the same."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def training_data(pbmc, tmp_path_factory):
    """Folder with shards/ (two, of 90 real cells) and sentences/, as FINETUNE gets them.

    Labels are real; "IFN" was given to every second cell by hand, and a few have no label.
    """
    import json

    import pandas as pd

    from c2sflow.sentences.ranking import cell_sentences, gene_words

    folder = tmp_path_factory.mktemp("training")
    for name in ("shards", "sentences"):
        (folder / name).mkdir()
    words, cells = gene_words(pbmc.var_names), pbmc[:90]
    made = [text for text, _ in cell_sentences(cells.X, cells.obs_names, words, max_genes=25)]
    labels = cells.obs["bulk_labels"].astype(str).to_numpy(dtype=object)
    labels[::20] = None
    table = pd.DataFrame(
        {
            "cell_id": cells.obs_names,
            "sample": "s",
            "organism": "human",
            "label": labels,
            "treatment": ["control", "IFN"] * 45,
            "c2s_split": (["train"] * 6 + ["validation"] * 2 + ["test"]) * 10,
            "cell_sentence": made,
            "n_genes": [len(text.split()) for text in made],
        }
    )
    table[:50].to_parquet(folder / "shards" / "s.00000.parquet")
    table[50:].to_parquet(folder / "shards" / "s.00001.parquet")
    (folder / "sentences" / "s.sentences.json").write_text(json.dumps({"genes": list(words)}))
    return folder


@pytest.fixture(scope="session")
def training_shards(training_data):
    """Paths of the shards of `training_data`."""
    return sorted((training_data / "shards").iterdir())


@pytest.fixture
def compile_for():
    """Compiles a Triton kernel for a card (its compute capability) that is not here."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    def compiled(card, kernel, pointers, numbers, constants, aligned=(), **options):
        signature = {**pointers, **numbers, **dict.fromkeys(constants, "constexpr")}
        signature = {name: signature[name] for name in kernel.arg_names}
        multiples = {
            (n,): [["tt.divisibility", 16]]
            for n, name in enumerate(signature)
            if name in pointers or name in aligned
        }
        source = ASTSource(kernel, signature, constants, multiples)
        options = {"enable_fp_fusion": True, **options}
        return compile(source, target=GPUTarget("cuda", card, 32), options=options)

    return compiled


@pytest.fixture
def interpreted():
    """Runs a file of tests whose kernels Triton interprets; gives what pytest prints."""

    def run(cases):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", cases]
        environment = {**os.environ, "TRITON_INTERPRET": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:]
        return done.stdout

    return run


def multiply_bfloat16_by_value():
    """Triton's interpreter holds bfloat16 as whole numbers, and would multiply those."""
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    multiply = InterpreterBuilder.create_dot

    def dot(self, a, b, d, *options):
        a, b = (
            TensorHandle((side.data.astype("uint32") << 16).view("float32"), tl.float32)
            if side.dtype.scalar == tl.bfloat16
            else side
            for side in (a, b)
        )
        return multiply(self, a, b, d, *options)

    InterpreterBuilder.create_dot = dot


if os.environ.get("TRITON_INTERPRET") == "1":  # of a process whose kernels are interpreted
    multiply_bfloat16_by_value()
