"""The memory of a model before it is read: its bytes, what fits, and how it is split over GPUs."""

import tempfile

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, Gemma2Config

from c2sflow.common.errors import UserError
from c2sflow.generation.decoding import Decoding, generate_tokens
from c2sflow.model.embedding import embed_cells
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.model.memory_plan import MemoryPlan, kept_bytes, working_bytes
from c2sflow.model.placement import place
from c2sflow.sentences.prompts import EMBEDDING_PROMPT

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
GIB = 2**30
# google/gemma-2-2b and -27b.
SHAPES = {
    "2B": {
        "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
    },
    "27B": {
        "hidden_size": 4608, "intermediate_size": 36864, "num_hidden_layers": 46,
        "num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 128,
    },
}  # fmt: skip
# What a card of its maker's gigabytes has for a process, as nvidia-smi and torch report it.
L4, A100, H200 = (int(gib * GIB) for gib in (22.0, 79.1, 139.8))


def config_of(shape):
    return Gemma2Config(vocab_size=256_000, **SHAPES[shape])


@pytest.fixture(scope="module", params=list(SHAPES))
def shape(request):
    return request.param


@pytest.fixture(scope="module")
def plans():
    """Of both shapes in bfloat16, with their heads."""
    return {name: MemoryPlan(config_of(name), torch.bfloat16, head=True) for name in SHAPES}


def parameters(shape):
    """Number of parameters, by the paper's arithmetic (Gemma Team, 2024): no class is asked."""
    size = SHAPES[shape]
    hidden, inner, heads = (
        size[name] for name in ("hidden_size", "intermediate_size", "num_attention_heads")
    )
    width, groups = size["head_dim"], size["num_key_value_heads"]
    attention = hidden * width * (2 * heads + 2 * groups)
    layer = attention + 3 * hidden * inner + 4 * hidden  # and four norms
    return 256_000 * hidden + size["num_hidden_layers"] * layer + hidden  # the head is tied


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_weights_are_the_sum_of_the_parameters(shape, head, dtype):
    plan = MemoryPlan(config_of(shape), dtype, head)
    kind = AutoModelForCausalLM if head else AutoModel
    with torch.device("meta"):
        model = kind.from_config(config_of(shape), dtype=dtype)
    buffers = sum(buffer.nbytes for buffer in model.buffers())
    assert plan.weights() == sum(p.nbytes for p in model.parameters()) + buffers
    assert plan.weights() - buffers == parameters(shape) * dtype.itemsize
    assert buffers < 2**20


def test_the_checkpoint_of_a_hub_model_is_planned_to_the_byte(demo_model):
    """What is loaded is what was planned."""
    from transformers import AutoConfig

    for head in (True, False):
        made = load_model(demo_model, head=head, device="cpu", dtype="bfloat16")
        plan = MemoryPlan(AutoConfig.from_pretrained(demo_model), torch.bfloat16, head)
        assert plan.weights() == made.get_memory_footprint()


def storage(model):
    """Bytes of a quantised model's tensors, those that hang on its parameters among them."""
    found = {}

    def add(tensor):
        if isinstance(tensor, torch.Tensor):
            found[tensor.data_ptr()] = tensor.nbytes

    for tensor in [*model.parameters(), *model.buffers()]:
        add(tensor)
        add(getattr(tensor, "SCB", None))
        state = getattr(tensor, "quant_state", None)
        for one in (state, getattr(state, "state2", None)):
            for name in ("absmax", "code", "offset"):
                add(getattr(one, name, None))
    for module in model.modules():
        add(getattr(getattr(module, "state", None), "SCB", None))
    return sum(found.values())


def test_keys_and_values_are_those_that_transformers_keeps(reference):
    """Of 3 rows of 40 tokens, which fit the window of its sliding layers."""
    ids = torch.ones(3, 40, dtype=torch.int64)
    layers = reference(input_ids=ids, use_cache=True).past_key_values.layers
    kept = sum(part.nbytes for layer in layers for part in (layer.keys, layer.values))
    assert kept == 3 * 40 * kept_bytes(reference.config, torch.float32)


def test_a_batch_of_the_2b_model_takes_no_more_than_planned():
    """benchmarks/results/gpu_2B.json: 7.19 GiB at the peak, 32,768 tokens a batch, on an H200."""
    plan = MemoryPlan(config_of("2B"), torch.bfloat16, head=False)
    measured = 7.19 * GIB - plan.weights()
    assert 0.1 * plan.working(2**15) < measured < plan.working(2**15)
    assert plan.working(2**15) == 2**15 * working_bytes(plan.model.config)


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.parametrize("head", [False, True])
def test_quantised_weights_take_what_was_planned(demo_model, quantization, head):
    from transformers import AutoConfig

    made = load_model(demo_model, head=head, device="cpu", quantization=quantization)
    plan = MemoryPlan(AutoConfig.from_pretrained(demo_model), torch.float32, head)
    # The tables are shared by matrices on some devices: planned for each, 1 KiB.
    assert plan.weights(quantization) == pytest.approx(storage(made), rel=0.02)
    assert plan.weights(quantization) < plan.weights()


def test_27b_fits_one_h200_and_in_nf4_a_card_of_24_gb(plans):
    plan = plans["27B"]
    assert place(plan, "none", CUDA, [H200]) == {"": "cuda:0"}
    assert place(plan, "none", CUDA, [A100]) == {"": "cuda:0"}
    assert place(plan, "nf4", CUDA, [L4]) == {"": "cuda:0"}
    assert plan.weights("nf4") / GIB == pytest.approx(14.7, abs=0.1)
    # A cell of 1,000 genes, 3,460 tokens, fits beside the weights on the smaller card.
    assert plan.weights("nf4") + plan.working(3460) < L4


