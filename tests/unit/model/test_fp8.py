"""Products of 8-bit floats: the arithmetic, on the CPU, and what they leave of embeddings."""

import numpy as np
import pytest
import torch
from torch import nn

from c2sflow.common.errors import UserError
from c2sflow.model import fp8
from c2sflow.model.attention import using
from c2sflow.model.embedding import embed_cells
from c2sflow.model.fp8 import Fp8Linear, rounded, use_fp8
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.sentences.prompts import EMBEDDING_PROMPT


def test_rows_are_rounded_to_three_bits_with_a_scale_of_their_own():
    random = np.random.default_rng(0)
    size = 10.0 ** random.integers(-6, 7, (50, 1))
    values = torch.from_numpy(random.normal(0, size, (50, 64)).astype(np.float32))
    values[7] = 0
    rows, scale = rounded(values)
    assert rows.dtype == torch.float8_e4m3fn
    back = rows.float() * scale
    # Half of the last bit, or of the smallest number that there is beside 448.
    bound = torch.maximum(values.abs() / 16, values.abs().amax(1, keepdim=True) * 2**-10 / 448)
    assert ((back - values).abs() <= 1.001 * bound).all()
    assert (back[7] == 0).all()


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_multiplies_what_was_rounded(bias):
    torch.manual_seed(0)
    plain = nn.Linear(64, 48, bias=bias)
    values = torch.randn(3, 5, 64)
    small = Fp8Linear(plain)
    (weight, of_weight), (rows, of_rows) = rounded(plain.weight), rounded(values.reshape(-1, 64))
    expected = (rows.float() * of_rows) @ (weight.float() * of_weight).T
    expected = expected.reshape(3, 5, 48) + (plain.bias if bias else 0)
    made = small(values)
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)
    assert small.weight.nbytes * 4 == plain.weight.nbytes


def test_embeddings_keep_their_direction(demo_model, records):
    """All matrices of the layers are replaced, with the head and without; figures in the docs."""
    tokenizer = load_tokenizer(demo_model)

    def embed(model):
        return embed_cells(
            model.base_model, tokenizer, EMBEDDING_PROMPT, records, progress=False
        ).vectors

    backbone = load_model(demo_model, head=False, device="cpu", dtype="float32")
    plain = embed(backbone)
    use_fp8(backbone)
    small = embed(backbone)
    kinds = [type(module) for module in backbone.layers.modules()]
    assert nn.Linear not in kinds
    assert kinds.count(Fp8Linear) == 7 * len(backbone.layers)
    full = ~np.isnan(plain).any(axis=1)
    plain, small = plain[full], small[full]
    norms = np.linalg.norm(plain, axis=1) * np.linalg.norm(small, axis=1)
    cosines = (plain * small).sum(axis=1) / norms
    assert 0.99 < cosines.min() < 0.999999
    whole = load_model(demo_model, head=True, device="cpu", dtype="float32")
    use_fp8(whole)
    assert type(whole.lm_head) is nn.Linear
    np.testing.assert_allclose(embed(whole)[full], small, atol=1e-4)
    with using(whole, "eager"):
        assert np.isfinite(embed(whole)[full]).all()


def test_widths_that_the_product_does_not_take_stay_plain(random_model):
    model = load_model(random_model, head=False, device="cpu", dtype="float32")
    model.layers[0].mlp.down_proj = nn.Linear(96, 60)
    use_fp8(model)
    assert type(model.layers[0].mlp.down_proj) is nn.Linear
    assert type(model.layers[1].mlp.down_proj) is Fp8Linear


def test_a_wrong_product_is_refused(random_model, monkeypatch):
    model = load_model(random_model, head=False, device="cpu", dtype="float32")
    monkeypatch.setattr(fp8, "TOLERANCE", 1e-4)
    with pytest.raises(UserError, match=r"differs from the plain one by \d %.*--quantization none"):
        use_fp8(model)


def test_a_cpu_is_refused_when_the_model_is_loaded(random_model):
    with pytest.raises(UserError, match="is for GPUs of compute capability 8"):
        load_model(random_model, head=False, device="cpu", quantization="fp8")
