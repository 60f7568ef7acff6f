"""Products of 8-bit floats, which newer GPUs make at twice the rate of bfloat16.

Weights and activations are rounded to e4m3 (3 bits of mantissa), with a scale for each row of
either, as torchao's row-wise dynamic quantisation does; the product is torch's own. What they cost
in exactness is in docs/performance.md. The CPU computes the same product, slowly: for tests.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from transformers import PreTrainedModel

from c2sflow.common.errors import UserError
from c2sflow.model.agreement import relative_difference
from c2sflow.model.architectures.registry import family_of

FLOAT8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FLOAT8).max
SMALLEST = torch.finfo(torch.float32).tiny  # scale: of a row of zeros
OLDEST = (8, 9)  # compute capability of the first cards that have them: Ada
WIDTH = 16  # both sides of a matrix are multiples of it, or it stays as it is
# Largest relative difference of a product to the one in the weights' own format: rounding both
# sides to 3 bits makes 0.04.
TOLERANCE = 0.1


def fp8_fault(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why --quantization fp8 does not go with a device and a number format, or None."""
    if device.type != "cuda":
        return (
            f"--quantization fp8 is for GPUs of compute capability 8.9 and newer, not for "
            f"{device.type}; use --quantization none"
        )
    if torch.cuda.get_device_capability(device) < OLDEST:
        return (
            f"--quantization fp8: {torch.cuda.get_device_name(device)} has no 8-bit floats "
            "(compute capability 8.9 and newer do); use --quantization none"
        )
    if dtype != torch.bfloat16:
        name = str(dtype).removeprefix("torch.")
        return f"--quantization fp8 goes with --dtype bfloat16, not with {name}"
    return None


def rounded(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows as 8-bit floats, and the float32 scale (n_rows, 1) that gives them back."""
    if values.is_cuda:
        from c2sflow.model.fused_kernels import quantize  # Triton is for Linux only

        return quantize(values, FLOAT8, LARGEST, SMALLEST)
    largest = values.abs().amax(dim=1, keepdim=True).float()
    scale = largest.clamp_min(SMALLEST * LARGEST) / LARGEST
    return (values.float() / scale).clamp(-LARGEST, LARGEST).to(FLOAT8), scale


class Fp8Linear(nn.Module):
    """A linear layer whose weights are 8-bit floats, and its input, too, where they meet."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight, scale = rounded(linear.weight.detach())
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.scale = nn.Buffer(scale.T.contiguous())
        self.bias = linear.bias

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """As of `torch.nn.Linear`, (…, in_features) to (…, out_features)."""
        rows, scale = rounded(values.reshape(-1, self.in_features))
        product = torch._scaled_mm(
            rows, self.weight.t(), scale_a=scale, scale_b=self.scale, out_dtype=values.dtype,
            use_fast_accum=values.is_cuda,
        )  # fmt: skip
        product = product if self.bias is None else product + self.bias
        return product.reshape(*values.shape[:-1], self.out_features)


def use_fp8(model: PreTrainedModel) -> None:
    """Replace the matrices of a model's layers, in place; token embeddings and head stay.

    Raises
    ------
    UserError
        If the product does not run here, or is not what the plain one is.
    """
    checked = False
    backbone = cast("PreTrainedModel", model.base_model)
    for layer in family_of(model.config.model_type).layers(backbone):
        for name, linear in list(layer.named_modules()):
            if not isinstance(linear, nn.Linear):
                continue
            if linear.in_features % WIDTH or linear.out_features % WIDTH:
                continue
            small = Fp8Linear(linear) if checked else _checked(linear)
            checked = True
            layer.set_submodule(name, small)


@torch.inference_mode()
def _checked(plain: nn.Linear) -> Fp8Linear:
    """The layer for a plain one, compared with it."""
    values = torch.randn(64, plain.in_features, dtype=plain.weight.dtype).to(plain.weight.device)
    expected = plain(values).float()
    try:
        small = Fp8Linear(plain)
        difference = relative_difference(small(values), expected)
    except Exception as error:  # no such product in this torch, or for this card
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"--quantization fp8 does not run here ({reason}); use --quantization none"
        ) from error
    if not difference <= TOLERANCE:
        raise UserError(
            f"--quantization fp8: its product differs from the plain one by "
            f"{100 * difference:.0f} % here; use --quantization none"
        )
    return small