def test_one_device_if_it_fits_there(plans):
    assert place(plans["2B"], "none", CUDA, [8 * GIB, 8 * GIB]) == {"": "cuda:0"}
    second = torch.device("cuda:1")
    assert place(plans["2B"], "none", second, [2 * GIB, 8 * GIB]) == {"": "cuda:1"}
    assert place(plans["2B"], "none", CPU, [8 * GIB]) == {"": "cpu"}


@pytest.mark.parametrize(
    ("quantization", "device", "free", "message"),
    [
        ("none", CUDA, [L4],
         r"it takes 50\.7 GiB in bfloat16 and 1\.\d GiB to work, and cuda has 22\.0 GiB free; use "
         r"--quantization nf4 \(14\.7 GiB\), a GPU with 5\d\.\d GiB free or several GPUs \("),
        ("none", CUDA, [40 * GIB],
         r"use --quantization int8 \(26\.\d GiB\) or nf4 \(14\.7 GiB\), a GPU with"),
        ("none", CUDA, [8 * GIB], r"use a GPU .* or several GPUs .*; even nf4 takes 14\.7 GiB$"),
        ("none", CUDA, [L4, L4], r"2 GPUs have 44\.0 GiB free; use --quantization int8 "),
        ("nf4", CUDA, [8 * GIB], r"it takes 14\.7 GiB in nf4 .*; use a GPU with 1\d\.\d GiB free"),
        ("none", torch.device("cuda:1"), [H200, L4], r"and cuda:1 has 22\.0 GiB free"),
        ("none", CPU, [8 * GIB], r"and cpu has 8\.0 GiB free; use a machine with 5\d\.\d GiB free"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_what_would(plans, quantization, device, free, message):
    with pytest.raises(UserError, match=message):
        place(plans["27B"], quantization, device, free)


def of_device(plan, found):
    """Bytes of the plan on each device, by the longest name that a parameter's begins with."""
    sums = {}
    for name, tensor in [*plan.model.named_parameters(), *plan.model.named_buffers()]:
        owner = max((m for m in found if name == m or name.startswith(f"{m}.")), key=len)
        sums[found[owner]] = sums.get(found[owner], 0) + tensor.nbytes
    return sums


@pytest.mark.parametrize("n_gpus", [3, 4, 8])
def test_layers_are_spread_evenly_over_several_gpus(plans, n_gpus):
    """In order, each whole, and each GPU with room to work."""
    plan = plans["27B"]
    found = place(plan, "none", CUDA, [L4] * n_gpus)
    sums = of_device(plan, found)
    assert set(sums) <= set(range(n_gpus))
    assert sum(sums.values()) == plan.weights()
    assert all(size + plan.working() <= L4 for size in sums.values())
    assert max(sums.values()) <= 1.5 * plan.weights() / n_gpus
    layers = [found[f"model.layers.{n}"] for n in range(46)]
    assert layers == sorted(layers)
    # The head is the token embeddings: a step ends where it began.
    assert found.get("lm_head", 0) == found["model.embed_tokens"] == 0


def test_quantised_layers_are_spread_too(plans):
    found = place(plans["27B"], "nf4", CUDA, [10 * GIB, 10 * GIB])
    assert set(found.values()) == {0, 1}


@pytest.fixture(scope="module")
def split_model(random_model):
    """Its layers in two places: the second waits in the file, as on another GPU, until it runs."""
    made = {}
    with tempfile.TemporaryDirectory() as folder:
        for head, kind in ((False, AutoModel), (True, AutoModelForCausalLM)):
            prefix = "model." if head else ""
            names = ["embed_tokens", "rotary_emb", "norm", "layers.0", "layers.2"]
            places = {f"{prefix}{name}": "cpu" for name in names}
            places |= {f"{prefix}layers.1": "disk"} | ({"lm_head": "cpu"} if head else {})
            made[head] = kind.from_pretrained(
                random_model, dtype=torch.float32, attn_implementation="blockwise",
                device_map=places, offload_folder=folder,
            ).eval()  # fmt: skip
            assert made[head].hf_device_map == places
        yield made


@pytest.mark.parametrize("layer", [-1, 2, 1])
def test_a_model_in_two_places_embeds_the_same(random_model, split_model, records, layer):
    tokenizer = load_tokenizer(random_model)
    whole = load_model(random_model, head=False, device="cpu", dtype="float32")
    vectors = [
        embed_cells(
            model, tokenizer, EMBEDDING_PROMPT, records, layer=layer, progress=False
        ).vectors
        for model in (whole, split_model[False])
    ]
    assert np.isfinite(vectors[0]).any()
    np.testing.assert_allclose(vectors[1], vectors[0], rtol=1e-5, atol=1e-5)


def test_a_model_in_two_places_generates_the_same(random_model, split_model):
    whole = load_model(random_model, head=True, device="cpu", dtype="float32")
    random = np.random.default_rng(0)
    prompts = [random.integers(3, 300, n).astype(np.int32) for n in (40, 17, 60)]
    answers = [
        generate_tokens(model, prompts, Decoding(0, [1], max_new_tokens=12), progress=False)[0]
        for model in (whole, split_model[True])
    ]
    assert [one.token_ids for one in answers[1]] == [one.token_ids for one in answers[0]]
